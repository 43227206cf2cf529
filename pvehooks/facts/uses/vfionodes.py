"""Devices of vfio that a process has open although no config says so: DPDK, SPDK, a QEMU started by hand, a guest by device_add."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.pci import holders
from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Use, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuest, RunningGuests

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
        """The processes, without guests whose QEMU was started with the device; of devices that vfio does not have there are none."""
        if not device.vfio or not is_open(self.host, device.address):
            return Uses()
        guests = self.running.all()
        if isinstance(guests, Unread):
            return Uses((), (f"which VMs run ({guests.why})",))
        by_pid = {str(guest.pid): guest for guest in guests}
        found: dict[str, Use] = {}
        for path in self._paths(device):
            for pid in self.files.pids(path):
                guest = by_pid.get(pid)
                if guest is None:
                    found.setdefault(pid, self._use(pid, path))
                elif not self._is_named(device, guest):
                    sentence = f"is held by the running {guest.label} through {path}, although its config does not name it"
                    found.setdefault(pid, Use(sentence, guest.vmid, remedy=f"Shut that VM down first: qm shutdown {guest.vmid}"))
        return Uses(tuple(found.values()), tuple(filter(None, (self.files.unread,))))

    def _is_named(self, device: PciDevice, guest: RunningGuest) -> bool:
        """Whether the guest's command line or config names the device or another one of its group: those are looked at elsewhere."""
        given = {address for address, _, _ in holders.assigned(self.host, guest.cmdline)}
        slots = {address.partition(":")[2].partition(".")[0] for address in device.members}
        return not given.isdisjoint(device.members) or any(guest.mentions(slot.encode()) for slot in slots)

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
