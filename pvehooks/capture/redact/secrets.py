"""What never gets into a capture, also not into a plain one: of files that may hold secrets only what the rules read of them is left.

Lengths and forms stay, where something may look at them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

# Nothing below these is taken, for no reader; nor what is called like a key.
_PRIVATE = re.compile(
    r"(?s)/etc/pve/(?:.*/)?priv(?:/|$)|/etc/(?:shadow|gshadow|ssh|ssl|ppp|wireguard|ipsec|sudoers)"
    r"|/proc/[^/]+/(?:environ|mem|maps|auxv)|/etc/pve/.*\.(?:key|pem|p12|pfx)$|/var/lib/pve-cluster|/var/lib/pve-manager"
    r"|.*\.(?:key|p12|pfx|kdbx)$|.*/(?:authkey|id_[a-z0-9]+|authorized_keys|keyring|[^/]*\.keyring)[^/]*$"
)
_HOME = re.compile(r"/(?:root|home)(?:/|$)")
_SECRET_OPTION = rb"cipassword|sshkeys|ciuser-password"
# Words that are followed by a secret, in whatever file of text. A word is looked at once, from its beginning, and never given back in part:
# a text of one word takes no longer than any other.
_SECRET_WORD = re.compile(
    rb"(?i)(?<![\w-])(?=[\w-]*?(?:passw(?:or)?d|passphrase|secret|token|credential|psk|encryption-key|private-?key|api-?key|wireless-key"
    rb"|master-pubkey|fingerprint|keyring))([\w-]++[\"']?)([ \t]*[=:][ \t]*|[ \t]+)([\"']?)(\{[^\n]*\}|[^\s,;\"']+)"
)
# Forms of a secret without such a word. What comes first is kept, what follows is masked up to the last group's end.
_SECRET_FORMS = tuple(
    re.compile(pattern)
    for pattern in (
        # GRUB: password USER WORD, password_pbkdf2 USER HASH.
        rb"(?im)(^[ \t]*password(?:_pbkdf2)?[ \t]+)([^\n]+)",
        rb"(?i)(\bgrub\.pbkdf2\.)(\S+)",
        # Who is asking, in a URL: https://USER:WORD@HOST.
        rb"(?i)(\b[a-z][a-z0-9+.-]{0,30}://)([^\s/\"'<>]*)@",
        # dracut's netroot=iscsi:USER:WORD@HOST, and its like.
        rb"(?i)(\b(?:iscsi|nbd|nfs|cifs|smb|ftp):)([^\s/@\"',]{1,256})@",
        # curl -u USER:WORD, wget, git and their like.
        rb"((?<!\S)(?:-[a-zA-Z]{0,8}[uU]|--(?:proxy-)?user)(?:=|[ \t]{0,8})[\"']?)([^\s\"':]{0,256}:[^\s\"']*)",
        # cryptkey=, luks.key=, a module's key=. An alias of this form, ssh's or QEMU's, says no more than the word does.
        rb"(?i)(?<![\w.-])(?=[\w.-]*?keys?=)([\w.-]++=[\"']?)([^\s,;\"']+)",
    )
)
# The firmware's own switches are read by the rules (OvmfPkg/RUNTIME_CONFIG.md); all other values may be secrets.
_ARGS_SECRET = re.compile(
    rb"(\bname=opt/org\.tianocore/\w+,string=(?i:[01]|true|false|yes|no|[yn]|enabled?|disabled?)(?![^\s\"'])"
    rb"|\b(?:data|string|key|file-secret|password-secret|passwordid)=)([^\s,\"']*)"
)
# By a line of its own, or by an option of PVE's for words of people.
_COMMENT = re.compile(rb"(?m)^([ \t]*(?=#)|[ \t]+(?:description|comment|notes)[ \t]+)(.*)$")
# A certificate or key in the middle of text.
_ARMOUR = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)


def is_private(path: str) -> bool:
    """Whether nothing of what is at the path may be taken, not even that it is there."""
    return _PRIVATE.match(path) is not None


def is_in_home(path: str) -> bool:
    """Whether it lies in a directory that is a person's own."""
    return _HOME.match(path) is not None


def is_hidden(path: str) -> bool:
    """Whether a capture says nothing of the path, unless something else names it."""
    return is_private(path) or is_in_home(path)


def masked(raw: bytes) -> bytes:
    """The same with every letter an x and every digit a 0."""
    return bytes(_mask(byte) for byte in raw)


def _mask(byte: int) -> int:
    if 48 <= byte <= 57:
        return 48
    return 120 if 65 <= byte <= 90 or 97 <= byte <= 122 else byte


