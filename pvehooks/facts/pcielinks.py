"""PCIe links: speed and width, as they are and as the devices could (the kernel's ABI/testing/sysfs-bus-pci)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import PcieLink

_DEVICES = "/sys/bus/pci/devices"
_FILES = ("current_link_speed", "max_link_speed", "current_link_width", "max_link_width")


def read(host: Host, addresses: Iterable[str]) -> Mapping[str, PcieLink] | Unread:
    """The links by the device's address; devices without one, or whose link is down, are left out."""
    found = {}
    for address in addresses:
        numbers = [_number(host, f"{_DEVICES}/{address}/{name}") for name in _FILES]
        if all(0 < number < 255 for number in numbers):
            speed, max_speed, width, max_width = numbers
            found[address] = PcieLink(speed, max_speed, int(width), int(max_width))
    return found


def _number(host: Host, path: str) -> float:
    """The number before the unit ("8.0 GT/s PCIe"), 0 where there is none."""
    try:
        return float(host.read_text(path).split()[0])
    except (OSError, ValueError, IndexError):
        return 0
