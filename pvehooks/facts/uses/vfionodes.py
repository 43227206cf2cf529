"""Devices of vfio that a process has open which is no guest of PVE: DPDK, SPDK, a QEMU that somebody started by hand."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Use, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests

_DEVICES = "/sys/bus/pci/devices"


def is_open(host: Host, address: str) -> bool:
    """Whether a device that vfio has may be open: a driver of vfio enables it just as long (the kernel's vfio_pci_core_enable).

    The console's card may have been left enabled, so this alone proves nothing.
    """
    try:
        return host.read_text(f"{_DEVICES}/{address}/enable") not in ("", "0")
    except OSError:
        return False


class VfioNodes:
    """Who has a device of vfio open. It looks at the open files of all processes: ask it for devices that may be open."""

    def __init__(self, host: Host, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self.host = host
        self.running = running
        self.containers = containers
        self.files = files

    def of(self, device: PciDevice) -> Uses:
        """The processes but those of running guests; of devices that vfio does not have there are none."""
        if not device.vfio or not is_open(self.host, device.address):
            return Uses()
        guests = self.running.all()
        if isinstance(guests, Unread):
            return Uses((), (f"which guests run ({guests.why})",))
        known = {str(guest.pid) for guest in guests}
        found: dict[str, Use] = {}
        for path in self._paths(device):
            for pid in self.files.pids(path):
                if pid not in known:
                    found.setdefault(pid, self._use(pid, path))
        return Uses(tuple(found.values()), tuple(filter(None, (self.files.unread,))))

    def _use(self, pid: str, path: str) -> Use:
        vmid = self.files.container(pid)
        where = f" in the running {self.containers.label(vmid)}" if vmid else ""
        service = self.files.service(pid)
        remedy = "" if vmid else f"Stop it first: {f'systemctl stop {service}' if service else f'kill {pid}'}"
        return Use(f"is held by {self.files.words(pid)}{where} through {path}", vmid, remedy=remedy)

    def _paths(self, device: PciDevice) -> Iterator[str]:
        """The node of its group, and its own (the kernel's driver-api/vfio)."""
        if device.group:
            yield f"/dev/vfio/{device.group}"
            yield f"/dev/vfio/noiommu-{device.group}"
        try:
            names = self.host.names(f"{_DEVICES}/{device.address}/vfio-dev")
        except OSError:
            return
        yield from (f"/dev/vfio/devices/{name}" for name in names)
