"""The facts of a node, put together: each is read when a rule first asks for it."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.facts import boundids, holders, iommu, mappings, memory, pci, roms
from pvehooks.facts import node as node_facts
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guestindex import Entry, Index
    from pvehooks.values import Guest
    from pvehooks.values.boot import CommandLines, Dkms, Firmware, Interfaces, Kernels, Ksm, Layout, Loader, Modules, PcieLink
    from pvehooks.values.ha import Ha
    from pvehooks.values.sharing import DirectoryMapping, MemoryShare
    from pvehooks.values.starting import Bridges, Paths
    from pvehooks.values.storages import Storage
    from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapping


def gather(host: Host, name: str, index: Index | None = None) -> Node:
    """The facts that rules may ask of the node; what could not be read is Unread, so all of another node of the cluster.

    With an `index` what guests have in common is told from that, and not from all their configs.
    """
    if node_facts.is_another(host, name):
        return Node(name, Elsewhere(host))
    return Node(name, _Reader(host, name, index))


class _Reader:
    """Reads this node's facts (values.readers.NodeReader)."""

    def __init__(self, host: Host, name: str, index: Index | None = None) -> None:
        self.host = host
        self._index = index
        self.running = holders.RunningGuests(host, name)
        self._mappings = mappings.Mappings(host, name)

    def cpu_flags(self, node: Node) -> frozenset[str] | Unread:
        return node_facts.cpu_flags(self.host)

    def cpu_models(self, node: Node) -> Mapping[str, CpuModel] | Unread:
        return node_facts.cpu_models(self.host)

    def hwrng(self, node: Node) -> HwRng | Unread:
        return node_facts.hwrng(self.host)

    def pci(self, node: Node) -> Mapping[str, PciDevice] | Unread:
        return pci.devices(self.host)

    def iommu(self, node: Node) -> Iommu | Unread:
        return iommu.read(self.host)

    def uses(self, node: Node) -> HostUses | Unread:
        from pvehooks.facts.uses import Everything

        return Everything(self.host, node.name, self.running)

    def holders(self, node: Node) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return holders.running(self.running, node.pci, self._mappings)

    def onboot(self, node: Node) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return holders.onboot(self.host, node.name, node.pci, self._mappings)

    def mappings(self, node: Node) -> Mapping[str, PciMapping] | Unread:
        return self._mappings.read()

    def bound_ids(self, node: Node) -> tuple[BoundIds, ...] | Unread:
        return boundids.read(self.host)

    def memory(self, node: Node) -> Memory | Unread:
        return memory.read(self.host)

    def roms(self, node: Node) -> frozenset[str] | Unread:
        return roms.read(self.host)

    def ovmf(self, node: Node) -> frozenset[str] | Unread:
        from pvehooks.facts import ovmf

        return ovmf.read(self.host)

    def storages(self, node: Node) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts import storagelist

        return storagelist.read(self.host)

    def ha(self, node: Node) -> Ha | Unread:
        from pvehooks.facts import ha

        return ha.read(self.host, node.name)

    # -- what guests get beside PCI devices ---------------------------------------------------------------------------

    def usb(self, node: Node) -> Mapping[str, UsbDevice] | Unread:
        from pvehooks.facts import usbdevices

        return usbdevices.read(self.host)

    def usb_mappings(self, node: Node) -> Mapping[str, UsbMapping] | Unread:
        from pvehooks.facts import usbmappings

        return usbmappings.read(self.host, node.name)

    def usb_claims(self, node: Node) -> Mapping[str, tuple[UsbClaim, ...]] | Unread:
        from pvehooks.facts import guestindex

        known = self._entries(node)
        return known if isinstance(known, Unread) else guestindex.usb_claims(known, node.usb_mappings)

    def directories(self, node: Node) -> Mapping[str, DirectoryMapping] | Unread:
        from pvehooks.facts import directories

        return directories.read(self.host, node.name)

    def virtiofsd(self, node: Node) -> bool | Unread:
        from pvehooks.facts import directories

        return directories.virtiofsd(self.host)

    def memory_files(self, node: Node) -> Mapping[str, int] | Unread:
        from pvehooks.facts import sharedmemory

        return sharedmemory.read(self.host)

    def memory_shares(self, node: Node) -> Mapping[str, tuple[MemoryShare, ...]] | Unread:
        from pvehooks.facts import guestindex

        known = self._entries(node)
        return known if isinstance(known, Unread) else guestindex.memory_shares(known)

    def _entries(self, node: Node) -> tuple[Entry, ...] | Unread:
        from pvehooks.facts import guestindex

        if self._index is not None:
            return self._index.entries()
        return node.guests if isinstance(node.guests, Unread) else tuple(guestindex.entries(node.guests))

    def gl_lacks(self, node: Node) -> tuple[str, ...] | Unread:
        from pvehooks.facts import rendering

        return rendering.lacking(self.host)

    def qemu(self, node: Node) -> tuple[int, int] | Unread:
        from pvehooks.facts import qemuversion

        return qemuversion.read(self.host)

    def cpus(self, node: Node) -> int | Unread:
        from pvehooks.facts import cpus

        return cpus.read(self.host)

    def bridges(self, node: Node) -> Bridges | Unread:
        from pvehooks.facts import bridges

        return bridges.read(self.host, node.name)

    def paths(self, node: Node) -> Paths | Unread:
        from pvehooks.facts import paths

        return paths.Paths(self.host, node.name, node.storages)

    # -- for rules on the node itself: what they need is imported when they ask ---------------------------------------

    def firmware(self, node: Node) -> Firmware | Unread:
        from pvehooks.facts.boot import firmware

        return firmware.read(self.host)

    def loader(self, node: Node) -> Loader | Unread:
        from pvehooks.facts.boot import bootloader

        return bootloader.read(self.host)

    def command_lines(self, node: Node) -> CommandLines | Unread:
        from pvehooks.facts.boot import cmdline

        return cmdline.read(self.host, node.loader)

    def kernels(self, node: Node) -> Kernels | Unread:
        from pvehooks.facts.boot import kernels

        return kernels.read(self.host)

    def modules(self, node: Node) -> Modules | Unread:
        from pvehooks.facts.boot import modules

        return modules.read(self.host, node.kernels)

    def dkms(self, node: Node) -> Dkms | Unread:
        from pvehooks.facts.boot import dkms

        return dkms.read(self.host, node.kernels)

    def links(self, node: Node) -> Mapping[str, PcieLink] | Unread:
        from pvehooks.facts import pcielinks

        return node.pci if isinstance(node.pci, Unread) else pcielinks.read(self.host, node.pci)

    def interfaces(self, node: Node) -> Interfaces | Unread:
        from pvehooks.facts import netnames

        return netnames.read(self.host)

    def layout(self, node: Node) -> Layout | Unread:
        from pvehooks.facts import layout

        return layout.read(self.host)

    def ksm(self, node: Node) -> Ksm | Unread:
        from pvehooks.facts import ksm

        return ksm.read(self.host)

    def guests(self, node: Node) -> tuple[Guest, ...] | Unread:
        from pvehooks.facts import guests

        try:
            vmids = node_facts.guest_ids(self.host, node.name)
        except OSError as error:
            return Unread(f"{node_facts.guest_dir(node.name)}: {error.strerror}")
        around = guests.surroundings(self.host, node.name, None)
        return tuple(guests.read(self.host, node.name, vmid, around) for vmid in vmids)


