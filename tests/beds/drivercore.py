"""A tree whose sysfs answers as the kernel's driver core does (drivers/base/bus.c, dd.c, drivers/pci/pci-driver.c, iov.c).

What is written to `driver_override`, `unbind`, `bind`, `drivers_probe` and `sriov_numvfs` takes effect. Drivers take the devices that
their `takes` name (as modprobe's aliases would), vfio-pci those that an override or its dynamic ids name, and none that the
`refuses` of this bed name: its probe fails, and the write succeeds all the same. Trees are those of tests.beds.pci.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pvehooks.host import Completed, Host
from tests.beds.pci import ROOT

_PCI = "/sys/bus/pci"


class KernelHost(Host):
    """The tree, with a kernel behind it; `written` are the attributes in the order in which they were written."""

    def __init__(
        self, root: Path, takes: dict[str, str] | None = None, dynamic_ids: tuple[str, ...] = (), refuses: tuple[str, ...] = ()
    ) -> None:
        super().__init__(str(root))
        self.takes = takes or {}
        self.dynamic_ids = dynamic_ids
        self.refuses = refuses
        self.written: list[tuple[str, str]] = []
        # Drivers whose module udev loads as a device without one is about to get an override: each takes it.
        self.overtaking: list[str] = []

    def write_attribute(self, path: str, text: str) -> None:
        self.written.append((path, text))
        name = path.rpartition("/")[2]
        address = path.split("/")[-2]
        if name == "driver_override" and self.overtaking and not self._link(address).is_symlink():
            self._probe(address, self.overtaking.pop())
        if name in ("unbind", "bind"):
            if not os.path.isdir(os.path.dirname(self.locate(path))):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            driver = os.path.basename(os.path.realpath(os.path.dirname(self.locate(path))))
            self._unbind(text, driver) if name == "unbind" else self._probe(text, driver)
        elif path == f"{_PCI}/drivers_probe":
            for driver in self._matching(text):
                self._probe(text, driver)
        elif name == "sriov_numvfs":
            self._numvfs(path, int(text))
        else:
            Path(self.locate(path)).write_text(text if text.strip() else "(null)\n")

    def spawn(self, argv: Sequence[str], timeout: float) -> int:
        return 0

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, given: bytes | None = None) -> Completed:
        """modprobe --resolve-alias: an alias is an address here, and a module has its driver's name with underscores."""
        found = [driver.replace("-", "_") for driver, taken in self.takes.items() if argv[-1] in taken.split()]
        return Completed(0 if found else 1, "".join(f"{name}\n" for name in found), "")

    def _link(self, address: str) -> Path:
        return Path(self.root, ROOT, address, "driver")

    def _unbind(self, address: str, driver: str) -> None:
        link = self._link(address)
        if not link.is_symlink() or os.path.basename(os.readlink(link)) != driver:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        link.unlink()
        Path(self.root, f"sys/bus/pci/drivers/{driver}/{address}").unlink(missing_ok=True)

    def _matching(self, address: str) -> list[str]:
        override = self.read_text(f"{_PCI}/devices/{address}/driver_override")
        if override != "(null)":
            return [override]
        dynamic = ["vfio-pci"] if address in self.dynamic_ids else []
        return [*dynamic, *(driver for driver, taken in self.takes.items() if address in taken.split())]

    def _probe(self, address: str, driver: str) -> None:
        link = self._link(address)
        if link.is_symlink() or driver not in self._matching(address) or (driver == "vfio-pci" and address in self.refuses):
            return
        # pci_device_can_probe: a virtual function with an override is taken all the same.
        switch = f"{_PCI}/devices/{address}/physfn/sriov_drivers_autoprobe"
        if self.read_text(f"{_PCI}/devices/{address}/driver_override") == "(null)" and _text(self, switch) == "0":
            return
        if Path(self.root, f"sys/bus/pci/drivers/{driver}").is_dir():
            link.symlink_to(f"../../../bus/pci/drivers/{driver}")

    def _numvfs(self, path: str, count: int) -> None:
        if count and self.read_text(path) != "0":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
        Path(self.locate(path)).write_text(f"{count}\n")
        for number in range(count):
            link = Path(self.locate(os.path.dirname(path)), f"virtfn{number}")
            for driver in self._matching(os.path.basename(os.readlink(link))) if link.is_symlink() else ():
                self._probe(os.path.basename(os.readlink(link)), driver)


def _text(host: Host, path: str) -> str:
    return host.read_text(path) if host.exists(path) else ""
