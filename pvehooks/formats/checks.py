"""The named formats of PVE::JSONSchema (pve-common) and of qemu-server.

Each entry of FORMATS has a test and the noun for messages: "is not <noun>". Texts are one line, never None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

WHITESPACE = " \t\n\r\f\v"
"""What Perl's \\s matches in a byte string."""
_AS_BLANKS = dict.fromkeys(map(ord, ",;" + WHITESPACE), " ")

LARGEST_INTEGER = 2**64 - 1
"""Perl keeps larger ones as floating point."""


class Format(NamedTuple):
    """A named format: `accepts(text)` is whether a text has it, `noun` completes "is not ..."."""

    accepts: Callable[[str], bool]
    noun: str


def whole(pattern: str) -> Callable[[str], bool]:
    """A test for texts that match `pattern` from end to end, as Perl's ^...$ does on one line of bytes."""
    compiled: list[re.Pattern[str]] = []

    def accepts(text: str) -> bool:
        if not compiled:
            compiled.append(re.compile(pattern, re.ASCII))
        return compiled[0].fullmatch(text) is not None

    return accepts


def split_list(text: str) -> list[str]:
    """PVE's list: separated by NUL if there is one, else by commas, semicolons and white space (PVE::ParseUtils).

    The bytes 0x85 and 0xA0 are white space here, even within a UTF-8 character: that module has Perl's unicode_strings on.
    """
    if "\0" in text:
        items = text.split("\0")
    elif text.isascii():
        return [item for item in text.translate(_AS_BLANKS).split(" ") if item]
    else:
        raw = re.split(rb"[,;\s\x85\xa0]+", text.encode(errors="surrogateescape").lstrip(b",; \t\n\r\f\v\x85\xa0"))
        items = [item.decode(errors="surrogateescape") for item in raw]
    while items and not items[-1]:
        items.pop()
    return items


_OCTET = "(?:25[0-5]|(?:2[0-4]|1[0-9]|[1-9])?[0-9])"

