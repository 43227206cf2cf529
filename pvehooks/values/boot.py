"""How the node boots, and what it is made of: the values that rules on the node speak in. The hookscript needs none of them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Unread

GRUB_DEFAULTS = "/etc/default/grub"
KERNEL_CMDLINE = "/etc/kernel/cmdline"


class Firmware(NamedTuple):
    """The CPU's vendor_id, whether the firmware is UEFI, whether Secure Boot is on (None where it cannot be told).

    `tables` are the names of the ACPI tables, None where they cannot be listed; `translation` the types of the IOMMU groups
    (identity, DMA, DMA-FQ) and `units` the names of the IOMMUs; `groups` is how many groups there are. `microcode` is the name of
    the package with the CPU's microcode, `microcode_there` whether it is installed; '' where none is needed, as in a VM.
    """

    cpu: str
    uefi: bool
    secure_boot: bool | None
    tables: frozenset[str] | None
    translation: frozenset[str]
    units: tuple[str, ...]
    groups: int
    microcode: str
    microcode_there: bool


class Loader(NamedTuple):
    """What boots the node: `kind` is "grub", "systemd-boot" or '' where it cannot be told; `why` how that was seen.

    `managed`: proxmox-boot-tool keeps the ESPs, which are `esps` by UUID; `missing` are those whose partition is not there.
    """

    kind: str
    managed: bool
    uefi: bool
    why: str
    esps: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        if not self.kind:
            return "an unknown boot loader"
        name = "GRUB" if self.kind == "grub" else self.kind
        return f"{name} on ESPs that proxmox-boot-tool keeps" if self.managed else name

    @property
    def file(self) -> str:
        """Where its kernel command line is written."""
        return GRUB_DEFAULTS if self.kind == "grub" else KERNEL_CMDLINE

    @property
    def refresh(self) -> str:
        """What to type so that a change takes effect at the next boot."""
        if self.managed:
            return "proxmox-boot-tool refresh"
        return "update-grub" if self.kind == "grub" else "kernel-install add $(uname -r) /boot/vmlinuz-$(uname -r)"


class Planned(NamedTuple):
    """What a boot loader's file would give: the arguments ("iommu=pt", "quiet") in their order.

    `broken` is why the boot loader's tools cannot use the file, '' if they can. `ignored` are lines that are not used, as they stand.
    """

    place: str
    words: tuple[str, ...] | Unread
    broken: str = ""
    ignored: tuple[str, ...] = ()


class Written(NamedTuple):
    """An entry of the boot loader's menu: where it is written, its kernel's release, its arguments."""

    place: str
    kernel: str
    words: tuple[str, ...]


class CommandLines(NamedTuple):
    """The kernel's arguments: those of the running kernel, those that files would give, and those in the boot loader's menu.

    `grub` and `kernel` (/etc/kernel/cmdline) are None where the file is not there. `written` has the default entry first.
    """

    running: tuple[str, ...] | Unread
    grub: Planned | None
    kernel: Planned | None
    written: tuple[Written, ...] | Unread


class Kernels(NamedTuple):
    """Releases ("6.8.12-4-pve"): the running one, those installed (newest first), the pinned one and that of the next boot only, or ''.

    `built_with` are options of interest that the running kernel was built with, None where its configuration is not there.
    """

    running: str
    installed: tuple[str, ...]
    pinned: str
    next_boot: str
    built_with: frozenset[str] | None

    @property
    def next(self) -> str:
        """The kernel that the next boot is meant to take, '' where it is not known."""
        return self.next_boot or self.pinned or next(iter(self.installed), "")


class Modules(NamedTuple):
    """Modules of the running kernel and what modprobe is told of them; names have underscores.

    `vfio` is "loaded", "built in", "there" or "missing" by name; `listed` (name, file) those loaded at boot; `denied` (name, place) those that must
    not be loaded by themselves; `drivers` the module of a PCI driver by its name. `edited` are files of modprobe.d that speak of drivers and are newer
    than `initramfs`, the file that the next boot takes.
    """

    release: str
    vfio: Mapping[str, str]
    listed: tuple[tuple[str, str], ...]
    denied: tuple[tuple[str, str], ...]
    drivers: Mapping[str, str]
    initramfs: str
    edited: tuple[str, ...]


class Dkms(NamedTuple):
    """Modules that DKMS built for the running kernel, and whether the firmware trusts its key (None where it cannot be told)."""

    modules: tuple[str, ...]
    trusted: bool | None


class PcieLink(NamedTuple):
    """A PCIe link: its speed in GT/s and width in lanes, as it is and as the device could."""

    speed: float
    max_speed: float
    width: int
    max_width: int


class Absent(NamedTuple):
    """A name in the network's configuration that no interface has: which interface names it as what, and in which file."""

    name: str
    upper: str
    role: str
    file: str


class Interfaces(NamedTuple):
    """Names that are missing, and the physical interfaces that nobody names: (name, MAC, PCI address or '')."""

    absent: tuple[Absent, ...]
    unnamed: tuple[tuple[str, str, str], ...]


class Layout(NamedTuple):
    """CPUs and memory: the CPUs of each NUMA node, those isolated from the scheduler, bytes of memory, the ARC's limit (0: no ZFS).

    `reserved` are huge pages by size in KiB: how many there are.
    """

    nodes: Mapping[int, frozenset[int]]
    isolated: frozenset[int]
    memory: int
    arc_limit: int
    reserved: Mapping[int, int]


class Ksm(NamedTuple):
    """Kernel samepage merging: whether it runs, how many pages are shared; and the pool of each guest that is in one."""

    runs: bool
    shared: int
    pools: Mapping[int, str]
