"""How the files of a capture are disguised, by where they are; and who is named where."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from functools import cache

from pvehooks.capture.record import Thing
from pvehooks.capture.redact.disguise import Stays
from pvehooks.causes import registry
from pvehooks.facts.node import tasks
from pvehooks.formats import firmwaredrivers
from pvehooks.records import baseline


class Treatment(enum.Enum):
    """How the content of a file is disguised."""

    VERBATIM = "kept as it is"
    KNOWN_NAMES = "names found anywhere in the capture are replaced"
    ALL_WORDS = "all words are replaced except those known to be public"
    IDENTIFIER = "replaced as a whole, because it identifies an owner"


def parameters(word: str, behind: str) -> bool:
    """The names of parameters stay, their values do not."""
    return behind in ("=", ".") and re.fullmatch(r"[a-z0-9_]+|GRUB_[A-Z0-9_]+", word) is not None


def _link_keys(word: str, behind: str) -> bool:
    """The keys and sections of a .link file stay."""
    return behind in ("=", "]") and word.isalpha()


def _properties(word: str, behind: str) -> bool:
    # v252 is a naming scheme of udev's.
    return re.fullmatch(r"[A-Z0-9_]+" if behind == "=" else r"v2[0-9]{2}", word) is not None


@cache
def _words_of_causes() -> frozenset[str]:
    # Without \S and the like, and the names of groups.
    patterns = (re.sub(r"\\[A-Za-z]|\(\?P<\w+>", " ", cause.pattern.pattern) for cause in registry.causes().values())
    return frozenset(word for pattern in patterns for word in re.findall(r"[A-Za-z0-9_]{2,}", pattern))


def of_causes(word: str, behind: str) -> bool:
    """The words by which causes of failed starts are known stay."""
    return word in _words_of_causes() or parameters(word, behind)


_IDENTIFIERS = (
    r"serial|serial_number|wwid|wwn|unique_id|nguid|eui|subsysnqn|hostnqn|hostid|vpd_pg80|vpd_pg83|permaddr|sas_address|port_name"
    r"|node_name|node_guid|sys_image_guid|phys_port_id|phys_switch_id|parent_guid|uniq|backing_file|ifalias|label"
)
# Of sysfs: how hardware and drivers describe themselves.
_DESCRIPTIONS = (
    r"modalias|product|manufacturer|model|vendor|device|class|resource|ecap|cap|reset_method|driver_override|rng_current|rng_available|version"
    r"|revision|uevent|cpulist|board_vendor|board_name|product_name|bios_vendor|bios_version|bios_date|name|description|information|features|state"
)
# The first that matches a path.
_PLACES: tuple[tuple[str, Treatment, Stays | None], ...] = (
    (r"/(?:etc|run|usr/local/lib)/systemd/network/[^/]*\.link", Treatment.ALL_WORDS, _link_keys),
    (r"/var/lib/pvehooks/pve-schema\.json|/(?:usr|lib)/.*|/boot/config-.*|.*/efi-firmware/[^/]*|.*\.fd", Treatment.VERBATIM, None),
    (rf"/sys/.*/(?:{_IDENTIFIERS})", Treatment.IDENTIFIER, None),
    (r"/sys/.*/dm/name", Treatment.ALL_WORDS, None),
    # What is plugged in may have a name that its owner gave it; the controllers' own hubs have the kernel's.
    (r"/sys/.*/usb[0-9]+/.*/(?:product|manufacturer)", Treatment.ALL_WORDS, None),
    (rf"/sys/.*/(?:{_DESCRIPTIONS})", Treatment.KNOWN_NAMES, None),
    (r"/proc/(?:cpuinfo|meminfo|iomem|interrupts|version|spl/.*|sys/kernel/osrelease|bus/input/devices)", Treatment.KNOWN_NAMES, None),
    (r"/proc/(?:[0-9]+/)?net/(?:fib_trie|unix)", Treatment.KNOWN_NAMES, None),
    (
        r"/(?:proc/cmdline|etc/kernel/cmdline|etc/default/grub.*|etc/modprobe\.d/.*)|.*/grub\.cfg|.*/loader/entries/.*",
        Treatment.ALL_WORDS,
        parameters,
    ),
    (r"/run/udev/data/.*", Treatment.ALL_WORDS, _properties),
    (rf"{tasks.DIRECTORY}/.*", Treatment.ALL_WORDS, of_causes),
    (r".*", Treatment.ALL_WORDS, None),
)
# Every user can make a file whose name has several lines, in /dev/shm.
_COMPILED = tuple((re.compile(pattern, re.DOTALL), treatment, stays) for pattern, treatment, stays in _PLACES)
# Names of files that the kernel, udev and packages give.
_KERNELS = re.compile(
    r"(?s)/(?:sys|proc|usr|lib|boot)(?:/.*)?|/run(?:/(?:udev|qemu-server|lvm|pvehooks|modprobe\.d|modules-load\.d)(?!/pvs_online/).*)?"
    r"|/dev(?!/(?:disk/by-|mapper/|shm/|mapper$))(?:/[^/]*|/(?:vfio|dri|snd|input|infiniband)/.*)?"
    r"|/etc(?:/(?:modprobe|modules-load|default|kernel|driverctl\.d)(?:[./].*)?)?"
)


def treatment(path: str, content: bytes | None) -> tuple[Treatment, Stays | None]:
    """How the content of the file is disguised, and which words of it stay although all are replaced, if any."""
    if content and firmwaredrivers.is_essence(content):
        return Treatment.VERBATIM, None
    return next((how, stays) for pattern, how, stays in _COMPILED if pattern.fullmatch(path))


def is_kernels(path: str) -> bool:
    """Whether the names in the path are given by programs, not by people."""
    return _KERNELS.fullmatch(path) is not None


# -- who is named where -----------------------------------------------------------------------------------------------

_BY_PATH = re.compile(
    r"(?s)/etc/pve/nodes/([^/]+)|/proc/spl/kstat/zfs/([^/]+)/|/etc/lvm/backup/([^/]+)|/mnt/pve/([^/]+)|/sys/(?:devices/.*|class)/net/([^/.]+)"
    r"|/dev/shm/pve-shm-(.+)|/etc/pve/virtual-guest/.*|/etc/pve/pvehooks/first-look/([^/]+)\.json"
)
BASELINE = rf"{re.escape(baseline.DIRECTORY)}/[^/]+\.json"
_SECTION = re.compile(r"(?m)^[a-z][a-z0-9_-]*:[ \t]*(\S+)[ \t]*$")
_STORAGE_VALUE = re.compile(
    r"(?m)^[ \t]+(?:vgname|thinpool|pool|share|server\d?|export|datastore|namespace|username|subdir|fs-name|domain|portal)[ \t]+(\S+)"
)
_CONFIGS = re.compile(r"/etc/pve/(?:storage\.cfg|mapping/.*|ha/.*\.cfg|virtual-guest/.*)")
_GUEST = re.compile(r"/etc/pve/(?:nodes/[^/]+/)?(?:qemu-server|lxc)/[0-9]+\.conf")
LABEL = re.compile(r"(?m)^(name|hostname):([ \t]*)(\S+)[ \t]*$")
_SNAPSHOT = re.compile(r"(?m)^(?:\[([^\]\s]+)\]|parent:[ \t]*(\S+))")
_TAGS = re.compile(r"(?m)^tags:[ \t]*(.*)$")
# Disks that PVE makes for guests.
_VOLUME = re.compile(r"(?:vm|base|subvol|basevol|snap)-\d+-.*")


def is_baseline(path: str) -> bool:
    """Whether it is a node's baseline."""
    return re.fullmatch(BASELINE, path) is not None


