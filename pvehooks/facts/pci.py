"""PCI devices, as sysfs shows them (the kernel's ABI/testing/sysfs-bus-pci)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread

_DEVICES = "/sys/bus/pci/devices"


def devices(host: Host) -> Mapping[str, PciDevice] | Unread:
    """The devices by address."""
    try:
        addresses = host.names(_DEVICES)
    except OSError as error:
        return Unread(f"{_DEVICES}: {error.strerror}")
    reader = _Reader(host)
    return {address: PciDevice(address, reader) for address in addresses}  # type: ignore[arg-type]  # until the reader is whole


class _Reader(NamedTuple):
    """Reads what is asked of a device (values.PciReader)."""

    host: Host

    def _hex(self, device: PciDevice, name: str) -> int:
        try:
            return int(self.host.read_text(f"{_DEVICES}/{device.address}/{name}"), 16)
        except (OSError, ValueError):
            return -1

    def class_code(self, device: PciDevice) -> int:
        return self._hex(device, "class")

    def vendor(self, device: PciDevice) -> int:
        return self._hex(device, "vendor")

    def device(self, device: PciDevice) -> int:
        return self._hex(device, "device")
