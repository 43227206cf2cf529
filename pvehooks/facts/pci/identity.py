"""By what a PCI device is known again at its address: twins have the same ids, so where it sits and its serial number count as well."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pvehooks.host import Host
from pvehooks.values import NamedTuple, PciDevice

_DEVICES = "/sys/bus/pci/devices"
# The extended configuration space, which only root can read (PCI Express Base Specification, 7.6.3 and 7.9.3).
_EXTENDED = range(0x100, 0x1000)
_SERIAL_NUMBER = 0x0003
_MOST_CAPABILITIES = 64


class DeviceIdentity(NamedTuple):
    """How a device is recognised; ids are numbers."""

    vendor: int
    device: int
    subsystem: tuple[int, int] | None
    # The bridges above it and itself ("pci0000:00/0000:00:01.0/0000:01:00.0"), '' where unknown.
    place: str
    # The PCIe Device Serial Number as lspci shows it ("00-1b-21-ff-ff-aa-bb-cc"), '' where there is none or it cannot be read.
    serial: str


def of(host: Host, device: PciDevice) -> DeviceIdentity:
    """What the device at this address is now."""
    where = place_of(host, device.address)
    return DeviceIdentity(device.vendor, device.device, device.subsystem, where, serial_of(host, device.address))


def place_of(host: Host, address: str) -> str:
    """The bridges above the device at this address and itself, '' where unknown."""
    try:
        target = host.link_text(f"{_DEVICES}/{address}")
    except OSError:
        return ""
    return target.partition("/devices/")[2].strip("/")


def serial_of(host: Host, address: str) -> str:
    """Its PCIe Device Serial Number, '' where there is none or it cannot be read."""
    try:
        config = host.read(f"{_DEVICES}/{address}/config", _EXTENDED.stop - 1)
    except OSError:
        return ""
    at = serial_at(config)
    if not at:
        return ""
    number = config[at : at + 8][::-1]
    return "" if number in (bytes(8), b"\xff" * 8) else number.hex("-")


def serial_at(config: bytes) -> int:
    """Where the eight bytes of the PCIe Device Serial Number begin in a configuration space, the lowest byte first; 0 without one."""
    at = next((offset for offset, kind in _capabilities(config) if kind == _SERIAL_NUMBER), 0)
    return at + 4 if at and at + 12 <= len(config) else 0


def _capabilities(config: bytes) -> Iterator[tuple[int, int]]:
    """(offset, id) of the extended capabilities; a list that leads astray ends."""
    offset = _EXTENDED.start
    for _ in range(_MOST_CAPABILITIES):
        if offset not in _EXTENDED or offset + 4 > len(config):
            return
        (header,) = struct.unpack_from("<I", config, offset)
        if header in (0, 0xFFFFFFFF):
            return
        yield offset, header & 0xFFFF
        offset = header >> 20


def differences(noted: DeviceIdentity, now: DeviceIdentity) -> list[str]:
    """What is not as it was, in words; what is unknown of either is no difference."""
    found = []
    if (noted.vendor, noted.device) != (now.vendor, now.device):
        found.append(f"it is {_id(now.vendor, now.device)}, and {_id(noted.vendor, noted.device)} was meant")
    elif noted.subsystem and now.subsystem and noted.subsystem != now.subsystem:
        found.append(f"its subsystem is {_id(*now.subsystem)}, and {_id(*noted.subsystem)} was meant")
    if noted.serial and now.serial:
        # The same card may have gone to another slot that has the address now.
        if noted.serial != now.serial:
            found.append(f"its serial number is {now.serial}, and {noted.serial} was meant")
    elif noted.place and now.place and noted.place != now.place:
        found.append(f"it sits at {now.place}, and the one at {noted.place} was meant")
    return found


def _id(vendor: int, device: int) -> str:
    return f"{vendor:04x}:{device:04x}"
