"""A tree that answers writes to sysfs as the kernel does (Documentation/ABI/testing/sysfs-bus-pci; drivers/base/bus.c)."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from pvehooks.host import Host

BUS = "/sys/bus/pci"


class Kernel(Host):
    """`refuses` are (file's name, what is written to it) that give EIO; `fails` are drivers whose probe fails, which is not said."""

    def __init__(self, root: Path, refuses: Collection[tuple[str, str]] = (), fails: Collection[str] = (), modules: bool = True) -> None:
        super().__init__(str(root))
        self.refuses = set(refuses)
        self.fails = set(fails)
        self.modules = modules
        self.writes: list[tuple[str, str]] = []
        self.home = {path.name: self._driver(path.name) for path in (root / "sys/bus/pci/devices").iterdir()}

    def write_attribute(self, path: str, text: str) -> None:
        """What the kernel does with it."""
        name = path.rpartition("/")[2]
        self.writes.append((path, text))
        if not os.path.exists(self.locate(path)) and name not in ("unbind", "bind", "drivers_probe"):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if (name, text) in self.refuses:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if name == "driver_override":
            Path(self.locate(path)).write_text(text if text.strip() else "(null)\n")
        elif name == "unbind":
            self._link(text).unlink()
        elif name == "drivers_probe":
            override = self.read_text(f"{BUS}/devices/{text}/driver_override")
            self._probe(text, self.home[text] if override == "(null)" else override)
        elif name == "bind":
            self._probe(text, path.split("/")[-2])

    def spawn(self, argv: Sequence[str], timeout: float) -> int:
        """modprobe(8)."""
        assert list(argv) == ["modprobe", "vfio-pci"]
        if self.modules:
            Path(self.locate(f"{BUS}/drivers/vfio-pci")).mkdir()
        return 0 if self.modules else 1

    def _driver(self, address: str) -> str:
        return os.path.basename(os.readlink(self._link(address))) if self._link(address).is_symlink() else ""

    def _link(self, address: str) -> Path:
        return Path(self.locate(f"{BUS}/devices/{address}")) / "driver"

    def _probe(self, address: str, driver: str) -> None:
        there = os.path.isdir(self.locate(f"{BUS}/drivers/{driver}"))
        if driver and there and driver not in self.fails and not self._link(address).is_symlink():
            self._link(address).symlink_to(f"../../../bus/pci/drivers/{driver}")
