"""What a node of the cluster publishes about itself, and its state in the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.node import HwRng, Iommu, Node
from pvehooks.values.pci import Holder, PciDevice, Use

# In seconds: a summary is rewritten this often even if nothing has changed, so that a silent node is noticed.
HEARTBEAT = 3600
# Two heartbeats may be missed, because of a reboot of the node or a cluster without quorum.
SILENT_AFTER = 2 * HEARTBEAT + 600


def ago(seconds: int) -> str:
    """How long ago something was, for people."""
    if seconds < 2 * 3600:
        return f"{seconds // 60} min ago"
    return f"{seconds // 3600} h ago" if seconds < 2 * 86400 else f"{seconds // 86400} days ago"


class DeviceKind(NamedTuple):
    """The common attributes of devices that differ only in address and IOMMU group: virtual functions of a card, twins.

    The fields are as in PciDevice.
    """

    vendor: int
    device: int
    subsystem: tuple[int, int] | None
    class_code: int
    driver: str
    vfio: bool
    physfn: str
    # None where they could not be read.
    reset_methods: tuple[str, ...] | None
    # As pairs.
    mdev_types: tuple[tuple[str, int], ...]
    vgpus: bool
    framebuffer: str
    dead: bool
    # Older versions publish neither this nor what follows.
    boot_vga: bool = False
    reserved: tuple[tuple[int, int], ...] = ()
    # The upstream devices, without bridges.
    behind: tuple[str, ...] = ()

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
            boot_vga=device.boot_vga,
            reserved=device.reserved,
            behind=tuple(address for address in device.upstream if not device.sibling(address).bridge),
        )


class DescribedDevice(NamedTuple):
    """A PCI device as its node describes it."""

    kind: DeviceKind
    # Its IOMMU group or ''.
    group: str


class Hardware(NamedTuple):
    """A node's PCI devices, and their users; all mappings are by address."""

    # When this was read, in epoch seconds.
    looked: int
    iommu: Iommu
    hwrng: HwRng
    # All but bridges.
    devices: Mapping[str, DescribedDevice]
    bridges: tuple[str, ...]
    uses: Mapping[str, tuple[Use, ...]]
    # Why uses are unknown, as phrases.
    unread: Mapping[str, str]
    # The guests that hold a device.
    holders: Mapping[str, tuple[Holder, ...]]
    # How many devices the summary had no room for.
    left_out: int = 0


class NextBootSummary(NamedTuple):
    """What the last look at the node's next boot found, of how many VMs with passed-through devices."""

    # Epoch seconds.
    looked: int
    kernel: str
    # They will start, will not, must not; of others it is not known.
    will: int
    will_not: int
    must_not: int
    unknown: int
    # The VMs that will not start or must not start, the first ones.
    guests: tuple[int, ...]
    # How many things the node itself loses.
    losses: int
    # Whether it may not boot at all.
    stops: bool

    @property
    def well(self) -> bool:
        """Whether all is as it is now."""
        return not (self.will_not or self.must_not or self.unknown or self.losses or self.stops)


class FailedStartSummary(NamedTuple):
    """A VM whose last start failed."""

    vmid: int
    # Epoch seconds.
    ended: int
    # The cause in words.
    why: str


class NodeDetails(NamedTuple):
    """What the first versions do not publish; a text is '' where it could not be read."""

    # The versions of Proxmox VE, of the running kernel, and of the next one.
    pve: str = ""
    kernel: str = ""
    next_kernel: str = ""
    # How many VMs have the rng0 that they were given, and how many lack one that they need, with the first of these.
    rng_given: int = 0
    rng_lacking: int = 0
    rng_guests: tuple[int, ...] = ()
    # What the node's own settings file sets: "section.option" -> value; and how many settings there was no room for.
    own_settings: Mapping[str, str] = {}
    settings_left_out: int = 0
    # None where no one has looked since the node was booted.
    next_boot: NextBootSummary | None = None
    # How many VMs' last start failed, and the latest of them; None where the tasks could not be read.
    failed_starts: int | None = None
    failures: tuple[FailedStartSummary, ...] = ()


class Summary(NamedTuple):
    """What a node last published about itself. Long lists and texts are cut, except `bridges`."""

    # Of the package on the node.
    version: str
    # Epoch seconds.
    written: int
    # The modes of [guard] and [rng].
    guard_mode: str
    rng_mode: str
    # How many VMs it has, how many of them have passed-through PCI devices, and how many of these have the guard.
    guests: int
    passing: int
    guarded: int
    # The VMs with passed-through devices that lack the guard.
    unguarded: tuple[int, ...]
    # The VMs that would not start or must not start, and how many they are: the list may be cut.
    blocked: tuple[int, ...]
    would_block: int
    # The number of findings by severity, or "ignored": about guests, and about the node.
    findings: Mapping[str, int]
    of_node: Mapping[str, int]
    # The number of findings that block or warn, by rule.
    rules: Mapping[str, int]
    # What is wrong there ('' for nothing) with the hookscripts that any guest of the cluster names, by volume id.
    hookscripts: Mapping[str, str]
    hardware: Hardware | Unread
    # Those that guests can use; None if there are too many, or the node's version does not publish them.
    bridges: tuple[str, ...] | None = None
    # The number of its CPUs, and the version of its QEMU; None if the node's version does not publish them.
    cpus: int | None = None
    qemu: tuple[int, int] | None = None
    # Of `blocked`, the VMs that must not start and that nothing stops, and how many; older versions do not publish them.
    must_not: tuple[int, ...] = ()
    must_not_count: int = 0
    # None if the node's version does not publish them.
    details: NodeDetails | None = None

    def age(self, now: float) -> int:
        """Seconds since it was written; 0 if the other node's clock is ahead."""
        return max(0, int(now) - self.written)

    def ago(self, now: float) -> str:
        """The same for people."""
        return ago(self.age(now))

    def silent(self, now: float) -> bool:
        """Whether the node should have published something since."""
        return self.age(now) > SILENT_AFTER


class Standing(NamedTuple):
    """The state of a node in the cluster."""

    node: str
    # Whether pmxcfs sees it, None if unknown.
    online: bool | None
    # The version of the package that the node publishes, '' without the package.
    version: str
    # None without one, Unread if it cannot be used.
    summary: Summary | Unread | None

    def state(self, now: float) -> str:
        """The most severe state, as a keyword."""
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
    """Another node that a guest is to start on."""

    # Its facts, as far as its summary and pmxcfs contain them.
    node: Node
    standing: Standing
    # The guest's node.
    here: str
    # Epoch seconds.
    now: float
    # Of the package here.
    own_version: str

    @property
    def name(self) -> str:
        """The node's name."""
        return self.standing.node

    @property
    def summary(self) -> Summary | None:
        """What it published about itself, None if unknown."""
        return self.standing.summary if isinstance(self.standing.summary, Summary) else None

    @property
    def hardware(self) -> Hardware | None:
        """Its devices, None if unknown."""
        summary = self.summary
        return summary.hardware if summary is not None and isinstance(summary.hardware, Hardware) else None