def masked_text(raw: bytes) -> bytes:
    """A description: masked, and what stands in it as UTF-8 or as %XX stays as intact, or as broken, as it was."""
    pieces = []
    end = 0
    for run in re.finditer(rb"(?:%[0-9A-Fa-f]{2}|[\x80-\xff])+", raw):
        pieces += [masked(raw[end : run.start()]), _masked_run(run[0])]
        end = run.end()
    return b"".join((*pieces, masked(raw[end:])))


def _masked_run(run: bytes) -> bytes:
    """Escapes and bytes beyond ASCII: each character's letter goes, its number of bytes stays."""
    units = re.findall(rb"%[0-9A-Fa-f]{2}|[\x80-\xff]", run)
    values = bytes(int(unit[1:], 16) if unit[:1] == b"%" else unit[0] for unit in units)
    plain = values.decode("utf-8", "surrogateescape")
    stand_ins = {2: "\u00e9", 3: "\u20ac", 4: "\U0001f600"}
    new = bytearray()
    for char in plain:
        raw = char.encode("utf-8", "surrogateescape")
        # A byte that is no UTF-8 says little, and messages name it.
        new += bytes([_mask(raw[0])]) if char.isascii() else raw if len(raw) == 1 else stand_ins[len(raw)].encode()
    return b"".join(b"%%%02X" % byte if unit[:1] == b"%" else bytes([byte]) for unit, byte in zip(units, new, strict=True))


# -- files of text ----------------------------------------------------------------------------------------------------


def without_secrets(raw: bytes) -> bytes:
    """Any text: what follows a word like `password`, and what has the form of a secret, is masked."""
    raw = _ARMOUR.sub(lambda match: masked(match[0]), raw)
    for form in _SECRET_FORMS:
        raw = form.sub(lambda match: match[1] + masked(match[2]) + match[0][match.end(2) - match.start() :], raw)
    return _SECRET_WORD.sub(lambda match: match[1] + match[2] + match[3] + masked(match[4]), raw)


def without_comments(raw: bytes) -> bytes:
    """The same, and comments masked."""
    return without_secrets(_COMMENT.sub(lambda match: match[1] + masked_text(match[2]), raw))


def _guest(raw: bytes) -> bytes:
    """A VM's config: no description, no cloud-init secrets, no secrets for QEMU."""
    lines = [_guest_line(line) for line in raw.split(b"\n")]
    return b"\n".join(lines)


def _guest_line(line: bytes) -> bytes:
    if line.startswith(b"#"):
        return b"#" + masked_text(line[1:])
    key, colon, value = line.partition(b":")
    name = key.strip().lower()
    if not colon:
        return without_secrets(line)
    if name == b"description":
        return key + colon + masked_text(value)
    if re.fullmatch(_SECRET_OPTION, name):
        return key + colon + masked(value)
    if name == b"args":
        value = _ARGS_SECRET.sub(lambda match: match[1] + masked(match[2]), value)
    return without_secrets(key + colon + value) if name == b"args" or name.isalpha() else key + colon + value


_CT_OPTIONS = re.compile(
    rb"(?:arch|cores|cpulimit|cpuunits|debug|dev\d+|features|hostname|lock|memory|mp\d+|net\d+|onboot|ostype|protection|rootfs|startup|swap"
    rb"|tags|template|unprivileged|unused\d+|parent|snaptime"
    rb"|lxc\.(?:mount\.entry|cgroup2?\.devices\.(?:allow|deny)|net\.[\w.]+|apparmor\.profile))[ \t]*[:=]|\["
)


def _container(raw: bytes) -> bytes:
    """A container's config: only options that are known to hold no secrets."""
    return _lines(raw, lambda line: _CT_OPTIONS.match(line) is not None)


def _lines(raw: bytes, wanted: Callable[[bytes], bool]) -> bytes:
    return b"".join(line for line in lines(raw) if wanted(line))


def lines(raw: bytes) -> list[bytes]:
    """The lines of a file, with their ends. A carriage return ends none: what follows it would pass for an option of its own."""
    *ended, last = raw.split(b"\n")
    return [*(line + b"\n" for line in ended), *filter(None, (last,))]


def _pools(raw: bytes) -> bytes:
    """user.cfg: the pools without their comments; no users, groups, tokens and rights."""
    kept = (line.split(b":") for line in raw.split(b"\n") if line.startswith(b"pool:"))
    return b"".join(b":".join((*fields[:2], masked_text(fields[2]), *fields[3:])) + b"\n" for fields in kept if len(fields) > 3)