class Elsewhere:
    """Another node of the cluster: only what pmxcfs tells of it is known here."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def cpu_models(self, node: Node) -> Mapping[str, CpuModel] | Unread:
        return node_facts.cpu_models(self.host)

    def storages(self, node: Node) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts import storagelist

        return storagelist.read(self.host)

    def ha(self, node: Node) -> Ha | Unread:
        from pvehooks.facts import ha

        return ha.read(self.host, node.name)

    def usb_mappings(self, node: Node) -> Mapping[str, UsbMapping] | Unread:
        from pvehooks.facts import usbmappings

        return usbmappings.read(self.host, node.name)

    def directories(self, node: Node) -> Mapping[str, DirectoryMapping] | Unread:
        from pvehooks.facts import directories

        return directories.read_elsewhere(self.host, node.name)

    def _unread(self, node: Node) -> Unread:
        return Unread(f"it is a fact of {node.name}, ask there")

    cpu_flags = hwrng = qemu = pci = iommu = uses = holders = onboot = mappings = bound_ids = memory = roms = ovmf = _unread
    usb = usb_claims = virtiofsd = memory_files = memory_shares = gl_lacks = cpus = bridges = paths = _unread
    firmware = loader = command_lines = kernels = modules = dkms = links = interfaces = layout = ksm = guests = _unread
