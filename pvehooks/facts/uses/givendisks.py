"""The block devices of the node that VM configs give to guests by their path, and those on the command lines of running ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.reading import unread
from pvehooks.facts.uses.blockdevices import as_written_and_resolved
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import NamedTuple, cached_property
from pvehooks.values.guests import guest_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests

_DISK = re.compile(rb"^((?:ide|sata|scsi|virtio|efidisk|tpmstate)\d+):\s*(?:[^\n]*,)?(?:file=|volume=)?(/dev/[^,\s]+)", re.MULTILINE)
_CDROM = re.compile(rb"^((?:ide|sata|scsi)\d+):\s*(?:[^\n]*,)?(?:file=)?(cdrom)(?:,|\s|$)", re.MULTILINE)
_ARGS = re.compile(rb"^(args):(.*)$", re.MULTILINE)
_NAME = re.compile(rb"^name:\s*(\S+)", re.MULTILINE)
_SNAPSHOT = re.compile(rb"^\[(?!PENDING\])[A-Z][A-Z0-9_:-]*\][ \t\r\f\v]*$", re.MULTILINE | re.IGNORECASE)
_TEMPLATE = re.compile(rb"^template:\s*1\s*$", re.MULTILINE)
_PATH = re.compile(rb"/dev/[\w.:+@/-]+")


class GivenDisk(NamedTuple):
    """That a guest has a disk: the option that says so ('' for its command line), its VMID, and how people call it."""

    option: str
    vmid: int
    label: str
    runs: bool = True


class GivenDisks:
    """The disks of all guests of the node, read once."""

    def __init__(self, host: Host, node: str, running: RunningGuests) -> None:
        self.host = host
        self.node = node
        self.running = running
        self.unread: tuple[str, ...] = ()

    @cached_property
    def by_path(self) -> Mapping[str, tuple[GivenDisk, ...]]:
        """What guests have a path in /dev, as written and resolved."""
        found: dict[str, dict[GivenDisk, None]] = {}
        for path, given in self._all():
            for each in as_written_and_resolved(self.host, path):
                known = found.setdefault(each, {})
                if not any(other.vmid == given.vmid for other in known):
                    known[given] = None
        return {path: tuple(given) for path, given in found.items()}

    def _all(self) -> Iterator[tuple[str, GivenDisk]]:
        running = self.running.all()
        if isinstance(running, Unread):
            self.unread += (f"what running VMs have ({running.why})",)
            running = ()
        raws = {guest.vmid: guest.raw for guest in running}
        for vmid in node_facts.guest_ids_or_none(self.host, self.node):
            if vmid not in raws:
                yield from self._of(vmid, self._raw(vmid), False)
        for guest in running:
            yield from self._of(guest.vmid, guest.raw, True)
            label = ""
            for word in guest.cmdline:
                for path in _PATH.findall(word.encode("utf-8", "surrogateescape")) if "/dev/" in word else ():
                    label = label or guest.label
                    yield _text(path), GivenDisk("", guest.vmid, label)

    def _raw(self, vmid: int) -> bytes | Unread:
        try:
            return guests.read_raw(self.host, self.node, vmid)
        except FileNotFoundError:
            return b""
        except OSError as error:
            return unread(f"the config of VM {vmid}", error)

    def _of(self, vmid: int, raw: bytes | Unread, runs: bool) -> Iterator[tuple[str, GivenDisk]]:
        """The paths in a config before its snapshots begin, pending ones too; `cdrom` is the node's drive while the guest runs."""
        if isinstance(raw, Unread):
            self.unread += (raw.why,)
            return
        if b"/dev/" not in raw and not (runs and b"cdrom" in raw):
            return
        snapshot = _SNAPSHOT.search(raw)
        text = raw[: snapshot.start()] if snapshot else raw
        if _TEMPLATE.search(text):
            return
        name = _NAME.search(text)
        label = guest_label(vmid, _text(name[1]) if name else "")
        for option, path in _DISK.findall(text):
            yield _text(path), GivenDisk(option.decode(), vmid, label, runs)
        for option, _ in _CDROM.findall(text) if runs else ():
            yield "/dev/cdrom", GivenDisk(option.decode(), vmid, label, runs)
        for option, words in _ARGS.findall(text):
            for path in _PATH.findall(words):
                yield _text(path), GivenDisk(option.decode(), vmid, label, runs)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
