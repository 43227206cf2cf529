"""Block devices that the kernel serves to other machines: LIO (iSCSI, Fibre Channel) and nvmet (NVMe over Fabrics), by configfs.

Source: the kernel's Documentation/target/tcm_mod_builder, drivers/target/target_core_configfs.c, drivers/nvme/target/configfs.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pvehooks.facts.reading import names_in, text_of
from pvehooks.facts.uses.blockdevices import as_written_and_resolved
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple, cached_property

_LIO = "/sys/kernel/config/target/core"
_NVMET = "/sys/kernel/config/nvmet/subsystems"
# Kinds of stores that stand on a device: the block layer, a file (which may be a device), SCSI commands passed on.
_STORES = ("iblock_", "fileio_", "pscsi_")
_ON = ("1", "Y", "y")


class Export(NamedTuple):
    """What a device is, as the end of "is ...", and the command that ends it."""

    words: str
    command: str


class Exports:
    """What is exported, read once."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self._by_key)

    def of(self, number: str, name: str, paths: Iterable[str]) -> tuple[Export, ...]:
        """The exports of a block device, by its number, its kernel name and what it is called in /dev."""
        # The controller of nvme0n1, of which nvmet hands all commands on.
        controller = re.match(r"(nvme\d+)n\d+$", name)
        keys = [number, *paths, *([f"/dev/{controller[1]}"] if controller else [])]
        return tuple(dict.fromkeys(export for key in keys for export in self._by_key.get(key, ())))

    @cached_property
    def _by_key(self) -> Mapping[str, tuple[Export, ...]]:
        """The exports by path in /dev as written and resolved, and by 'major:minor'."""
        found: dict[str, tuple[Export, ...]] = {}
        for key, export in (*self._lio(), *self._nvmet()):
            for each in as_written_and_resolved(self.host, key):
                found[each] = (*found.get(each, ()), export)
        return found

    def _lio(self) -> Iterator[tuple[str, Export]]:
        for group in names_in(self.host, _LIO):
            for name in names_in(self.host, f"{_LIO}/{group}") if group.startswith(_STORES) else ():
                store = f"{_LIO}/{group}/{name}"
                if text_of(self.host, f"{store}/enable") not in _ON:
                    continue
                kind = {"iblock": "block"}.get(group.partition("_")[0], group.partition("_")[0])
                export = Export(
                    f"exported by the kernel's SCSI target (LIO) as {name}",
                    f"targetcli /backstores/{kind} delete {name}",
                )
                yield from ((key, export) for key in self._keys(store))

    def _keys(self, store: str) -> Iterator[str]:
        """What a store stands on: `udev_path` is what was written, `info` what the kernel has."""
        path = text_of(self.host, f"{store}/udev_path")
        info = text_of(self.host, f"{store}/info")
        number = re.search(r"\bMajor: (\d+)\s+Minor: (\d+)", info)
        if number:
            yield f"{number[1]}:{number[2]}"
        file = re.search(r"\bFile: (/dev/\S+)", info)
        if file:
            yield file[1]
        if path.startswith("/dev/"):
            yield path

    def _nvmet(self) -> Iterator[tuple[str, Export]]:
        for subsystem in names_in(self.host, _NVMET):
            here = f"{_NVMET}/{subsystem}"
            spaces = [f"namespaces/{number}" for number in names_in(self.host, f"{here}/namespaces")]
            for space in (*spaces, "passthru"):
                path = text_of(self.host, f"{here}/{space}/device_path")
                if path.startswith("/dev/") and text_of(self.host, f"{here}/{space}/enable") in _ON:
                    export = Export(
                        f"exported by the kernel's NVMe target (nvmet) as {subsystem}",
                        f"echo 0 > {here}/{space}/enable",
                    )
                    yield path, export
