"""What the disks of a PCI device are used for; what costs time is imported and read only for devices that have disks."""

from __future__ import annotations

from functools import cached_property

from pvehooks.facts.uses.blockdevices import BlockDevices
from pvehooks.host import Host
from pvehooks.values import PciDevice, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests
    from pvehooks.facts.uses.containers import Containers
    from pvehooks.facts.uses.diskuses import DiskUses
    from pvehooks.facts.uses.processes import OpenFiles


class StorageUses:
    """The uses of storage controllers, USB controllers with storage behind them, and all else that has block devices."""

    def __init__(self, host: Host, node: str, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self._ingredients = (host, node, running, containers, files)
        self._devices = BlockDevices(host)

    @cached_property
    def _disks(self) -> DiskUses:
        from pvehooks.facts.uses.diskuses import DiskUses

        return DiskUses(*self._ingredients)

    def of(self, device: PciDevice) -> Uses:
        """What its disks are used for, the strongest first; vfio leaves it none."""
        if device.vfio:
            return Uses()
        tree = self._devices.below(device.address)
        return self._disks.of(tree) if tree.blocks else Uses((), tree.unread)
