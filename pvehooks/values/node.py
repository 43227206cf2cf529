"""The node: all facts about it that rules may use."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pvehooks.values.base import NamedTuple, Unread, cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.boot import (
        BootDrivers,
        CommandLines,
        Dkms,
        Firmware,
        Initramfs,
        Interfaces,
        KernelModules,
        Kernels,
        Ksm,
        Layout,
        Loader,
        Modules,
        NewName,
        NextBoot,
        PcieLink,
        PciSlot,
    )
    from pvehooks.values.fingerprints import RememberedDevices
    from pvehooks.values.guests import Guest
    from pvehooks.values.ha import Ha
    from pvehooks.values.images import FirmwareNetworks
    from pvehooks.values.pci import BoundIds, Holder, HostUses, PciDevice, PciMapping, RomFiles, VfSupport
    from pvehooks.values.pveschema import Machines
    from pvehooks.values.settingfiles import SettingFiles
    from pvehooks.values.sharing import DirectoryMapping, MemoryShare
    from pvehooks.values.starting import Bridges, Paths
    from pvehooks.values.storages import Storage
    from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapping


class CpuModel(NamedTuple):
    """A custom CPU model of /etc/pve/virtual-guest/cpu-models.conf: what it reports as, and its '+x'/'-x' flags."""

    reported_model: str
    flags: tuple[str, ...]


class HwRng(NamedTuple):
    """The node's hardware random number generator: whether /dev/hwrng exists, and rng_current in sysfs ('' if unknown)."""

    present: bool
    current: str


class Iommu(NamedTuple):
    """The IOMMU."""

    # Whether there are groups.
    active: bool
    # Why it is not active: a phrase, '' if it is.
    why: str
    # The kernel's argument pcie_acs_override, or ''.
    acs_override: str
    # None if it cannot be determined.
    remaps_interrupts: bool | None
    # vfio_iommu_type1's allow_unsafe_interrupts.
    unsafe_allowed: bool


class HugePages(NamedTuple):
    """Huge pages of one size on one NUMA node: size in KiB, how many are free, how many more its free memory allows."""

    numa: int
    size: int
    free: int
    allocatable: int


class Memory(NamedTuple):
    """The node's memory: bytes available for a guest now (including ARC that ZFS would release), and its huge pages."""

    available: int
    hugepages: tuple[HugePages, ...]


