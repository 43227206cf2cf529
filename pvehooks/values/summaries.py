"""What a node of the cluster says of itself to the others, and how it stands with the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.node import HwRng, Iommu, Node
from pvehooks.values.pci import Holder, PciDevice, Use

# A summary is written anew after so many seconds although nothing has changed, so that a silent node can be told.
HEARTBEAT = 3600
# Two heartbeats may be missed: for a restart of the node, and for the time that a cluster without quorum takes.
SILENT_AFTER = 2 * HEARTBEAT + 600


class DeviceKind(NamedTuple):
    """What devices have in common that differ in address and IOMMU group only: the virtual functions of a card, twins.

    The fields are as in PciDevice; `reset_methods` is None where they could not be read, `mdev_types` are pairs.
    """

    vendor: int
    device: int
    subsystem: tuple[int, int] | None
    class_code: int
    driver: str
    vfio: bool
    physfn: str
    reset_methods: tuple[str, ...] | None
    mdev_types: tuple[tuple[str, int], ...]
    vgpus: bool
    framebuffer: str
    dead: bool

    @staticmethod
    def of(device: PciDevice) -> DeviceKind:
        """The kind of a device."""
        methods = device.reset_methods
        return DeviceKind(
            vendor=device.vendor,
            device=device.device,
            subsystem=device.subsystem,
            class_code=device.class_code,
            driver=device.driver,
            vfio=device.vfio,
            physfn=device.physfn,
            reset_methods=None if isinstance(methods, Unread) else methods,
            mdev_types=tuple(sorted(device.mdev_types.items())),
            vgpus=device.vgpus,
            framebuffer=device.framebuffer,
            dead=device.dead,
        )


class DescribedDevice(NamedTuple):
    """A PCI device as its node tells of it; `group` is its IOMMU group or ''."""

    kind: DeviceKind
    group: str


class Hardware(NamedTuple):
    """A node's PCI devices by address, bridges apart; by address also who uses them, what of that is not known, and the guests that hold them.

    `left_out` is the number of devices that a summary had no room for; `looked` is when all this was read, in epoch seconds.
    """

    looked: int
    iommu: Iommu
    hwrng: HwRng
    devices: Mapping[str, DescribedDevice]
    bridges: tuple[str, ...]
    uses: Mapping[str, tuple[Use, ...]]
    unread: Mapping[str, str]
    holders: Mapping[str, tuple[Holder, ...]]
    left_out: int = 0


class Summary(NamedTuple):
    """What a node last said: with which version of the package, when (epoch seconds), the modes of [guard] and [rng], and its guests.

    `findings` and `of_node` count by severity, or "ignored"; `rules` counts those that block or warn by rule; `blocked` are VMs that
    would not start; of the `passing` guests with passed-through devices `unguarded` lack the guard. `hookscripts` are those that any guest
    of the cluster names, with what is wrong with them there ('' for nothing). `bridges` are those that guests can be given, `cpus` is how many
    CPUs it has, `qemu` the version of its QEMU: None where it does not tell, as older ones do not. Lists and texts are cut where they are
    long, but for `bridges`: too many are not told at all.
    """

    version: str
    written: int
    guard_mode: str
    rng_mode: str
    guests: int
    passing: int
    guarded: int
    unguarded: tuple[int, ...]
    blocked: tuple[int, ...]
    would_block: int
    findings: Mapping[str, int]
    of_node: Mapping[str, int]
    rules: Mapping[str, int]
    hookscripts: Mapping[str, str]
    hardware: Hardware | Unread
    bridges: tuple[str, ...] | None = None
    cpus: int | None = None
    qemu: tuple[int, int] | None = None

    def age(self, now: float) -> int:
        """Seconds since it was written; a clock of another node that is ahead counts as none."""
        return max(0, int(now) - self.written)

    def ago(self, now: float) -> str:
        """The same for people."""
        age = self.age(now)
        if age < 2 * 3600:
            return f"{age // 60} min ago"
        return f"{age // 3600} h ago" if age < 2 * 86400 else f"{age // 86400} days ago"

    def silent(self, now: float) -> bool:
        """Whether the node should have said something since."""
        return self.age(now) > SILENT_AFTER


class Standing(NamedTuple):
    """How a node stands with the cluster: whether pmxcfs sees it (None: unknown), and which version of the package it says to have.

    `version` is '' without one; `summary` is None where there is none, Unread where it cannot be used.
    """

    node: str
    online: bool | None
    version: str
    summary: Summary | Unread | None

    def state(self, now: float) -> str:
        """In a word or two, what hurts first."""
        if self.online is False:
            return "offline"
        if not self.version and not isinstance(self.summary, Summary):
            return "no pvehooks"
        if self.summary is None:
            return "no summary"
        if isinstance(self.summary, Unread):
            return "unreadable"
        return "silent" if self.summary.silent(now) else "ok"


class Target(NamedTuple):
    """Another node that a guest is to start on: its facts as its summary and pmxcfs tell them, and how it stands at `now` (epoch seconds).

    `own_version` is that of the package here; `here` the guest's node.
    """

    node: Node
    standing: Standing
    here: str
    now: float
    own_version: str

    @property
    def name(self) -> str:
        """The node's name."""
        return self.standing.node

    @property
    def summary(self) -> Summary | None:
        """What it says of itself, None where that is not known."""
        return self.standing.summary if isinstance(self.standing.summary, Summary) else None

    @property
    def hardware(self) -> Hardware | None:
        """Its devices, None where they are not known."""
        summary = self.summary
        return summary.hardware if summary is not None and isinstance(summary.hardware, Hardware) else None
