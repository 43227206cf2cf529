"""Memory of CXL devices that the host uses as its own RAM (the kernel's driver-api/cxl, ABI/testing/sysfs-bus-cxl)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import names_in, text_of
from pvehooks.host import Host
from pvehooks.values import PciDevice, Use, Uses

_CLASS = 0x0502
_PCI = "/sys/bus/pci/devices"
_CXL = "/sys/bus/cxl/devices"


class CxlMemory:
    """The regions of a CXL device's memory that the driver kmem gave to the host."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def of(self, device: PciDevice) -> Uses:
        """The regions that the host has as RAM; none of a device of another class, or that vfio has."""
        if device.class_code >> 8 != _CLASS or device.vfio:
            return Uses()
        regions = sorted(set(self._regions(device)))
        return Uses(tuple(Use(f"provides memory of the host ({region}, CXL)") for region in regions))

    def _regions(self, device: PciDevice) -> Iterator[str]:
        """Device, its endpoint, the endpoint's decoders, the regions that those take part in, their DAX devices."""
        memories = {name for name in names_in(self.host, f"{_PCI}/{device.address}") if re.fullmatch(r"mem[0-9]+", name)}
        names = names_in(self.host, _CXL) if memories else []
        ports = [name[8:] for name in names if name.startswith("endpoint") and self._link(f"{_CXL}/{name}/uport") in memories]
        decoders = {name for name in names if any(name.startswith(f"decoder{port}.") for port in ports)}
        for region in (name for name in names if re.fullmatch(r"region[0-9]+", name)):
            here = f"{_CXL}/{region}"
            targets = {text_of(self.host, f"{here}/{name}") for name in names_in(self.host, here) if re.fullmatch(r"target[0-9]+", name)}
            if targets & decoders and self._is_ram(here):
                yield region

    def _is_ram(self, region: str) -> bool:
        folders = [f"{region}/{name}" for name in names_in(self.host, region) if name.startswith("dax_region")]
        devices = [f"{folder}/{name}" for folder in folders for name in names_in(self.host, folder) if re.fullmatch(r"dax[0-9.]+", name)]
        return any(self._link(f"{path}/driver") == "kmem" for path in devices)

    def _link(self, path: str) -> str:
        try:
            return self.host.link_name(path)
        except OSError:
            return ""