def is_guest(path: str) -> bool:
    """Whether it is the config of a guest."""
    return _GUEST.fullmatch(path) is not None


def names(things: Mapping[str, Thing]) -> Iterator[str]:
    """The names of nodes, guests, storages, mappings, pools, groups and interfaces."""
    for path, thing in things.items():
        match = _BY_PATH.match(path)
        yield from filter(None, match.groups() if match else ())
        if thing.content:
            text = thing.content.decode("utf-8", "surrogateescape")
            yield from (name for name in _in_text(path, text) if not _VOLUME.fullmatch(name))


def _in_text(path: str, text: str) -> Iterator[str]:
    if _CONFIGS.fullmatch(path):
        yield from _SECTION.findall(text)
        yield from re.findall(r"(?m)^(\S+)[ \t]*$", text) if "/mapping/" in path else ()
        for value in _STORAGE_VALUE.findall(text):
            yield from (part for part in value.split("/"))
    elif is_guest(path):
        yield from (name for match in _SNAPSHOT.findall(text) for name in match if name and name.upper() != "PENDING")
        yield from (tag for line in _TAGS.findall(text) for tag in re.split(r"[;,\s]+", line))
    elif path.endswith("/corosync.conf"):
        yield from re.findall(r"(?m)^\s*name\s*:\s*(\S+)", text)
    elif path == "/etc/hosts":
        yield from (part for line in text.split("\n") for name in line.partition("#")[0].split()[1:] for part in (name, *name.split(".")))
    elif path == "/etc/kernel/proxmox-boot-uuids":
        yield from text.split()
    elif path.startswith("/run/udev/data/b"):
        yield from re.findall(r"(?m)^E:ID_FS_(?:UUID|LABEL)=(\S+)$", text)
    elif path == "/etc/hostname":
        yield from text.split()
    elif path == "/etc/pve/user.cfg":
        yield from (fields[1] for line in text.split("\n") if len(fields := line.split(":")) > 1)
    elif path.endswith("/.members"):
        yield from re.findall(r'"([^"]+)"\s*:\s*\{\s*"id"', text)
    elif path.endswith("/dm/name"):
        yield from mapped(text.strip())


def mapped(name: str) -> Iterator[str]:
    """The names in one of device-mapper: group and volume, their own dashes doubled."""
    yield from (part.replace("--", "-") for part in re.split(r"(?<!-)-(?!-)", name))


def labels(things: Mapping[str, Thing]) -> Iterator[str]:
    """The names of guests."""
    for path, thing in things.items():
        if thing.content and is_guest(path):
            yield from (match[3] for match in LABEL.finditer(thing.content.decode("utf-8", "surrogateescape")))


def kept(things: Mapping[str, Thing]) -> Iterator[str]:
    """Words that stay: the names of drivers and modules."""
    for path, thing in things.items():
        match = re.match(r"/sys/(?:module|bus/[^/]+/drivers)/([^/]+)", path)
        if match:
            yield from re.findall(r"[A-Za-z0-9_]+", match[1])
        if thing.content and re.fullmatch(r"/(?:etc|run|usr/lib)/(?:modprobe\.d|modules-load\.d)/.*|/etc/modules", path):
            text = thing.content.decode("utf-8", "replace")
            commands = re.findall(r"(?m)^[ \t]*(?:options|blacklist|install|softdep|alias)[ \t]+([a-z0-9_-]+)", text)
            lines = [line.strip() for line in text.split("\n")] if "modprobe" not in path else []
            for word in (*commands, *(line for line in lines if re.fullmatch(r"[a-z0-9_-]+", line))):
                yield from re.findall(r"[A-Za-z0-9_]+", word)
