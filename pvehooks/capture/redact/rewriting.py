"""A capture disguised: each file, each name of a file, each link, and what a tree cannot hold."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping

from pvehooks.capture.record import Thing
from pvehooks.capture.redact import places
from pvehooks.capture.redact.disguise import Disguise
from pvehooks.capture.redact.places import Treatment
from pvehooks.facts.node import tasks
from pvehooks.facts.pci import identity
from pvehooks.formats import guestconfig, initramfs
from pvehooks.records import baseline

# A number may be one, too.
_SERIAL = re.compile(r"(?m)^([a-z]+[0-9]+:.*?[ ,](?:serial|wwn)=)([^,\s]+)")
_RECORDS = "/etc/pve/pvehooks/"
_RECORDED = re.compile(r'("serial": ?")([^"\\]+)')
_EFI = "/sys/firmware/efi/efivars"
_MOK = "/var/lib/dkms/mok.pub"
_INITRAMFS = r"/boot/initrd\.img-.*"
# Behind what was replaced already, so that it is not replaced once more: no character, so that no text contains it.
_MARK = "\ufdd0"
_NUMBER = re.compile(rb"[0-9A-F]{8}")

_Method = Callable[["Rewriting", bytes], bytes]
# What rewrites files that are not plain text; the first pattern that matches the whole path counts.
_METHODS: list[tuple[re.Pattern[str], _Method]] = []


def _rewrites(pattern: str) -> Callable[[_Method], _Method]:
    """Makes a method of Rewriting the one for files at such paths."""

    def enter(method: _Method) -> _Method:
        _METHODS.append((re.compile(pattern, re.DOTALL), method))
        return method

    return enter


def _method(path: str) -> _Method | None:
    return next((method for pattern, method in _METHODS if pattern.fullmatch(path)), None)


class Rewriting:
    """Disguises the things of one capture."""

    def __init__(self, things: dict[str, Thing], disguise: Disguise) -> None:
        self.things = things
        self.disguise = disguise
        self._learn()

    def _learn(self) -> None:
        """All names first, so that each is replaced as a whole; then identifiers, then words."""
        self.disguise.keep(places.kept(self.things))
        for name in places.names(self.things):
            self.disguise.learn(name)
        for label in places.labels(self.things):
            self.disguise.learn_label(label)
        texts = [(path, thing) for path, thing in self.things.items() if thing.content and _method(path) is None]
        texts += [(f"/{name}", Thing("file", text)) for name, text in self._copies()]
        for path, thing in texts:
            if places.treatment(path, thing.content)[0] is Treatment.IDENTIFIER:
                self.disguise.identifier(_text(thing.content))
            elif places.is_guest(path):
                for _, serial in _SERIAL.findall(_text(thing.content)):
                    self.disguise.identifier(serial)
        for path, thing in texts:
            treatment, stays = places.treatment(path, thing.content)
            if treatment is Treatment.ALL_WORDS:
                self.disguise.learn_words(_text(thing.content), stays)
        for path, thing in self.things.items():
            if tasks.holds(path):
                self.path(path)
                self.content(path, thing.content or b"")
            elif not places.is_kernels(path):
                self.disguise.learn_words(path)

    def _copies(self) -> Iterator[tuple[str, bytes]]:
        """The settings of which an initramfs has copies."""
        for path, thing in self.things.items():
            if re.fullmatch(_INITRAMFS, path) and thing.content:
                yield from ((name, text) for name, text in initramfs.parts(thing.content) if text.strip())

    # -- what comes out -----------------------------------------------------------------------------------------------

    def disguised(self) -> dict[str, Thing]:
        """All things, with other names and contents."""
        found = {self.path(path): self._thing(path, thing) for path, thing in self.things.items()}
        if len(found) != len(self.things):
            raise AssertionError("two files got the same name")
        return found

    def path(self, path: str) -> str:
        """The path that stands for this one."""
        if tasks.holds(path):
            return tasks.with_upids(path, self._strictly)
        return self.disguise.text(path, strict=not places.is_kernels(path))

    def _strictly(self, word: str) -> str:
        return self.disguise.text(word, True, lambda part, _: part in ("root", "pam", "pve"))

    def _thing(self, path: str, thing: Thing) -> Thing:
        if thing.kind == "link":
            strict = not places.is_kernels(path) and not places.is_kernels(thing.text)
            return Thing("link", None, self.disguise.text(thing.text, strict))
        return thing if thing.content is None else Thing(thing.kind, self.content(path, thing.content))

    def content(self, path: str, raw: bytes) -> bytes:
        """The content that stands for this one."""
        method = _method(path)
        if method is not None:
            return method(self, raw)
        treatment, stays = places.treatment(path, raw)
        if treatment is Treatment.VERBATIM:
            return raw
        if treatment is Treatment.IDENTIFIER:
            return self.disguise.identifier(_text(raw)).encode("utf-8", "surrogateescape")
        if places.is_guest(path):
            raw = places.LABEL.sub(self._label, _SERIAL.sub(self._short, _text(raw))).encode("utf-8", "surrogateescape")
            return b"\n".join(self._guest_line(line) for line in raw.split(b"\n"))
        if path.startswith(_RECORDS):
            raw = _RECORDED.sub(self._short, _text(raw)).encode("utf-8", "surrogateescape")
        return self.disguise.content(raw, treatment is Treatment.ALL_WORDS, stays)

    def _short(self, match: re.Match[str]) -> str:
        return match[1] + self.disguise.short_ones(match[2])

    def _label(self, match: re.Match[str]) -> str:
        return f"{match[1]}:{match[2]}{_MARK}{self.disguise.learn_label(match[3])}"

    def _guest_line(self, line: bytes) -> bytes:
        if _MARK.encode() in line:
            return line.replace(_MARK.encode(), b"")
        return line if line.startswith(b"#") else self.disguise.content(line, strict=True)

    # -- files of other forms than text -------------------------------------------------------------------------------

    @_rewrites(rf"{tasks.DIRECTORY}/(?:active|index(?:\.1)?)")
    def _disguise_tasks(self, raw: bytes) -> bytes:
        """Proxmox VE's list of tasks: who asked for them, and what they ended with."""
        lines = _text(raw).split("\n")
        found = ((tasks.with_upids(line, self._strictly), tasks.status_at(line)) for line in lines)
        return "\n".join(
            line[: len(line) - at] + self.disguise.text(line[len(line) - at :], True, places.of_causes) for line, at in found
        ).encode("utf-8", "surrogateescape")

    @_rewrites(r"/sys/.*/config")
    def _disguise_config_space(self, raw: bytes) -> bytes:
        """PCI configuration space: the serial number of the card."""
        at = identity.serial_at(raw)
        if not at:
            return raw
        number = raw[at : at + 8][::-1].hex("-")
        return raw[:at] + bytes.fromhex(self.disguise.made.mac(number).replace("-", ""))[::-1] + raw[at + 8 :]

    @_rewrites(r"/sys/.*/vpd_pg80")
    def _disguise_scsi_serial(self, raw: bytes) -> bytes:
        """A page of SCSI's vital product data: four bytes, and a serial number."""
        return raw[:4] + self.disguise.identifier(raw[4:].decode("latin-1")).encode("latin-1")

    @_rewrites(r"/sys/.*/vpd(?:_pg[0-9a-f]+)?")
    def _zero(self, raw: bytes) -> bytes:
        """The serial numbers of a disk or a card: only that the file exists is of use."""
        return bytes(len(raw))

    @_rewrites(_INITRAMFS)
    def _disguise_initramfs(self, raw: bytes) -> bytes:
        """The names of modules stay; each copy of a setting becomes what the setting itself becomes."""
        texts = {name: self.content(f"/{name}", text) if text.strip() else b"" for name, text in initramfs.parts(raw)}
        return initramfs.as_text(initramfs.Contents(frozenset(texts), texts)) if texts else raw

    @_rewrites(rf"{_EFI}/LoaderInfo-.*")
    def _disguise_efi_text(self, raw: bytes) -> bytes:
        """An EFI variable in UTF-16."""
        text = raw[4:].decode("utf-16-le", "replace")
        return raw[:4] + self.disguise.text(text, strict=True).encode("utf-16-le", "replace")

    @_rewrites(rf"{_EFI}/MokList.*")
    def _reduce_to_dkms_key(self, raw: bytes) -> bytes:
        """The keys that the firmware trusts: DKMS's, if it is one of them."""
        key = self.things.get(_MOK, Thing("file")).content
        return raw[:4] + (self._replace_certificate(key) if key and key in raw else b"")

    @_rewrites(rf"{_EFI}/.*")
    def _keep(self, raw: bytes) -> bytes:
        """What else the firmware keeps holds nothing private."""
        return raw

    @_rewrites(re.escape(_MOK))
    def _replace_certificate(self, raw: bytes) -> bytes:
        """A key's certificate, which names the node."""
        return self.disguise.made.numbers("certificate", hashlib.sha256(raw).hexdigest(), len(raw))

    @_rewrites(r"/etc/zfs/zpool\.cache")
    def _disguise_pool_cache(self, raw: bytes) -> bytes:
        """ZFS' cache of pools: the devices, and the GUIDs that udev knows, in the form of an XDR nvlist's strings and numbers."""
        paths = (match[0].decode("utf-8", "surrogateescape") for match in re.finditer(rb"/dev/[\x21-\x7e]+", raw))
        named = [self.path(path).encode("utf-8", "surrogateescape") for path in dict.fromkeys(paths)]
        found = b"".join(struct.pack(">I", len(name)) + name + bytes(-len(name) % 4) for name in named)
        entries = (thing.content or b"" for path, thing in self.things.items() if path.startswith("/run/udev/data/b"))
        guids = {guid for entry in entries for guid in re.findall(rb"ID_FS_UUID(?:_SUB)?=(\d{1,20})\b", entry)}
        numbers = (guid for guid in sorted(guids) if int(guid) < 1 << 64 and int(guid).to_bytes(8, "big") in raw)
        return found + b"".join((int(self.disguise.content(guid, strict=True)) % (1 << 64)).to_bytes(8, "big") for guid in numbers)

    @_rewrites(r"/proc/(?:[^/]+/)?net/route")
    def _disguise_routes(self, raw: bytes) -> bytes:
        """/proc/net/route: addresses as numbers of the machine, in the second (a network's) and third column, its mask in the eighth."""
        lines = [line.split(b"\t") for line in raw.split(b"\n")]
        for fields in lines[1:]:
            bits = int(fields[7], 16).bit_count() if len(fields) > 7 and _NUMBER.fullmatch(fields[7]) else 32
            fields[1:2] = [self._number(field, bits) for field in fields[1:2]]
            fields[2:3] = [self._number(field, 32) for field in fields[2:3]]
            fields[:1] = [self.disguise.content(field) for field in fields[:1]]
        return b"\n".join(b"\t".join(fields) for fields in lines)

    def _number(self, field: bytes, bits: int) -> bytes:
        if not _NUMBER.fullmatch(field):
            return field
        address = ".".join(str(byte) for byte in bytes.fromhex(field.decode())[::-1])
        new = self.disguise.made.ipv4(address, bits)
        return bytes(int(part) for part in new.split("."))[::-1].hex().upper().encode()

    @_rewrites(r"/proc/(?:[^/]+/)?net/(?:if_inet6|ipv6_route)")
    def _disguise_ipv6(self, raw: bytes) -> bytes:
        """/proc/net/if_inet6 and ipv6_route: addresses are 32 digits."""
        text = re.sub(rb"\b[0-9a-f]{32}\b", lambda match: self.disguise.made.groups(match[0].decode()).encode(), raw)
        return b"\n".join(
            b" ".join([*fields[:-1], self.disguise.content(fields[-1])]) for fields in (line.split(b" ") for line in text.split(b"\n"))
        )

    @_rewrites(places.BASELINE)
    def _refresh_baseline(self, raw: bytes) -> bytes:
        """The fingerprints of the guests: where one is that of the config, it is that of the rewritten config."""
        new = refreshed(raw, self.things, self.content)
        return re.sub(rb'("node":")([^"]*)', lambda match: match[1] + self.disguise.content(match[2], strict=True), new)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "surrogateescape")


def refreshed(raw: bytes, before: Mapping[str, Thing], now: Callable[[str, bytes], bytes]) -> bytes:
    """A baseline with the fingerprints of the guests' configs as `now` makes them."""
    try:
        document = json.loads(raw)
        # Some with the time when they were noted.
        guests = {vmid: value if isinstance(value, list) else [value] for vmid, value in document["guests"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return raw
    for path, thing in before.items():
        vmid = path.rpartition("/")[2].removesuffix(".conf")
        if places.is_guest(path) and "/lxc/" not in path and thing.content and vmid in guests:
            if guests[vmid][:1] == [baseline.fingerprint(guestconfig.parse(thing.content))]:
                guests[vmid][0] = baseline.fingerprint(guestconfig.parse(now(path, thing.content)))
    noted = {vmid: value if len(value) > 1 else value[0] for vmid, value in guests.items() if value}
    return json.dumps({**document, "guests": noted}, separators=(",", ":"), sort_keys=True).encode() + b"\n"
