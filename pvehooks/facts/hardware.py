"""The facts of a node, put together: each is read when a rule first asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pvehooks.facts import node as node_facts
from pvehooks.facts import pci
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


def gather(host: Host, name: str) -> Node:
    """The facts that rules may ask of the node; what could not be read is Unread, so all of another node of the cluster."""
    if node_facts.is_another(host, name):
        return Node(name, _Elsewhere(host))
    return Node(name, _Reader(host))


class _Reader(NamedTuple):
    """Reads this node's facts (values.NodeReader)."""

    host: Host

    def cpu_flags(self, node: Node) -> frozenset[str] | Unread:
        return node_facts.cpu_flags(self.host)

    def cpu_models(self, node: Node) -> Mapping[str, CpuModel] | Unread:
        return node_facts.cpu_models(self.host)

    def hwrng(self, node: Node) -> HwRng | Unread:
        return node_facts.hwrng(self.host)

    def pci(self, node: Node) -> Mapping[str, PciDevice] | Unread:
        return pci.devices(self.host)

    def iommu(self, node: Node) -> Iommu | Unread:
        return Unread("not looked at")

    def uses(self, node: Node) -> HostUses | Unread:
        return Unread("not looked at")

    def holders(self, node: Node) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return Unread("not looked at")

    def onboot(self, node: Node) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return Unread("not looked at")

    def mappings(self, node: Node) -> Mapping[str, PciMapping] | Unread:
        return Unread("not looked at")

    def bound_ids(self, node: Node) -> tuple[BoundIds, ...] | Unread:
        return Unread("not looked at")

    def memory(self, node: Node) -> Memory | Unread:
        return Unread("not looked at")

    def roms(self, node: Node) -> frozenset[str] | Unread:
        return Unread("not looked at")


class _Elsewhere:
    """Another node of the cluster: only what pmxcfs tells of it is known here."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def cpu_models(self, node: Node) -> Mapping[str, CpuModel] | Unread:
        return node_facts.cpu_models(self.host)

    def _unread(self, node: Node) -> Unread:
        return Unread(f"it is a fact of {node.name}, ask there")

    cpu_flags = hwrng = pci = iommu = uses = holders = onboot = mappings = bound_ids = memory = roms = _unread