def _boot_menu(raw: bytes) -> bytes:
    """grub.cfg: titles and kernels; no passwords."""
    return _lines(raw, lambda line: re.match(rb"\s*(?:menuentry|submenu|linux(?:16|efi)?|initrd)\s|\}", line) is not None)


def _mount_table(raw: bytes) -> bytes:
    """Mounts: of the options only those about devices; a mount over the network stays, without the user who made it."""
    return b"\n".join(_mount(line) for line in raw.split(b"\n"))


def _mount(line: bytes) -> bytes:
    fields = line.split(b" ")
    places = (5, len(fields) - 1) if b"-" in fields[6:] else (3,)
    for place in places:
        if 0 < place < len(fields):
            kept = [word for word in fields[place].split(b",") if re.match(rb"(?:rw|ro|(?:log|rt)dev=.*)$", word)]
            fields[place] = b",".join(kept) or b"rw"
    return b" ".join(fields)


_UDEV = re.compile(
    rb"(?:S:|I:|E:(?:ID_FS_(?:TYPE|UUID|LABEL|UUID_SUB|USAGE|VERSION|BLOCK_SIZE)|ID_NET_NAME\w*|ID_NET_NAMING_SCHEME|ID_NET_DRIVER|ID_BUS|ID_TYPE|ID_PATH|DM_[A-Z]*_?NAME)=)"
)
# Groups, their volumes and their UUIDs; where the volumes lie is in deeper lines.
_LVM = re.compile(
    rb'\s*id = "|\s*tags = \["ceph\.osd_id=[0-9]+"\]\s*\Z|.*(?:physical_volumes|logical_volumes) \{|\s*\}|(?:\t\t)?[A-Za-z0-9+_.-]+ \{\s*\Z'
)
_COROSYNC = re.compile(
    rb"\s*(?:nodelist|node|totem|interface|quorum)\s*\{|\s*\}|\s*(?:name|nodeid|quorum_votes|ring\d+_addr|linknumber|link_mode)\s*:"
)
_CPU = re.compile(
    rb"(?:processor|vendor_id|cpu family|model|model name|stepping|microcode|cpu cores|flags|Features|CPU implementer)\s*:|\s*$"
)
_INPUT = re.compile(rb"[ISHB]: |\s*$")
_UEVENT = re.compile(rb"(?:DEVTYPE|DEVNAME|DRIVER|PCI_\w+|MODALIAS|MAJOR|MINOR|INTERFACE|IFINDEX|PRODUCT|TYPE|SUBSYSTEM|OF_\w+|ID_\w+)=")


def _interrupts(raw: bytes) -> bytes:
    """Which controllers there are; not who has which interrupt."""
    chips = re.compile(rb"^\s*\w+:.*?((?:IR-|DMAR|PCI-MSI|IO-APIC|HPET)[\w.-]*)")
    found = (chips.match(line) for line in raw.split(b"\n"))
    return b"".join(b" 0: 0 " + chip + b"\n" for chip in dict.fromkeys(match[1] for match in found if match))


def _sockets(raw: bytes) -> bytes:
    """Only what shows that containers run."""
    return b"".join(b"0: " + name + b"\n" for name in re.findall(rb"(?m)@/var/lib/lxc/\d+/command\s*?$", raw))


_QEMU_PARTS = re.compile(rb"(?:host|sysfsdev|id|hostbus|hostport|hostaddr|vendorid|productid|driver|bus|addr)=")


def _arguments(raw: bytes) -> bytes:
    """The command line of a QEMU or a Ceph OSD: which guest it is, and what of the host it was given."""
    words = raw.rstrip(b"\0").split(b"\0")
    kept = words[:1]
    for before, word in pairwise(words):
        if before in (b"-id", b"--id", b"-i"):
            kept += [before, word]
        elif before in (b"-device", b"--device") and (b"vfio" in word or word.startswith(b"usb-host")):
            kept += [before, _device(word)]
        elif word.startswith(b"--id="):
            kept.append(word)
        elif b"/dev/" in word:
            kept += [b"path=" + path for path in re.findall(rb"/dev/[\w.:+@/-]+", word)]
    return b"\0".join(kept) + b"\0"


def _device(word: bytes) -> bytes:
    if word.startswith(b"{"):
        import json

        try:
            content = json.loads(word)
        except (ValueError, RecursionError):
            return b"{}"
        known = content.items() if isinstance(content, dict) else ()
        return json.dumps({key: value for key, value in known if _QEMU_PARTS.match(f"{key}=".encode())}).encode()
    driver, *parts = word.split(b",")
    return b",".join((driver, *(part for part in parts if _QEMU_PARTS.match(part))))


