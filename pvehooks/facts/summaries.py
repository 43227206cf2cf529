"""What the nodes of the cluster say of themselves: nodes/NODE/pvehooks-summary.json, and a node as its summary tells of it."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.facts import hardware, members, pciwords, pmxcfs
from pvehooks.facts import node as node_facts
from pvehooks.facts.mappings import Mappings
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.values import Holder, HostUses, HwRng, Iommu, Node, PciDevice, PciMapping, Unread, Uses
from pvehooks.values.summaries import Hardware, Standing, Summary, Told

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
        return Unread(f"{path(node)}: {error.strerror}")
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
    """Another node's facts, as far as pmxcfs and its summary tell them; all else is Unread."""
    return Node(standing.node, _BySummary(host, standing))


class _BySummary(hardware.Elsewhere):
    """Reads another node's facts (values.readers.NodeReader): more of them than can be known without its summary."""

    def __init__(self, host: Host, standing: Standing) -> None:
        super().__init__(host)
        summary = standing.summary
        self._summary = summary if isinstance(summary, Summary) else None
        # Where it has a summary, that is older, or there was too much to tell.
        self._untold = Unread(f"the summary of {standing.node} does not tell" if self._summary else f"{standing.node} has told nothing")
        self._hardware: Hardware | Unread
        if isinstance(summary, Summary):
            self._hardware = summary.hardware
        elif isinstance(summary, Unread):
            self._hardware = summary
        else:
            self._hardware = Unread(f"{standing.node} has published no summary")

    def bridges(self, node: Node) -> Bridges | Unread:  # type: ignore[override]
        if self._summary is None or self._summary.bridges is None:
            return self._untold
        from pvehooks.facts import bridges

        return bridges.Told(self.host, node.name, frozenset(self._summary.bridges))

    def cpus(self, node: Node) -> int | Unread:  # type: ignore[override]
        return self._untold if self._summary is None or self._summary.cpus is None else self._summary.cpus

    def qemu(self, node: Node) -> tuple[int, int] | Unread:  # type: ignore[override]
        return self._untold if self._summary is None or self._summary.qemu is None else self._summary.qemu

    def mappings(self, node: Node) -> Mapping[str, PciMapping] | Unread:  # type: ignore[override]
        return Mappings(self.host, node.name).read()

    def hwrng(self, node: Node) -> HwRng | Unread:  # type: ignore[override]
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.hwrng

    def iommu(self, node: Node) -> Iommu | Unread:  # type: ignore[override]
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.iommu

    def pci(self, node: Node) -> Mapping[str, PciDevice] | Unread:  # type: ignore[override]
        if isinstance(self._hardware, Unread):
            return self._hardware
        reader = _Reader(self.host, self._hardware)
        return {address: PciDevice(address, reader) for address in (*self._hardware.devices, *self._hardware.bridges)}

    def uses(self, node: Node) -> HostUses | Unread:  # type: ignore[override]
        return self._hardware if isinstance(self._hardware, Unread) else _Uses(self._hardware)

    def holders(self, node: Node) -> Mapping[str, tuple[Holder, ...]] | Unread:  # type: ignore[override]
        return self._hardware if isinstance(self._hardware, Unread) else self._hardware.holders


class _Uses:
    """The uses of devices as a summary tells them (values.HostUses)."""

    def __init__(self, told: Hardware) -> None:
        self._told = told

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device."""
        why = self._told.unread.get(device.address)
        return Uses(self._told.uses.get(device.address, ()), (why,) if why else ())


class _Reader:
    """A PCI device as a summary tells of it (values.readers.PciReader); what none tells is as if it were not there."""

    def __init__(self, host: Host, told: Hardware) -> None:
        self._host = host
        self._told = told
        self._ids: bytes | None = None
        self._groups: dict[str, list[str]] = {}
        for address, each in told.devices.items():
            self._groups.setdefault(each.group, []).append(address)

    def _of(self, device: PciDevice) -> Told | None:
        return self._told.devices.get(device.address)

    def class_code(self, device: PciDevice) -> int:
        told = self._of(device)
        return told.kind.class_code if told else 0x060400

    def vendor(self, device: PciDevice) -> int:
        told = self._of(device)
        return told.kind.vendor if told else -1

    def device(self, device: PciDevice) -> int:
        told = self._of(device)
        return told.kind.device if told else -1

    def subsystem(self, device: PciDevice) -> tuple[int, int] | None:
        told = self._of(device)
        return told.kind.subsystem if told else None

    def driver(self, device: PciDevice) -> str:
        told = self._of(device)
        return told.kind.driver if told else ""

    def override(self, device: PciDevice) -> str:
        return ""

    def vfio(self, device: PciDevice) -> bool:
        told = self._of(device)
        return told is not None and told.kind.vfio

    def bridge(self, device: PciDevice) -> bool:
        return self._of(device) is None

    def group(self, device: PciDevice) -> str:
        told = self._of(device)
        return told.group if told else ""

    def group_unread(self, device: PciDevice) -> str:
        return ""

    def members(self, device: PciDevice) -> tuple[str, ...]:
        group = self.group(device)
        return tuple(sorted(self._groups[group])) if group else (device.address,)

    def reset_methods(self, device: PciDevice) -> tuple[str, ...] | Unread:
        told = self._of(device)
        if told is None or told.kind.reset_methods is None:
            return Unread("its summary does not tell")
        return told.kind.reset_methods

    def dead(self, device: PciDevice) -> bool:
        told = self._of(device)
        return told is not None and told.kind.dead

    def boot_vga(self, device: PciDevice) -> bool:
        return False

    def physfn(self, device: PciDevice) -> str:
        told = self._of(device)
        return told.kind.physfn if told else ""

    def virtfns(self, device: PciDevice) -> tuple[str, ...]:
        return tuple(address for address, each in self._told.devices.items() if each.kind.physfn == device.address)

    def numa(self, device: PciDevice) -> int:
        return -1

    def serial(self, device: PciDevice) -> str:
        return ""

    def mdev_types(self, device: PciDevice) -> Mapping[str, int]:
        told = self._of(device)
        return dict(told.kind.mdev_types) if told else {}

    def mdevs(self, device: PciDevice) -> frozenset[str]:
        return frozenset()

    def vgpus(self, device: PciDevice) -> bool:
        told = self._of(device)
        return told is not None and told.kind.vgpus

    def framebuffer(self, device: PciDevice) -> str:
        told = self._of(device)
        return told.kind.framebuffer if told else ""

    def words(self, device: PciDevice) -> str:
        if self._ids is None:
            self._ids = next(filter(None, map(self._file, pciwords.FILES)), b"")
        return pciwords.words(self._ids, device.vendor, device.device, device.class_code)

    def _file(self, name: str) -> bytes:
        try:
            return self._host.read(name, _IDS_LIMIT)
        except OSError:
            return b""