class Node:
    """A node of the cluster of which only the name is known: each fact is Unread. Readers override the facts that they can read."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def _unread(self) -> Unread:
        return Unread(f"it can only be read on {self.name}")

    # -- CPU and memory ---------------------------------------------------------------------------------------------------

    @property
    def cpu_flags(self) -> frozenset[str] | Unread:
        """The flags of its CPU, or an ARM CPU's features."""
        return self._unread

    @property
    def cpu_address_bits(self) -> int | Unread:
        """How many bits the CPU's physical addresses have."""
        return self._unread

    @property
    def cpu_models(self) -> Mapping[str, CpuModel] | Unread:
        """The cluster's custom CPU models by name."""
        return self._unread

    @property
    def cpus(self) -> int | Unread:
        """How many CPUs are online."""
        return self._unread

    @property
    def memory(self) -> Memory | Unread:
        """Memory available for a guest now, and huge pages."""
        return self._unread

    @property
    def hwrng(self) -> HwRng | Unread:
        """The hardware random number generator."""
        return self._unread

    # -- PCI devices and what uses them -----------------------------------------------------------------------------------

    @property
    def pci(self) -> Mapping[str, PciDevice] | Unread:
        """The PCI devices by address."""
        return self._unread

    @property
    def iommu(self) -> Iommu | Unread:
        """The state of the IOMMU."""
        return self._unread

    @property
    def uses(self) -> HostUses | Unread:
        """The uses of a device by the host, containers and other guests."""
        return self._unread

    @property
    def holders(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        """The running guests by the address of the PCI device that they hold."""
        return self._unread

    @property
    def onboot(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        """The guests that start at boot by the PCI addresses that they name."""
        return self._unread

    @property
    def mappings(self) -> Mapping[str, PciMapping] | Unread:
        """The PCI mappings by name, including those without an entry for this node."""
        return self._unread

    @property
    def bound_ids(self) -> tuple[BoundIds, ...] | Unread:
        """The ids that vfio-pci takes at boot, each with the place where they are configured."""
        return self._unread

    @property
    def links(self) -> Mapping[str, PcieLink] | Unread:
        """The PCIe links by the device's address; none for a link that is down."""
        return self._unread

    @property
    def slots(self) -> tuple[PciSlot, ...] | Unread:
        """The slots that the firmware names."""
        return self._unread

    @property
    def vf_support(self) -> VfSupport | Unread:
        """What makes virtual functions: settings that do so at boot, DKMS modules, the modules of devices without a driver."""
        return self._unread

    @property
    def remembered(self) -> RememberedDevices | Unread:
        """Which devices mappings mean, also where those are elsewhere now."""
        return self._unread

    # -- what guests use apart from PCI devices ---------------------------------------------------------------------------

    @cached_property
    def guests(self) -> Collection[Guest] | Unread:
        """All VMs of the node, sorted by VMID. A caller that has read them already sets this, so that no config is read twice."""
        return self._unread

    @property
    def ha(self) -> Ha | Unread:
        """High availability as the cluster configures it."""
        return self._unread

    @property
    def qemu(self) -> tuple[int, int] | Unread:
        """The version of its QEMU: major, minor."""
        return self._unread

    @property
    def machines(self) -> Machines | Unread:
        """The machine versions that its QEMU has."""
        return self._unread

    @property
    def roms(self) -> frozenset[str] | Unread:
        """The files that `romfile` may name, below /usr/share/kvm."""
        return self._unread

    @property
    def rom_files(self) -> RomFiles | Unread:
        """What is in those files."""
        return self._unread

    @property
    def firmware_networks(self) -> FirmwareNetworks | Unread:
        """What is in firmware images of guests' own."""
        return self._unread

    @property
    def ovmf(self) -> frozenset[str] | Unread:
        """The file names of the UEFI firmware that PVE installs."""
        return self._unread

    @property
    def storages(self) -> Mapping[str, Storage] | Unread:
        """The cluster's storages by name, including disabled ones."""
        return self._unread

    @property
    def bridges(self) -> Bridges | Unread:
        """Which network bridges exist (values/starting.py)."""
        return self._unread

    @property
    def paths(self) -> Paths | Unread:
        """Which volumes, files and ports exist (values/starting.py)."""
        return self._unread

    @property
    def usb(self) -> Mapping[str, UsbDevice] | Unread:
        """The USB devices by their names in sysfs, including root hubs."""
        return self._unread

    @property
    def usb_mappings(self) -> Mapping[str, UsbMapping] | Unread:
        """The USB mappings by name."""
        return self._unread

    @property
    def usb_claims(self) -> Mapping[str, tuple[UsbClaim, ...]] | Unread:
        """The guests that have, or at boot will have, a USB device, by the id or place that they name."""
        return self._unread

    @property
    def directories(self) -> Mapping[str, DirectoryMapping] | Unread:
        """The directory mappings (for virtiofs) by name."""
        return self._unread

    @property
    def virtiofsd(self) -> bool | Unread:
        """Whether virtiofsd is installed."""
        return self._unread

    @property
    def memory_files(self) -> Mapping[str, int] | Unread:
        """The sizes in bytes of the files of ivshmem, by their name in configs."""
        return self._unread

    @property
    def memory_shares(self) -> Mapping[str, tuple[MemoryShare, ...]] | Unread:
        """The guests with ivshmem, by the name of the file."""
        return self._unread

    @property
    def gl_lacks(self) -> tuple[str, ...] | Unread:
        """What is missing on the node for the display type virtio-gl: packages, or "render node"."""
        return self._unread

    # -- the node itself (values/boot.py) ---------------------------------------------------------------------------------

    @property
    def firmware(self) -> Firmware | Unread:
        """CPU vendor, UEFI, Secure Boot, the tables and units of the IOMMU, microcode."""
        return self._unread

    @property
    def newer_pve(self) -> tuple[str, ...] | Unread | None:
        """What its Proxmox VE has and our tables do not, in words; None where no Proxmox VE is seen, as in most trees."""
        return self._unread

    @property
    def loader(self) -> Loader | Unread:
        """What boots the node."""
        return self._unread

    @property
    def command_lines(self) -> CommandLines | Unread:
        """The kernel's arguments: of the running kernel, and in the boot files."""
        return self._unread

    @property
    def kernel_release(self) -> str | Unread:
        """The release of the running kernel, '' where it is odd."""
        return self._unread

    @property
    def kernels(self) -> Kernels | Unread:
        """The running kernel and those that are installed."""
        return self._unread

    @property
    def modules(self) -> Modules | Unread:
        """Modules of the running kernel, and modprobe's configuration."""
        return self._unread

    @property
    def setting_files(self) -> SettingFiles | Unread:
        """The files that set up modules, sysctls and sysfs (values/settingfiles.py)."""
        return self._unread

    @property
    def dkms(self) -> Dkms | Unread:
        """Modules that DKMS built for the running kernel."""
        return self._unread

    @property
    def interfaces(self) -> Interfaces | Unread:
        """Names of network interfaces that are configured but do not exist, and the reverse."""
        return self._unread

    @property
    def layout(self) -> Layout | Unread:
        """NUMA nodes, isolated CPUs, memory, the ARC's limit."""
        return self._unread

    @property
    def ksm(self) -> Ksm | Unread:
        """Kernel samepage merging, and the pools of guests."""
        return self._unread

    @property
    def new_names(self) -> tuple[NewName, ...] | Unread:
        """The network interfaces that get another name at the next boot."""
        return self._unread

    # -- of the node as it will be (facts/nextboot.py); elsewhere all is Unread -------------------------------------------

    @property
    def next_boot(self) -> NextBoot | Unread:
        """Which kernel it will have booted, with which command line."""
        return self._unread

    @property
    def initramfs(self) -> Initramfs | Unread:
        """The initramfs that it will have booted with."""
        return self._unread

    @property
    def kernel_modules(self) -> KernelModules | Unread:
        """The modules that its kernel will have."""
        return self._unread

    @property
    def boot_drivers(self) -> BootDrivers | Unread:
        """The drivers that its devices will have before a VM starts."""
        return self._unread