def _boot_entry(raw: bytes) -> bytes:
    """A Boot#### variable: which boot loader it names."""
    text = raw.replace(b"\0", b"").lower()
    return raw[:4] + b" ".join(word for word in (b"systemd-boot", b"shim", b"grub") if word in text).decode().encode("utf-16-le")


def _volume_group(raw: bytes) -> bytes:
    """Of the tags only those that say whose a volume is: Ceph's keep a secret among them."""
    tagged = re.sub(rb'(\n\s*)tags = \[[^\n]*("ceph\.osd_id=[0-9]+")[^\n]*', rb"\1tags = [\2]", raw)
    return _lines(tagged, lambda line: _LVM.match(line) is not None)


def _firmware(raw: bytes) -> bytes:
    from pvehooks.formats import firmwaredrivers

    return firmwaredrivers.essence(raw)


def _only(pattern: re.Pattern[bytes]) -> Callable[[bytes], bytes]:
    return lambda raw: _lines(raw, lambda line: pattern.match(line) is not None)


def _nothing(raw: bytes) -> bytes:
    return raw[:4]


# Of what makes virtual functions at boot: the order of a unit, the script that it runs, and what is written to the device.
_MAKER = re.compile(
    rb"\[(?:Unit|Service|Install)\]|(?:Before|WantedBy|RequiredBy)\s*=|Exec(?:Start|StartPre|StartPost)=\S+(?:\s+/\S+)?\s*$|(?!\s*#).*sriov_numvfs"
)


def _maker(raw: bytes) -> bytes:
    """Units, scripts and crontabs, which may hold anything."""
    return without_secrets(b"".join(line for line in lines(raw) if _MAKER.match(line)))


def _as_it_is(raw: bytes) -> bytes:
    return raw


_EFI = "/sys/firmware/efi/efivars"
# The first that matches a whole path.
_REDUCTIONS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    (r"/etc/pve/(?:nodes/[^/]+/)?qemu-server/.*", _guest),
    (r"/etc/pve/(?:nodes/[^/]+/)?lxc/.*", _container),
    (r"/etc/pve/user\.cfg", _pools),
    (r"/etc/pve/datacenter\.cfg", _only(re.compile(rb"ha:"))),
    (r"/etc/(?:pve|corosync)/corosync\.conf", _only(_COROSYNC)),
    (r"/etc/lvm/backup/.*", _volume_group),
    # A guest's own, which `args` names; those of the node and of pvehooks are as they are.
    (r"(?!/usr/share/|.*/efi-firmware/).*\.fd", _firmware),
    (r"/etc/zfs/zpool\.cache|/var/lib/pvehooks/pve-schema\.json", _as_it_is),
    (r"/(?:proc/cmdline|etc/kernel/cmdline)", without_secrets),
    (r".*/grub\.cfg", lambda raw: without_secrets(_boot_menu(raw))),
    (r"/run/udev/data/.*", _only(_UDEV)),
    (r"/proc/mounts|/proc/[^/]+/(?:mounts|mountinfo)", _mount_table),
    (r"/proc/[0-9]+/cmdline", _arguments),
    (r"/proc/cpuinfo", _only(_CPU)),
    (r"/proc/interrupts", _interrupts),
    (r"/proc/(?:[0-9]+/)?net/unix", _sockets),
    (r"/proc/bus/input/devices", _only(_INPUT)),
    (r"/proc/driver/nvidia/gpus/.*", _only(re.compile(rb"(?:Model|Device Minor|Bus Type):"))),
    (r"/sys/.*/uevent", _only(_UEVENT)),
    (r"/(?:etc|run|usr/local/lib|usr/lib)/systemd/network/[^/]*\.link", without_comments),
    (r"/boot/initrd\.img-.*", without_secrets),
    (r"/etc/systemd/system/.*|/etc/rc\.local|/etc/cron(?:tab|\.d/.*)|/var/spool/cron/.*|/(?:usr/local|opt)/.*", _maker),
    (rf"{_EFI}/Boot[0-9A-Fa-f]{{4}}-.*", _boot_entry),
    (rf"{_EFI}/(?:SecureBoot|SetupMode|BootCurrent|LoaderInfo|MokList\w*)-.*", _as_it_is),
    (rf"{_EFI}/.*", _nothing),
    (r"/(?:sys|proc|usr|lib|boot|dev)/.*", _as_it_is),
    (r".*", without_comments),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), reduce) for pattern, reduce in _REDUCTIONS)


def reduced(path: str, raw: bytes) -> bytes:
    """The content of a file without what must not get out."""
    return next(reduce for pattern, reduce in _COMPILED if pattern.fullmatch(path))(raw)