is_ipv4 = whole(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
is_number = whole(r"[+-]?(?:\d+\.\d+|\d+\.|\.\d+|\d+)(?:[eE][+-]?\d+)?")
_is_hex_group = whole("[0-9a-fA-F]{1,4}")
_is_cpu_range = whole(r"\s*\d+(?:-\d+)?\s*")
_is_two_digits = whole(r"\d{1,2}")
_is_startup_part = whole(r"(?:order=)?\d+|(?:up|down)=\d+")
_MACHINE_VERSION = r"-\d+(?:\.\d+)+(?:\+pve\d+)?(?:\.pxe)?"
_is_other_machine = whole(rf"pc(?:-i440fx)?{_MACHINE_VERSION}|pc-q35{_MACHINE_VERSION}|virt(?:-\d+(?:\.\d+)+)?(?:\+pve\d+)?")
# How many of each there can be.
_BOOT_DEVICES = {"ide": 4, "sata": 6, "scsi": 31, "virtio": 16, "net": 32, "usb": 14, "hostpci": 16}
_DIGITS = "0123456789"
_LOWER_HEX = frozenset("0123456789abcdef")
_HEX = _LOWER_HEX | frozenset("ABCDEF")


# The formats that every start of a guest needs are checked without patterns: the hookscript would compile them each time, which is slow.
def is_integer(text: str) -> bool:
    """Digits, with or without a sign."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isascii() and digits.isdigit()


def is_dns_name(text: str) -> bool:
    """Labels of letters, digits and hyphens inside, with dots between them."""
    return text.isascii() and all(label.replace("-", "x").isalnum() and label[0] != "-" and label[-1] != "-" for label in text.split("."))


def _is_storage_id(text: str) -> bool:
    """A letter first, then letters, digits, hyphens, dots and underscores, and none of these three last; at least two characters."""
    name = text.replace("-", "x").replace("_", "x").replace(".", "x")
    return len(text) > 1 and text.isascii() and name.isalnum() and text[0].isalpha() and text[-1].isalnum()


def is_volume_id(text: str) -> bool:
    """`STORAGE:VOLUME`."""
    storage, _, volume = text.partition(":")
    return bool(volume) and "\n" not in volume and _is_storage_id(storage)


def _is_disk_size(text: str) -> bool:
    """A number with or without decimals, and K, M, G, T, KiB, MiB, GiB, TiB or nothing."""
    number = text.removesuffix("iB").rstrip("KMGT")
    before, dot, decimals = number.partition(".")
    unit = text[len(number) :]
    return unit in ("", "K", "M", "G", "T", "KiB", "MiB", "GiB", "TiB") and all(map(_is_digits, (before, decimals) if dot else (before,)))


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_unicast_mac(text: str) -> bool:
    """Six bytes in hex, of which the first is even."""
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and _HEX.issuperset(part) for part in parts) and int(parts[0], 16) % 2 == 0


def _is_machine(text: str) -> bool:
    return text in ("pc", "q35") or _is_other_machine(text)


def is_pci_address(text: str) -> bool:
    """`[DOMAIN:]BUS:SLOT[.FUNCTION]` in lower case."""
    slot, dot, function = text.partition(".")
    *domain, bus, device = slot.split(":") if ":" in slot else ("", "", "")
    return (
        len(bus) == len(device) == 2
        and (not domain or (len(domain) == 1 and len(domain[0]) >= 4))
        and len(function) == len(dot)
        and _LOWER_HEX.issuperset("".join((*domain, bus, device, function)))
    )


def _is_boot_device(text: str) -> bool:
    bus = text.rstrip(_DIGITS)
    number = text[len(bus) :]
    return 0 < len(number) <= 2 and str(int(number)) == number and int(number) < _BOOT_DEVICES.get(bus, 0)


def _ipv6_groups(text: str, may_end_in_ipv4: bool) -> int | None:
    if not text:
        return 0
    groups = text.split(":")
    count = len(groups)
    if may_end_in_ipv4 and is_ipv4(groups[-1]):
        groups.pop()
        count += 1
    return count if all(map(_is_hex_group, groups)) else None


def is_ipv6(text: str) -> bool:
    """Without a zone index; the last 32 bits may be written as IPv4."""
    head, gap, tail = text.partition("::")
    if not gap:
        return _ipv6_groups(text, True) == 8
    left, right = _ipv6_groups(head, False), _ipv6_groups(tail, True)
    return left is not None and right is not None and left + right <= 7


def _has_prefix(text: str, is_address: Callable[[str], bool], bits: int) -> bool:
    address, slash, prefix = text.rpartition("/")
    digits = prefix.lstrip("0")
    return (
        bool(slash) and prefix.isascii() and prefix.isdigit() and 0 < len(digits) <= 3 and 7 < int(digits) <= bits and is_address(address)
    )


def _is_ipv4_config(text: str) -> bool:
    return text in ("dhcp", "manual") or _has_prefix(text, is_ipv4, 32)


def _is_ipv6_config(text: str) -> bool:
    return text in ("auto", "dhcp", "manual") or _has_prefix(text, is_ipv6, 128)


# CpuSet.pm counts from the first to the last CPU: beyond what floating point counts one by one it never ends.
_MOST_CPU_DIGITS = 15


def _is_cpu_set(text: str) -> bool:
    parts = text.split(",")
    while parts and not parts[-1]:
        parts.pop()
    for part in parts:
        if not _is_cpu_range(part):
            return False
        first, dash, last = part.strip(WHITESPACE).partition("-")
        if max(len(first), len(last)) > _MOST_CPU_DIGITS or (dash and int(last) < int(first)):
            return False
    return True


def _is_hotplug(text: str) -> bool:
    known = ("network", "disk", "cpu", "memory", "usb", "cloudinit")
    return text in ("0", "1") or all(feature in known for feature in split_list(text))


def is_startup(text: str) -> bool:
    """`[order=]N,up=SECONDS,down=SECONDS`; PVE takes a lone `0` for no value and refuses it (PVE::JSONSchema)."""
    return text not in ("", "0") and all(_is_startup_part(part) for part in text.split(",") if part.strip(WHITESPACE))


def _is_phys_bits(text: str) -> bool:
    return text == "host" or (_is_two_digits(text) and 8 <= int(text) <= 64)


def _is_drive_source(text: str) -> bool:
    return text in ("none", "cdrom") or text.startswith("/") or is_volume_id(text)


def _is_boot_disk(text: str) -> bool:
    if text in ("efidisk0", "tpmstate0"):
        return True
    return text.startswith(("ide", "sata", "scsi", "virtio")) and _is_boot_device(text)


def _is_address(text: str) -> bool:
    # The DNS name "0" is false to the Perl code that asks whether the check gave one.
    return is_ipv4(text) or is_ipv6(text) or (text != "0" and is_dns_name(text))


def _each(accepts: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: all(map(accepts, split_list(text)))


FORMATS: Mapping[str, Format] = {
    "address-list": Format(_each(_is_address), "a list of IP addresses or host names"),
    "disk-size": Format(_is_disk_size, "a disk size"),
    "dns-name": Format(is_dns_name, "a DNS name"),
    "ipv4": Format(is_ipv4, "an IPv4 address"),
    "ipv6": Format(is_ipv6, "an IPv6 address"),
    "mac-addr": Format(_is_unicast_mac, "a unicast MAC address"),
    "pci-addresses": Format(lambda text: all(map(is_pci_address, text.split(";"))), "a list of PCI addresses"),
    "pve-bridge-id": Format(whole(r"[-_.\w]+"), "the name of a bridge"),
    "pve-configid": Format(whole("(?i:[a-z][a-z0-9_-]+)"), "an ID (a letter, then letters, digits, - or _)"),
    "pve-cpuset": Format(_is_cpu_set, "a list of CPUs"),
    "pve-hotplug-features": Format(_is_hotplug, "a list of hotplug features"),
    "pve-ipv4-config": Format(_is_ipv4_config, "an IPv4 network, dhcp or manual"),
    "pve-ipv6-config": Format(_is_ipv6_config, "an IPv6 network, auto, dhcp or manual"),
    "pve-node": Format(whole("[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"), "the name of a node"),
    "pve-phys-bits": Format(_is_phys_bits, "'host' or a number from 8 to 64"),
    "pve-qm-bootdev-list": Format(_each(_is_boot_device), "a list of bootable devices"),
    "pve-qm-bootdisk": Format(_is_boot_disk, "the name of a disk"),
    "pve-qemu-machine": Format(_is_machine, "a machine type"),
    "pve-startup-order": Format(is_startup, "a start-up order"),
    "pve-storage-id": Format(_is_storage_id, "the name of a storage"),
    "pve-storage-path-in-property-string": Format(whole(r"/[^;,=()]+(?:.|\n)*"), "an absolute path"),
    "pve-tag-list": Format(_each(whole(r"(?i:[a-z0-9_][a-z0-9_\-+.]*)")), "a list of tags"),
    "pve-volume-id": Format(is_volume_id, "a volume id (STORAGE:VOLUME)"),
    "pve-volume-id-list": Format(_each(is_volume_id), "a list of volume ids"),
    "pve-volume-id-or-qm-path": Format(_is_drive_source, "a volume id, an absolute path, none or cdrom"),
    "urlencoded": Format(whole(r"[-%a-zA-Z0-9_.!~*'()]*"), "URL-encoded text"),
}


# -- properties: the schema of one property of a property string (PVE::JSONSchema in pve-common) ---------------------


class Property(NamedTuple):
    """One property. What is '', None, () or False is not restricted."""

    type: Literal["boolean", "integer", "number", "string"]
    required: bool = False
    # Whether its name may be left out.
    default_key: bool = False
    enum: tuple[str, ...] = ()
    # Must match the whole value.
    pattern: str = ""
    # What the pattern means, in words.
    noun: str = ""
    # An entry of checks.FORMATS.
    format: str = ""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    """In bytes."""
    # The property that this one is another name for.
    alias: str = ""
    # Of an alias: the property whose value its own name is, if given.
    key_alias: str = ""
    # A property that must be there too.
    requires: str = ""


def flag(*, required: bool = False, default_key: bool = False) -> Property:
    """A boolean."""
    return Property("boolean", required, default_key)


def integer(minimum: float | None = None, maximum: float | None = None, *, required: bool = False, default_key: bool = False) -> Property:
    """A whole number within limits."""
    return Property("integer", required, default_key, minimum=minimum, maximum=maximum)


def number(minimum: float | None = None, maximum: float | None = None) -> Property:
    """A decimal number within limits."""
    return Property("number", minimum=minimum, maximum=maximum)


def enum(*values: str, required: bool = False, default_key: bool = False) -> Property:
    """One of the given texts."""
    return Property("string", required, default_key, values)


def string(
    *,
    required: bool = False,
    default_key: bool = False,
    pattern: str = "",
    noun: str = "",
    form: str = "",
    max_length: int | None = None,
    requires: str = "",
) -> Property:
    """A text with a pattern or a named format, or any text."""
    return Property("string", required, default_key, (), pattern, noun, form, max_length=max_length, requires=requires)
