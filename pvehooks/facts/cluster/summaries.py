"""How the nodes of the cluster describe themselves: nodes/NODE/pvehooks-summary.json, and a node as its summary describes it."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.facts import hardware
from pvehooks.facts.cluster import mappings, members, pmxcfs
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.pci import words as pciwords
from pvehooks.facts.reading import unread
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.values import Holder, HostUses, HwRng, Iommu, Node, PciDevice, PciMapping, Unread, Uses
from pvehooks.values.base import cached_property
from pvehooks.values.summaries import Hardware, Standing, Summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.starting import Bridges

_IDS_LIMIT = 1 << 23


def path(node: str) -> str:
    """The file of a node's summary."""
    return f"{node_facts.NODES}/{node}/pvehooks-summary.json"


def read(host: Host, node: str) -> Summary | Unread | None:
    """What the node last said of itself; None where there is nothing."""
    try:
        return text.load(host.read(path(node), limit=text.LIMIT + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        return unread(path(node), error)
    except text.SummaryError as error:
        return Unread(f"{path(node)} {error}")


def standings(host: Host, node: str) -> tuple[Standing, ...]:
    """All nodes of the cluster, this one (`node`) among them; where nothing lists them, all that have a directory.

    Raises PmxcfsAway.
    """
    names = members.names(host, node)
    online = pmxcfs.online(host)
    return tuple(Standing(name, online.get(name), members.version_of(host, name), read(host, name)) for name in names)


def node(host: Host, standing: Standing) -> Node:
    """Another node's facts, as far as pmxcfs and its summary have them; all else is Unread."""
    return SummarizedNode(host, standing)


class SummarizedNode(hardware.OtherNode):
    """Another node as its summary describes it."""

    def __init__(self, host: Host, standing: Standing) -> None:
        super().__init__(host, standing.node)
        summary = standing.summary
        self._summary = summary if isinstance(summary, Summary) else None
        # A summary lacks what an older version did not write, and what was too large for it.
        self._missing = Unread(
            f"the summary of {standing.node} does not contain this" if self._summary else f"{standing.node} has published no usable summary"
        )
        self._hardware: Hardware | Unread
        if isinstance(summary, Summary):
            self._hardware = summary.hardware
        elif isinstance(summary, Unread):
            self._hardware = summary
        else:
            self._hardware = Unread(f"{standing.node} has published no summary")

    @cached_property
    def bridges(self) -> Bridges | Unread:
        if self._summary is None or self._summary.bridges is None:
            return self._missing
        from pvehooks.facts.node import bridges

        return bridges.SummarizedBridges(self._host, self.name, frozenset(self._summary.bridges))

    @cached_property
    def cpus(self) -> int | Unread:
        return self._missing if self._summary is None or self._summary.cpus is None else self._summary.cpus

    @cached_property
    def qemu(self) -> tuple[int, int] | Unread:
        return self._missing if self._summary is None or self._summary.qemu is None else self._summary.qemu

    @cached_property
    def mappings(self) -> Mapping[str, PciMapping] | Unread:
        return mappings.read(self._host, self.name)

    @cached_property
    def hwrng(self) -> HwRng | Unread:
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.hwrng

    @cached_property
    def iommu(self) -> Iommu | Unread:
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.iommu

    @cached_property
    def pci(self) -> Mapping[str, PciDevice] | Unread:
        if isinstance(self._hardware, Unread):
            return self._hardware
        bus = _SummarizedBus(self._host, self._hardware)
        return {address: SummarizedDevice(address, bus) for address in (*self._hardware.devices, *self._hardware.bridges)}

    @cached_property
    def uses(self) -> HostUses | Unread:
        return self._hardware if isinstance(self._hardware, Unread) else _SummarizedUses(self._hardware)

    @cached_property
    def holders(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.holders


class _SummarizedUses:
    """The uses of devices as a summary lists them (values.HostUses)."""

    def __init__(self, described: Hardware) -> None:
        self._described = described

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device."""
        why = self._described.unread.get(device.address)
        return Uses(self._described.uses.get(device.address, ()), (why,) if why else ())


class _SummarizedBus:
    """The devices of a summary, and what they share."""

    def __init__(self, host: Host, hardware: Hardware) -> None:
        self._host = host
        self.devices = hardware.devices
        self.groups: dict[str, list[str]] = {}
        for address, each in hardware.devices.items():
            self.groups.setdefault(each.group, []).append(address)

    @cached_property
    def ids(self) -> bytes:
        """The text of this node's pci.ids, empty where it is not installed."""
        return next(filter(None, map(self._file, pciwords.FILES)), b"")

    def _file(self, name: str) -> bytes:
        try:
            return self._host.read(name, _IDS_LIMIT)
        except OSError:
            return b""


class SummarizedDevice(PciDevice):
    """A PCI device as a summary describes it; what no summary holds is as if it were not there. Of a bridge it has the address only."""

    def __init__(self, address: str, bus: _SummarizedBus) -> None:
        super().__init__(address)
        self._bus = bus
        described = bus.devices.get(address)
        self._kind = described.kind if described else None
        self._group = described.group if described else ""

    def sibling(self, address: str) -> PciDevice:
        """Another device of the same summary."""
        return SummarizedDevice(address, self._bus)

    @property
    def class_code(self) -> int:
        return self._kind.class_code if self._kind else 0x060400

    @property
    def vendor(self) -> int:
        return self._kind.vendor if self._kind else -1

    @property
    def device(self) -> int:
        return self._kind.device if self._kind else -1

    @property
    def subsystem(self) -> tuple[int, int] | None:
        return self._kind.subsystem if self._kind else None

    @property
    def driver(self) -> str:
        return self._kind.driver if self._kind else ""

    @property
    def vfio(self) -> bool:
        return self._kind is not None and self._kind.vfio

    @property
    def bridge(self) -> bool:
        return self._kind is None

    @property
    def group(self) -> str:
        return self._group

    @cached_property
    def members(self) -> tuple[str, ...]:
        return tuple(sorted(self._bus.groups[self._group])) if self._group else (self.address,)

    @property
    def reset_methods(self) -> tuple[str, ...] | Unread:
        if self._kind is None or self._kind.reset_methods is None:
            return Unread("its summary does not contain this")
        return self._kind.reset_methods

    @property
    def dead(self) -> bool:
        return self._kind is not None and self._kind.dead

    @property
    def boot_vga(self) -> bool:
        return self._kind is not None and self._kind.boot_vga

    @property
    def reserved(self) -> tuple[tuple[int, int], ...]:
        return self._kind.reserved if self._kind else ()

    @property
    def upstream(self) -> tuple[str, ...]:
        return self._kind.behind if self._kind else ()

    @property
    def physfn(self) -> str:
        return self._kind.physfn if self._kind else ""

    @cached_property
    def virtfns(self) -> tuple[str, ...]:
        return tuple(address for address, each in self._bus.devices.items() if each.kind.physfn == self.address)

    @cached_property
    def mdev_types(self) -> Mapping[str, int]:
        return dict(self._kind.mdev_types) if self._kind else {}

    @property
    def vgpus(self) -> bool:
        return self._kind is not None and self._kind.vgpus

    @property
    def framebuffer(self) -> str:
        return self._kind.framebuffer if self._kind else ""

    @cached_property
    def words(self) -> str:
        return pciwords.words(self._bus.ids, self.vendor, self.device, self.class_code)
