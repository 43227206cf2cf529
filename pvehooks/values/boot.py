"""How the node boots, and its hardware: the values for rules on the node. The hookscript does not load them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Protocol, Unread

GRUB_DEFAULTS = "/etc/default/grub"
KERNEL_CMDLINE = "/etc/kernel/cmdline"


class Firmware(NamedTuple):
    """The firmware, and what of the CPU it depends on."""

    # vendor_id of /proc/cpuinfo.
    cpu: str
    uefi: bool
    # None if it cannot be determined.
    secure_boot: bool | None
    # The names of the ACPI tables; None where they cannot be listed.
    tables: frozenset[str] | None
    # The types of the IOMMU groups: identity, DMA, DMA-FQ.
    translation: frozenset[str]
    # The names of the IOMMUs.
    units: tuple[str, ...]
    # How many IOMMU groups there are.
    groups: int
    # The package with the CPU's microcode; '' if none is needed, as in a VM.
    microcode: str
    microcode_there: bool


class Loader(NamedTuple):
    """What boots the node."""

    # "grub", "systemd-boot", or '' if it cannot be determined.
    kind: str
    # Whether proxmox-boot-tool manages the ESPs.
    managed: bool
    uefi: bool
    # How the kind was determined, as a phrase.
    why: str
    # The UUIDs of the ESPs of proxmox-boot-tool, and of those whose partition is missing.
    esps: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in messages."""
        if not self.kind:
            return "an unknown boot loader"
        name = "GRUB" if self.kind == "grub" else self.kind
        return f"{name} on ESPs that proxmox-boot-tool keeps" if self.managed else name

    @property
    def file(self) -> str:
        """The file with its kernel command line."""
        return GRUB_DEFAULTS if self.kind == "grub" else KERNEL_CMDLINE

    @property
    def refresh(self) -> str:
        """The command that makes a change take effect at the next boot."""
        if self.managed:
            return "proxmox-boot-tool refresh"
        return "update-grub" if self.kind == "grub" else "kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r)"


class Assignment(NamedTuple):
    """A plain assignment of a variable of GRUB: where it stands, and the value that it gives."""

    file: str
    line: int
    variable: str
    value: str


class Planned(NamedTuple):
    """The kernel arguments in a boot loader's file, for the next boot."""

    # The file.
    place: str
    # The arguments ("iommu=pt", "quiet") in their order.
    words: tuple[str, ...] | Unread
    # Why the boot loader's tools cannot use the file, '' if they can.
    broken: str = ""
    # Lines that are not used, unchanged.
    ignored: tuple[str, ...] = ()
    # Of the variables with arguments, in the order in which they are read; none where only a shell understands the files.
    assignments: tuple[Assignment, ...] = ()


class Written(NamedTuple):
    """An entry of the boot loader's menu."""

    # The file that it is written in.
    place: str
    # The release of its kernel.
    kernel: str
    # Its arguments.
    words: tuple[str, ...]


class CommandLines(NamedTuple):
    """The kernel's arguments: of the running kernel, and in the boot files."""

    running: tuple[str, ...] | Unread
    # Of /etc/default/grub; None without that file.
    grub: Planned | None
    # Of /etc/kernel/cmdline; None without that file.
    kernel: Planned | None
    # The entries of the boot loader's menu, the default one first.
    written: tuple[Written, ...] | Unread


