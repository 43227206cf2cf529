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
    from pvehooks.values import Guest
    from pvehooks.values.boot import CommandLines, Dkms, Firmware, Interfaces, Kernels, Ksm, Layout, Loader, Modules, PcieLink
    from pvehooks.values.storages import Storage


def gather(host: Host, name: str) -> Node:
    """The facts that rules may ask of the node; what could not be read is Unread, so all of another node of the cluster."""
    if node_facts.is_another(host, name):
        return Node(name, _Elsewhere(host))
    return Node(name, _Reader(host, name))


class _Reader:
    """Reads this node's facts (values.NodeReader)."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
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

    def storages(self, node: Node) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts import storagelist

        return storagelist.read(self.host)

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


class _Elsewhere:
    """Another node of the cluster: only what pmxcfs tells of it is known here."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def cpu_models(self, node: Node) -> Mapping[str, CpuModel] | Unread:
        return node_facts.cpu_models(self.host)

    def storages(self, node: Node) -> Mapping[str, Storage] | Unread:
        from pvehooks.facts import storagelist

        return storagelist.read(self.host)

    def _unread(self, node: Node) -> Unread:
        return Unread(f"it is a fact of {node.name}, ask there")

    cpu_flags = hwrng = pci = iommu = uses = holders = onboot = mappings = bound_ids = memory = roms = _unread
    firmware = loader = command_lines = kernels = modules = dkms = links = interfaces = layout = ksm = guests = _unread
