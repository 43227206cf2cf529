"""The node: what the rules may know of its hardware, and of who uses it."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import Lazy, NamedTuple, Protocol, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.boot import CommandLines, Dkms, Firmware, Interfaces, Kernels, Ksm, Layout, Loader, Modules, PcieLink
    from pvehooks.values.guests import Guest
    from pvehooks.values.ha import Ha
    from pvehooks.values.readers import NodeReader, PciReader
    from pvehooks.values.sharing import DirectoryMapping, MemoryShare
    from pvehooks.values.starting import Bridges, Paths
    from pvehooks.values.storages import Storage
    from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapping


class CpuModel(NamedTuple):
    """A custom CPU model of /etc/pve/virtual-guest/cpu-models.conf: what it reports as, and its '+x'/'-x' flags."""

    reported_model: str
    flags: tuple[str, ...]


class HwRng(NamedTuple):
    """The node's hardware random number generator: is /dev/hwrng there, and what sysfs' rng_current says ('' unknown)."""

    present: bool
    current: str


class PciDevice(Lazy):
    """A PCI device of the node, 'dddd:bb:ss.f' (the kernel's ABI/testing/sysfs-bus-pci). Numbers that cannot be read are -1.

    `class_code` has 24 bits; `subsystem` is (vendor, device); `driver` and `override` (driver_override) are '' for none; `vfio`
    tells whether vfio has it, by any driver; `bridge` whether a bus hangs off it, which PVE never takes; `group` is its IOMMU
    group or '', `group_unread` why that or its members cannot be read, `members` the addresses of the whole group, itself included; `reset_methods` as the kernel would try them; `dead`
    means that its config space reads all ones; `physfn` is the PF of a VF or ''; `virtfns` a PF's VFs; `numa` the node or -1;
    `serial` that of its storage or ''; `mdev_types` the number of available instances by type, `mdevs` the UUIDs of those that exist; `vgpus` whether NVIDIA's newer
    driver makes vGPUs of it; `framebuffer` the name of the console's framebuffer inside its BARs, or ''; `words` what a person
    calls it, with its ids ("Samsung NVMe SSD Controller SM981 [144d:a808]").
    """

    class_code: int
    vendor: int
    device: int
    subsystem: tuple[int, int] | None
    driver: str
    override: str
    vfio: bool
    bridge: bool
    group: str
    group_unread: str
    members: tuple[str, ...]
    reset_methods: tuple[str, ...] | Unread
    dead: bool
    boot_vga: bool
    physfn: str
    virtfns: tuple[str, ...]
    numa: int
    serial: str
    mdev_types: Mapping[str, int]
    mdevs: frozenset[str]
    vgpus: bool
    framebuffer: str
    words: str

    def __init__(self, address: str, reader: PciReader) -> None:
        self.address = address
        self._reader = reader

    def sibling(self, address: str) -> PciDevice:
        """Another device of the same node, by its address; whether it is there is not asked."""
        return PciDevice(address, self._reader)  # type: ignore[arg-type]  # Lazy's readers are objects

    @property
    def slot(self) -> str:
        """The address without the function."""
        return self.address.rpartition(".")[0]

    @property
    def label(self) -> str:
        """How messages call it: address and words."""
        return f"{self.address} ({self.words})"


class Use(NamedTuple):
    """What somebody does with a PCI device: `sentence` goes on from its name ("holds / (ext4 on nvme0n1p2)").

    `vmid` is that of the guest or container whose use it is, 0 for the host's own. A `remark` weighs nothing: the console's
    framebuffer, the last keyboard, an unused TPM. `remedy` is what to type where there is something better than the rule's.
    """

    sentence: str
    vmid: int = 0
    remark: bool = False
    remedy: str = ""


class Uses(NamedTuple):
    """The uses of a device, and what could not be looked at (words for a person)."""

    found: tuple[Use, ...] = ()
    unread: tuple[str, ...] = ()


class HostUses(Protocol):
    """What host, containers and other guests use; asked per device because looking is dear."""

    def of(self, device: PciDevice) -> Uses: ...


class Iommu(NamedTuple):
    """The IOMMU: `active` when there are groups, else `why` says in words why not.

    `acs_override` is the kernel's argument pcie_acs_override or ''; `remaps_interrupts` is None where it cannot be told;
    `unsafe_allowed` is vfio_iommu_type1's allow_unsafe_interrupts.
    """

    active: bool
    why: str
    acs_override: str
    remaps_interrupts: bool | None
    unsafe_allowed: bool


class Holder(NamedTuple):
    """A guest that has, or at boot will have, a PCI device: `how` is the option, 'args', 'reserved', or 'starting' while it only starts.

    `mdev` if it has only a part of it.
    """

    vmid: int
    label: str
    how: str
    mdev: bool = False

    @property
    def state(self) -> str:
        """What the guest does now: "running" or "starting"."""
        return "starting" if self.how == "starting" else "running"


class MappingEntry(NamedTuple):
    """An entry of a PCI mapping for this node: its addresses as written, and what it says the device is ('' where it does not)."""

    paths: tuple[str, ...]
    id: str
    subsystem_id: str
    iommugroup: str


class PciMapping(NamedTuple):
    """A mapping of /etc/pve/mapping/pci.cfg: its entries for this node, whether it is for mediated devices, and all nodes it has.

    `migratable` tells that it is marked live-migration-capable; `trouble` is what PVE does not understand of it, '' for nothing.
    """

    name: str
    entries: tuple[MappingEntry, ...]
    mdev: bool
    nodes: frozenset[str]
    migratable: bool = False
    trouble: str = ""


class BoundIds(NamedTuple):
    """Ids that vfio-pci takes at boot: (vendor, device) pairs, and where that is written (file, or kernel command line)."""

    ids: tuple[tuple[int, int], ...]
    place: str


class HugePages(NamedTuple):
    """Huge pages of one size on one NUMA node: size in KiB, how many are free, how many more its free memory would give."""

    numa: int
    size: int
    free: int
    allocatable: int


class Memory(NamedTuple):
    """The node's memory: bytes that a guest could have now (ARC that ZFS gives back counted in), and its huge pages."""

    available: int
    hugepages: tuple[HugePages, ...]


class Node(Lazy):
    """What the rules may know of the node; what could not be read is Unread.

    `qemu` is the version of its QEMU (major, minor). `holders` are the running guests by the PCI address they hold, `onboot` those that start at boot by the addresses they name;
    `mappings` and `storages` are by name; `roms` are the files that `romfile` may name, `ovmf` those of UEFI firmware; `ha` is high availability. What follows them is for rules on the node itself (values/boot.py):
    how it boots, and `links` the PCIe links by address, `guests` all VMs of the node.
    `usb` are the USB devices by their names in sysfs, `usb_claims` who has or at boot will have them, by id or place as it is named;
    `directories` (for virtiofs) and `usb_mappings` are by name; `virtiofsd` tells whether that is installed; `memory_files` are the sizes in
    bytes of the files of ivshmem, `memory_shares` the guests that name them, both by name; `gl_lacks` is what virtio-gl misses on the node.
    `cpus` is the number of its CPUs; `bridges` and `paths` (values/starting.py) answer for a name or a path.
    """

    cpu_flags: frozenset[str] | Unread
    cpu_models: Mapping[str, CpuModel] | Unread
    hwrng: HwRng | Unread
    pci: Mapping[str, PciDevice] | Unread
    iommu: Iommu | Unread
    uses: HostUses | Unread
    holders: Mapping[str, tuple[Holder, ...]] | Unread
    onboot: Mapping[str, tuple[Holder, ...]] | Unread
    mappings: Mapping[str, PciMapping] | Unread
    bound_ids: tuple[BoundIds, ...] | Unread
    memory: Memory | Unread
    roms: frozenset[str] | Unread
    ovmf: frozenset[str] | Unread
    storages: Mapping[str, Storage] | Unread
    qemu: tuple[int, int] | Unread
    cpus: int | Unread
    bridges: Bridges | Unread
    paths: Paths | Unread
    ha: Ha | Unread
    usb: Mapping[str, UsbDevice] | Unread
    usb_mappings: Mapping[str, UsbMapping] | Unread
    usb_claims: Mapping[str, tuple[UsbClaim, ...]] | Unread
    directories: Mapping[str, DirectoryMapping] | Unread
    virtiofsd: bool | Unread
    memory_files: Mapping[str, int] | Unread
    memory_shares: Mapping[str, tuple[MemoryShare, ...]] | Unread
    gl_lacks: tuple[str, ...] | Unread
    firmware: Firmware | Unread
    loader: Loader | Unread
    command_lines: CommandLines | Unread
    kernels: Kernels | Unread
    modules: Modules | Unread
    dkms: Dkms | Unread
    links: Mapping[str, PcieLink] | Unread
    interfaces: Interfaces | Unread
    layout: Layout | Unread
    ksm: Ksm | Unread
    guests: tuple[Guest, ...] | Unread

    def __init__(self, name: str, reader: NodeReader) -> None:
        self.name = name
        self._reader = reader
