"""Where cards are: the slots that the firmware names (SMBIOS 3.7, 7.10, System Slots), and what kind of port a bridge is."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.reading import content_of, listing_of
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.boot import PciSlot

# ABI/testing/sysfs-firmware-dmi-entries: a directory for each entry, by its type and number; `raw` is root's alone.
_ENTRIES = "/sys/firmware/dmi/entries"
_MOST, _LIMIT, _LONGEST = 256, 4096, 64
_SYSTEM_SLOT = 9
# What is before the address, and with it (SMBIOS 2.6 and later).
_SHORT, _FULL = 0x0C, 0x11
_LANES = {0x08: 1, 0x09: 2, 0x0A: 4, 0x0B: 8, 0x0C: 12, 0x0D: 16, 0x0E: 32}
_USED = {3: False, 4: True}
# The Device/Port Type of the PCI Express capability (PCI Express Base Specification, 7.5.3.2), which is found as 7.5.1.1.11 has it.
_PORTS = {4: "root port", 5: "upper port of a switch", 6: "lower port of a switch", 7: "bridge to PCI", 8: "bridge to PCIe"}
_PCI_EXPRESS = 0x10
_STATUS, _HAS_LIST, _FIRST = 0x06, 0x10, 0x34
_MOST_CAPABILITIES = 48


def slots(host: Host) -> tuple[PciSlot, ...] | Unread:
    """The slots in the order of the firmware's table; none without such a table."""
    entries = listing_of(host, _ENTRIES)
    if isinstance(entries, Unread):
        return entries if host.exists(_ENTRIES) else ()
    found: list[PciSlot] = []
    for name in sorted((name for name in entries if name.startswith(f"{_SYSTEM_SLOT}-")), key=_number)[:_MOST]:
        raw = content_of(host, f"{_ENTRIES}/{name}/raw", _LIMIT)
        if isinstance(raw, Unread):
            return raw
        found += _slot(raw)
    return tuple(found)


def _number(name: str) -> tuple[int, str]:
    rest = name.partition("-")[2]
    return int(rest) if len(rest) < 6 and rest.isascii() and rest.isdecimal() else 1 << 20, name


def _slot(raw: bytes) -> Iterator[PciSlot]:
    """The slot in an entry; none where it is cut off, is no slot or has no name."""
    length = raw[1] if len(raw) > 1 else 0
    if len(raw) < length or length < _SHORT or raw[0] != _SYSTEM_SLOT:
        return
    name = _string(raw[length:], raw[4])
    if not name:
        return
    address = ""
    if length >= _FULL and raw[0x0F:0x11] != b"\xff\xff":
        segment, bus, place = int.from_bytes(raw[0x0D:0x0F], "little"), raw[0x0F], raw[0x10]
        address = f"{segment:04x}:{bus:02x}:{place >> 3:02x}.{place & 7}"
    yield PciSlot(name, address, _LANES.get(raw[6], 0), _USED.get(raw[7]))


def _string(strings: bytes, number: int) -> str:
    """The string of that number, counted from 1, on one line and not longer than a name is; '' where there is none."""
    found = strings.split(b"\0")[number - 1 : number] if number else []
    return " ".join(found[0][:_LONGEST].decode("ascii", "replace").split()) if found else ""


def port(config: bytes) -> str:
    """What kind of PCIe port has this configuration space; '' where it does not show it: without root it ends before the capabilities."""
    if len(config) <= _FIRST or not config[_STATUS] & _HAS_LIST:
        return ""
    at = config[_FIRST] & 0xFC
    for _ in range(_MOST_CAPABILITIES):
        if at < 0x40 or at + 4 > len(config):
            return ""
        if config[at] == _PCI_EXPRESS:
            return _PORTS.get(config[at + 2] >> 4, "")
        at = config[at + 1] & 0xFC
    return ""
