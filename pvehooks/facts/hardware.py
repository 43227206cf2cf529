"""The facts of a node, put together: each is read when a rule first asks for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import running
from pvehooks.facts.pci import devices as pci
from pvehooks.facts.pci import holders, hostpci
from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import (
    BoundIds,
    CpuModel,
    Holder,
    HostUses,
    HwRng,
    Iommu,
    Memory,
    Node,
    PciDevice,
    PciMapping,
    Unread,
)
from pvehooks.values.base import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.index import GuestIndex, IndexEntry
    from pvehooks.values import Guest
    from pvehooks.values.boot import (
        CommandLines,
        Dkms,
        Firmware,
        Interfaces,
        Kernels,
        Ksm,
        Layout,
        Loader,
        Modules,
        NewName,
        PcieLink,
        PciSlot,
    )
    from pvehooks.values.fingerprints import RememberedDevices
    from pvehooks.values.ha import Ha
    from pvehooks.values.images import FirmwareNetworks
    from pvehooks.values.pci import RomFiles, VfSupport
    from pvehooks.values.pveschema import Machines
    from pvehooks.values.settingfiles import SettingFiles
    from pvehooks.values.sharing import DirectoryMapping, MemoryShare
    from pvehooks.values.starting import Bridges, Paths
    from pvehooks.values.storages import Storage
    from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapping


def gather(host: Host, name: str, index: GuestIndex | None = None) -> Node:
    """The facts that rules may ask of the node; what could not be read is Unread, so all of another node of the cluster.

    With an `index` what guests have in common comes from that, and not from all their configs.
    """
    return OtherNode(host, name) if node_facts.is_another(host, name) else ThisNode(host, name, index)


class ThisNode(Node):
    """The node that `host` reads: this machine, or the one that a tree (--root) was taken from."""

    def __init__(self, host: Host, name: str, index: GuestIndex | None = None) -> None:
        super().__init__(name)
        self._host = host
        self._index = index
        self._running = running.RunningGuests(host, name)
        self._mappings = hostpci.Mappings(host, name)
        self._postponed = False

    @cached_property
    def cpu_flags(self) -> frozenset[str] | Unread:
        from pvehooks.facts.node import cpu

        return cpu.cpu_flags(self._host)

    @cached_property
    def cpu_address_bits(self) -> int | Unread:
        from pvehooks.facts.node import cpu

        return cpu.address_bits(self._host)

    @cached_property
    def cpu_models(self) -> Mapping[str, CpuModel] | Unread:
        from pvehooks.facts.node import cpu

        return cpu.cpu_models(self._host)

    @cached_property
    def hwrng(self) -> HwRng | Unread:
        from pvehooks.facts.node import cpu

        return cpu.hwrng(self._host)

    @cached_property
    def pci(self) -> Mapping[str, PciDevice] | Unread:
        return pci.devices(self._host)

    @cached_property
    def iommu(self) -> Iommu | Unread:
        from pvehooks.facts.pci import iommu

        return iommu.read(self._host)

    @cached_property
    def uses(self) -> HostUses | Unread:
        from pvehooks.facts.uses import DeviceUses

        return DeviceUses(self._host, self.name, self._running, self._postponed)

    def postpone(self) -> None:
        """Answers without what takes long, the open files of all processes, until complete() is called."""
        self._postponed = True

    def complete(self) -> bool:
        """Answers with everything from now on; whether what was postponed was asked for."""
        self._postponed = False
        uses = self.__dict__.get("uses")
        return uses is not None and uses.complete()

    @cached_property
    def holders(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return holders.running(self._running, self.pci, self._mappings)

    @cached_property
    def onboot(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return holders.onboot(self._host, self.name, self.pci, self._mappings)

    @cached_property
    def mappings(self) -> Mapping[str, PciMapping] | Unread:
        return self._mappings.read()

    @cached_property
    def bound_ids(self) -> tuple[BoundIds, ...] | Unread:
        from pvehooks.facts.node import moduleoptions

        return moduleoptions.bound_ids(self._host)

    @cached_property
    def memory(self) -> Memory | Unread:
        from pvehooks.facts.node import memory

        return memory.read(self._host)

    @cached_property
    def roms(self) -> frozenset[str] | Unread:
        from pvehooks.facts.node import qemu

        return qemu.roms(self._host)

    @cached_property
    def rom_files(self) -> RomFiles | Unread:
        from pvehooks.facts.node import qemu

        return qemu.FilesOfRoms(self._host)

    @cached_property
    def vf_support(self) -> VfSupport | Unread:
        from pvehooks.facts.pci import virtual

        return virtual.SupportOnNode(self._host)

    @cached_property
    def remembered(self) -> RememberedDevices | Unread:
        from pvehooks.facts.pci import remembered

        return self.pci if isinstance(self.pci, Unread) else remembered.RememberedOnNode(self._host, self.pci)

    @cached_property
    def firmware_networks(self) -> FirmwareNetworks | Unread:
        from pvehooks.facts.storage import images

        return images.NetworksOfImages(self._host)

    @cached_property
    def newer_pve(self) -> tuple[str, ...] | Unread | None:
        from pvehooks.facts.node import pveschema

        return pveschema.newer(self._host)

    @cached_property
    def ovmf(self) -> frozenset[str] | Unread:
        from pvehooks.facts.node import qemu

        return qemu.firmware(self._host)

    @cached_property
    def storages(self) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts.storage import storages

        return storages.read(self._host)

    @cached_property
    def ha(self) -> Ha | Unread:
        from pvehooks.facts.cluster import ha

        return ha.read(self._host, self.name)

    # -- what guests get beside PCI devices ---------------------------------------------------------------------------

    @cached_property
    def usb(self) -> Mapping[str, UsbDevice] | Unread:
        from pvehooks.facts.node import usb as usbdevices

        return usbdevices.read(self._host)

    @cached_property
    def usb_mappings(self) -> Mapping[str, UsbMapping] | Unread:
        from pvehooks.facts.cluster import mappings

        return mappings.read_usb(self._host, self.name)

    @cached_property
    def usb_claims(self) -> Mapping[str, tuple[UsbClaim, ...]] | Unread:
        from pvehooks.facts.guests import index as guestindex

        known = self._entries
        return known if isinstance(known, Unread) else guestindex.usb_claims(known, self.usb_mappings)

    @cached_property
    def directories(self) -> Mapping[str, DirectoryMapping] | Unread:
        from pvehooks.facts.node import sharing

        return sharing.directories(self._host, self.name)

    @cached_property
    def virtiofsd(self) -> bool | Unread:
        from pvehooks.facts.node import sharing

        return sharing.virtiofsd(self._host)

    @cached_property
    def memory_files(self) -> Mapping[str, int] | Unread:
        from pvehooks.facts.node import sharing

        return sharing.memory_files(self._host)

    @cached_property
    def memory_shares(self) -> Mapping[str, tuple[MemoryShare, ...]] | Unread:
        from pvehooks.facts.guests import index as guestindex

        known = self._entries
        return known if isinstance(known, Unread) else guestindex.memory_shares(known)

    @cached_property
    def _entries(self) -> tuple[IndexEntry, ...] | Unread:
        from pvehooks.facts.guests import index as guestindex

        if self._index is not None:
            return self._index.entries(self._host)
        return self.guests if isinstance(self.guests, Unread) else tuple(guestindex.entries(self.guests))

    @cached_property
    def gl_lacks(self) -> tuple[str, ...] | Unread:
        from pvehooks.facts.node import qemu

        return qemu.lacks_for_gl(self._host)

    @cached_property
    def qemu(self) -> tuple[int, int] | Unread:
        from pvehooks.facts.node import qemu

        return qemu.version(self._host)

    @cached_property
    def machines(self) -> Machines | Unread:
        from pvehooks.facts.node import pveschema, qemu
        from pvehooks.values.pveschema import Machines

        names = qemu.machines(self._host)
        return names if isinstance(names, Unread) else Machines(names, pveschema.machine_revisions(self._host))

    @cached_property
    def cpus(self) -> int | Unread:
        from pvehooks.facts.node import cpu

        return cpu.count(self._host)

    @cached_property
    def bridges(self) -> Bridges | Unread:
        from pvehooks.facts.node import bridges

        return bridges.read(self._host, self.name)

    @cached_property
    def paths(self) -> Paths | Unread:
        from pvehooks.facts.node import paths

        return paths.NodePaths(self._host, self.name, self.storages)

    # -- for rules on the node itself: what they need is imported when they ask ---------------------------------------

    @cached_property
    def firmware(self) -> Firmware | Unread:
        from pvehooks.facts.boot import firmware

        return firmware.read(self._host)

    @cached_property
    def loader(self) -> Loader | Unread:
        from pvehooks.facts.boot import bootloader

        return bootloader.read(self._host)

    @cached_property
    def command_lines(self) -> CommandLines | Unread:
        from pvehooks.facts.boot import cmdline

        return cmdline.read(self._host, self.loader)

    @cached_property
    def kernel_release(self) -> str | Unread:
        from pvehooks.facts.boot import kernels

        return kernels.running(self._host)

    @cached_property
    def kernels(self) -> Kernels | Unread:
        from pvehooks.facts.boot import kernels

        return kernels.read(self._host)

    @cached_property
    def modules(self) -> Modules | Unread:
        from pvehooks.facts.boot import modules

        return modules.read(self._host, self.kernels)

    @cached_property
    def setting_files(self) -> SettingFiles | Unread:
        from pvehooks.facts.node import settingfiles

        return settingfiles.read(self._host)

    @cached_property
    def dkms(self) -> Dkms | Unread:
        from pvehooks.facts.boot import modules

        return modules.dkms(self._host, self.kernels)

    @cached_property
    def links(self) -> Mapping[str, PcieLink] | Unread:
        return self.pci if isinstance(self.pci, Unread) else pci.links(self._host, self.pci)

    @cached_property
    def slots(self) -> tuple[PciSlot, ...] | Unread:
        from pvehooks.facts.pci import slots

        return slots.slots(self._host)

    @cached_property
    def interfaces(self) -> Interfaces | Unread:
        from pvehooks.facts.node import netnames

        return netnames.read(self._host)

    @cached_property
    def new_names(self) -> tuple[NewName, ...] | Unread:
        from pvehooks.facts.boot import nextkernel
        from pvehooks.facts.node import newnames

        known = self.kernels
        if isinstance(known, Unread):
            return known
        chosen = nextkernel.choose(self._host, known, self.loader, self.command_lines, "")
        return chosen if isinstance(chosen, Unread) else newnames.read(self._host, chosen)

    @cached_property
    def layout(self) -> Layout | Unread:
        from pvehooks.facts.node import layout

        return layout.read(self._host)

    @cached_property
    def ksm(self) -> Ksm | Unread:
        from pvehooks.facts.node import layout

        return layout.ksm(self._host)

    @cached_property
    def guests(self) -> Collection[Guest] | Unread:
        from pvehooks.facts.guests import configs as guests

        try:
            vmids = node_facts.guest_ids(self._host, self.name)
        except OSError as error:
            return unread(node_facts.guest_dir(self.name), error)
        guest_context = guests.gather_context(self._host, self.name, None)
        return guests.GuestsInTurn(self._host, self.name, vmids, guest_context)


class OtherNode(Node):
    """Another node of the cluster: only what pmxcfs holds about it is known here."""

    def __init__(self, host: Host, name: str) -> None:
        super().__init__(name)
        self._host = host

    @cached_property
    def cpu_models(self) -> Mapping[str, CpuModel] | Unread:
        from pvehooks.facts.node import cpu

        return cpu.cpu_models(self._host)

    @cached_property
    def storages(self) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts.storage import storages

        return storages.read(self._host)

    @cached_property
    def ha(self) -> Ha | Unread:
        from pvehooks.facts.cluster import ha

        return ha.read(self._host, self.name)

    @cached_property
    def usb_mappings(self) -> Mapping[str, UsbMapping] | Unread:
        from pvehooks.facts.cluster import mappings

        return mappings.read_usb(self._host, self.name)

    @cached_property
    def directories(self) -> Mapping[str, DirectoryMapping] | Unread:
        from pvehooks.facts.node import sharing

        return sharing.directories_elsewhere(self._host, self.name)
