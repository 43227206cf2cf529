"""What the host, its containers and other guests use a device for: every reader of the subject is asked, one device at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pvehooks.facts.pci import holders
from pvehooks.host import Host
from pvehooks.values import HostUses, PciDevice, Unread, Use, Uses
from pvehooks.values.base import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuest, RunningGuests
    from pvehooks.facts.uses.processes import OpenFiles


class DeviceUses:
    """All uses of a device (values.HostUses), the strongest first; nothing is read, or loaded, before it is asked for.

    `running` are the running guests of this node; `node` is its name. With `postponed` no open files are looked at until complete():
    what is cheap is known of all devices before that, which takes longest and is what other users can fill.
    """

    def __init__(self, host: Host, node: str, running: RunningGuests, postponed: bool = False) -> None:
        self._host = host
        self._postponed = postponed
        self._files: OpenFiles | None = None
        self._node = node
        self._running = running
        self._readers: tuple[HostUses, ...] = ()
        self._known: dict[str, Uses] = {}

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device; a bridge has none of its own, PVE never takes it."""
        known = self._known.get(device.address)
        if known is None:
            known = self._known[device.address] = Uses() if device.bridge or self._free(device) else self._ask(device)
        return known

    def complete(self) -> bool:
        """Looks at the open files from now on, too; whether answers may be others than before."""
        self._postponed = False
        if self._files is None:
            return False
        self._files.postponed = False
        if self._files.asked:
            self._known.clear()
        return self._files.asked

    def _free(self, device: PciDevice) -> bool:
        """Whether no reader would find anything: vfio has the device, so that it has no disk, card or node on the host, and no VFs.

        Nor has anybody that device open but the guests of PVE, which are looked at elsewhere.
        """
        if not device.vfio or device.virtfns or device.framebuffer:
            return False
        try:
            enabled = self._host.read_text(f"/sys/bus/pci/devices/{device.address}/enable")
        except OSError:
            return True
        return enabled == "0" or device.address in self._guests_devices

    @cached_property
    def _guests_devices(self) -> frozenset[str]:
        """The addresses that the QEMUs of running guests were given."""
        guests = self._running.all()
        known = () if isinstance(guests, Unread) else guests
        return frozenset(address for guest in known for address, _, _ in holders.assigned(self._host, guest.cmdline))

    def _load(self) -> None:
        """The readers: 20 files, 5 ms of a start that a device without a driver of the host does without."""
        from pvehooks.facts.uses.blockdevices import StorageUses
        from pvehooks.facts.uses.containers import Containers
        from pvehooks.facts.uses.cxl import CxlMemory
        from pvehooks.facts.uses.devicenodes import DeviceNodes
        from pvehooks.facts.uses.network import NetworkUses
        from pvehooks.facts.uses.processes import OpenFiles
        from pvehooks.facts.uses.remarks import Remarks
        from pvehooks.facts.uses.usb import UsbUses
        from pvehooks.facts.uses.vfionodes import VfioNodes

        host, running = self._host, self._running
        files = self._files = OpenFiles(host)
        files.postponed = self._postponed
        containers = Containers(host, self._node)
        storage = StorageUses(host, self._node, running, containers, files)
        network, usb = NetworkUses(host, self._node, containers), UsbUses(host, running)
        vfio = VfioNodes(host, running, containers, files)
        self._readers = (vfio, storage, network, usb, VirtualFunctions(running, self.of), CxlMemory(host), Remarks(host, files))
        self._device_nodes: HostUses = DeviceNodes(host, running, containers, files)

    def _ask(self, device: PciDevice) -> Uses:
        if not self._readers:
            self._load()
        found: list[Use] = []
        unread: list[str] = []
        for reader in self._readers:
            uses = reader.of(device)
            found.extend(uses.found)
            unread.extend(uses.unread)
        if all(use.remark for use in found):
            # Last, and only where nothing else was found: it looks at the open files of all processes.
            uses = self._device_nodes.of(device)
            found[:0] = uses.found
            unread.extend(uses.unread)
        return Uses(tuple(found), tuple(dict.fromkeys(unread)))


class VirtualFunctions:
    """The uses of a physical function that are its virtual functions' uses; `of_device` has those of any device.

    Taking the physical function would remove them (the kernel's PCI/pci-iov-howto).
    """

    def __init__(self, running: RunningGuests, of_device: Callable[[PciDevice], Uses]) -> None:
        self.running = running
        self.of_device = of_device
        self._held: dict[str, list[RunningGuest]] | None = None
        self._unread: tuple[str, ...] = ()

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device's VFs, each a use of its own; remarks on a VF do not count here."""
        found: list[Use] = []
        unread: list[str] = []
        for address in device.virtfns:
            found += self._by_guests(address)
            uses = self.of_device(device.sibling(address))
            real = (use for use in uses.found if not use.remark)
            found += [Use(f"has VFs in use: {address} {use.sentence}", use.vmid, remedy=use.remedy) for use in real]
            unread += [f"its virtual function {address}: {why}" for why in uses.unread]
        return Uses(tuple(found), (*unread, *(self._unread if device.virtfns else ())))

    def _by_guests(self, address: str) -> Iterator[Use]:
        if self._held is None:
            self._held = self._look()
        for guest in self._held.get(address, ()):
            yield Use(f"has VFs in use: {address} by {guest.label}", guest.vmid)

    def _look(self) -> dict[str, list[RunningGuest]]:
        """The running guests by the addresses that their QEMU was given, mediated devices' parents among them."""
        held: dict[str, list[RunningGuest]] = {}
        guests = self.running.all()
        if isinstance(guests, Unread):
            self._unread = (f"which VMs have its virtual functions ({guests.why})",)
            return held
        for guest in guests:
            for address in dict.fromkeys(address for address, _, _ in holders.assigned(self.running.host, guest.cmdline)):
                held.setdefault(address, []).append(guest)
        return held