class Kernels(NamedTuple):
    """The node's kernels, by release ("6.8.12-4-pve")."""

    running: str
    # Newest first.
    installed: tuple[str, ...]
    # '' where none is pinned.
    pinned: str
    # The one that is pinned for the next boot only, or ''.
    next_boot: str
    # Build options of the running kernel that matter here; None without its configuration file.
    built_with: frozenset[str] | None

    @property
    def next(self) -> str:
        """The kernel that the next boot will use, '' if unknown."""
        return self.next_boot or self.pinned or next(iter(self.installed), "")

    @property
    def vtd_by_default(self) -> bool:
        """Whether the running kernel switches VT-d on without intel_iommu=on: its configuration decides, else its release."""
        if self.built_with is not None:
            return bool({"CONFIG_INTEL_IOMMU_DEFAULT_ON", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF"} & self.built_with)
        return self.running.endswith("-pve") and release(self.running) >= (6, 8)


def release(version: str) -> tuple[int, int]:
    """Major and minor number of a kernel's release, (0, 0) for what is none."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    return (int(major), int(minor)) if _is_number(major) and _is_number(minor) else (0, 0)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 5


class Modules(NamedTuple):
    """Modules of the running kernel, and what modprobe is configured to do with them; names have underscores."""

    # The running kernel's.
    release: str
    # "loaded", "built in", "there", "missing" or "unknown", by the names of vfio's modules.
    vfio: Mapping[str, str]
    # (name, file) of those loaded at boot.
    listed: tuple[tuple[str, str], ...]
    # (name, place) of those that must not be loaded automatically.
    denied: tuple[tuple[str, str], ...]
    # The module of a PCI driver, by the driver's name.
    drivers: Mapping[str, str]
    # The file that the next boot uses.
    initramfs: str
    # Files of modprobe.d that are about drivers and newer than the initramfs.
    edited: tuple[str, ...]


class Dkms(NamedTuple):
    """Modules that DKMS built for the running kernel."""

    modules: tuple[str, ...]
    # Whether the firmware trusts the key that they are signed with; None if it cannot be determined.
    trusted: bool | None


class PcieLink(NamedTuple):
    """A PCIe link, current and maximum: speed in GT/s, width in lanes."""

    speed: float
    max_speed: float
    width: int
    max_width: int

    @property
    def now(self) -> str:
        """As it is, in words: "8 GT/s x8 (PCIe 3)"."""
        return _link(self.speed, self.width)

    @property
    def could(self) -> str:
        """As fast and as wide as the device could have it, in words."""
        return _link(self.max_speed, self.max_width)


# GT/s -> generation (PCI Express Base Specification 7.0, 8.1).
_GENERATIONS = {2.5: 1, 5: 2, 8: 3, 16: 4, 32: 5, 64: 6, 128: 7}


def _link(speed: float, width: int) -> str:
    generation = _GENERATIONS.get(speed)
    return f"{speed:g} GT/s x{width}{f' (PCIe {generation})' if generation else ''}"


class PciSlot(NamedTuple):
    """A slot of the board by its name in the firmware's table."""

    name: str
    # Of what sits in it, or of the port that it hangs off ('dddd:bb:ss.f'); '' where the firmware does not say.
    address: str
    # As wide as it is wired, 0 for unknown.
    lanes: int
    # Whether a card is in it; None for unknown.
    used: bool | None


class Absent(NamedTuple):
    """A name in the network configuration for which there is no interface."""

    name: str
    # The interface that names it, in which role ("bridge port"), and in which file.
    upper: str
    role: str
    file: str


class Interfaces(NamedTuple):
    """The differences between the names in the network configuration and the node's interfaces."""

    # Names without an interface.
    absent: tuple[Absent, ...]
    # Physical interfaces that no file names: (name, MAC, PCI address or '').
    unnamed: tuple[tuple[str, str, str], ...]


class Layout(NamedTuple):
    """How CPUs and memory are laid out."""

    # The CPUs of each NUMA node.
    nodes: Mapping[int, frozenset[int]]
    # CPUs that the scheduler does not use (isolcpus).
    isolated: frozenset[int]
    # Bytes.
    memory: int
    # Bytes that the cache of ZFS may use; 0 without ZFS.
    arc_limit: int
    # How many huge pages are reserved, by their size in KiB.
    reserved: Mapping[int, int]


class Ksm(NamedTuple):
    """Kernel samepage merging."""

    runs: bool
    # How many pages are shared.
    shared: int
    # The pool of each guest that is in one.
    pools: Mapping[int, str]


# -- the next boot ----------------------------------------------------------------------------------------------------


class NextBoot(NamedTuple):
    """The kernel and the command line of a boot that is to come."""

    # The kernel's release, and how it is known that it is booted, as a phrase: "the newest one".
    release: str
    why: str
    # The kernel that runs now.
    running: str
    # The file that the command line is from, '' where it is taken to be the same as now.
    source: str
    # The command line, and that of now.
    words: tuple[str, ...]
    words_now: tuple[str, ...]


class Initramfs(NamedTuple):
    """The initramfs of a kernel."""

    path: str
    # Why the kernel cannot use it, as a phrase ("it is cut short"); '' where it can.
    broken: str
    # The names of its modules, with underscores.
    modules: frozenset[str]
    # Of modprobe's settings and .link files the texts, by the path.
    settings: Mapping[str, str]


class DkmsPackage(NamedTuple):
    """A source that DKMS builds modules of, with what there is of it for one kernel."""

    name: str
    version: str
    # The names of its modules, with underscores.
    modules: frozenset[str]
    # Whether they are built and installed for the kernel, and for the one that runs now.
    built: bool
    built_now: bool
    # Why it is not to be built for the kernel, '' where it is.
    excluded: str
    # Whether its modules for the kernel are signed; None where that is not known, as of compressed ones that cannot be unpacked here.
    signed: bool | None


class KernelModules(NamedTuple):
    """The modules that a kernel will have; names have underscores."""

    # Those of the kernel itself, in files and built in; None where it has no list of them.
    own: frozenset[str] | None
    dkms: tuple[DkmsPackage, ...]


class BootDrivers(Protocol):
    """Which driver, or module, has a device once the node has booted and no VM has it yet: "vfio-pci" for those that are bound at boot, '' for none."""

    def of(self, address: str) -> str: ...


class NewName(NamedTuple):
    """A network interface of the network's configuration that gets another name at the next boot, or may get one."""

    name: str
    mac: str
    # '' where it is not known which.
    new: str
    # Why, as a phrase.
    why: str
    # What the configuration names it as, as the end of a sentence.
    role: str
    # Whether it is certain.
    certain: bool = True
    # The driver, where another kernel is the reason and the driver names a card alike in both; '' for others.
    alike: str = ""
