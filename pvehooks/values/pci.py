"""PCI devices: their attributes in sysfs, their uses, and the cluster's mappings of them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Protocol, Unread

# Base classes, and classes (pci.ids), of devices with a function of their own: storage, network, display, sound, wireless, processing
# accelerators; USB controllers, SD host controllers.
_WORKING_BASES = frozenset({0x01, 0x02, 0x03, 0x04, 0x0D, 0x12})
_WORKING = frozenset({0x0C03, 0x0805})


def does_work(class_code: int) -> bool:
    """Whether a device of this class (24 bits) has a function of its own: one that is passed through, or that a host would miss."""
    return class_code >> 16 in _WORKING_BASES or class_code >> 8 in _WORKING


def is_pci_address(name: str) -> bool:
    """Whether it can be the name of a PCI device: dddd:bb:ss.f, the domain of four digits or more."""
    domain, _, rest = name.partition(":")
    return len(domain) >= 4 and len(rest) == 7 and rest[2] == ":" and rest[5] == "." and not name.startswith("pci")


def last_pci_address(path: str) -> str:
    """The last PCI address in a path in sysfs, '' for none."""
    return next(filter(is_pci_address, reversed(path.split("/"))), "")


class PciDevice:
    """A PCI device of a node (the kernel's ABI/testing/sysfs-bus-pci).

    `address` is 'dddd:bb:ss.f'. Readers override the facts; here each has the value for "cannot be read": -1 for numbers.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @property
    def class_code(self) -> int:
        """Base class, class and interface: 24 bits."""
        return -1

    @property
    def vendor(self) -> int:
        """The vendor's id."""
        return -1

    @property
    def device(self) -> int:
        """The device's id."""
        return -1

    @property
    def subsystem(self) -> tuple[int, int] | None:
        """(vendor, device) of the subsystem; None without one."""
        return None

    @property
    def driver(self) -> str:
        """The driver it is bound to, '' for none."""
        return ""

    @property
    def override(self) -> str:
        """Its `driver_override`, '' for none."""
        return ""

    @property
    def vfio(self) -> bool:
        """Whether any driver of vfio is bound to it."""
        return False

    @property
    def bridge(self) -> bool:
        """Whether it is a bridge to another bus: PVE never takes such a device."""
        return False

    @property
    def port(self) -> str:
        """What kind of port a bridge is ("root port"), '' for unknown and for all other devices."""
        return ""

    @property
    def group(self) -> str:
        """The number of its IOMMU group, '' for none."""
        return ""

    @property
    def group_unread(self) -> str:
        """Why its group or the group's members cannot be read; '' if they can."""
        return ""

    @property
    def members(self) -> tuple[str, ...]:
        """The addresses of its whole group, sorted, itself included."""
        return (self.address,)

    @property
    def reset_methods(self) -> tuple[str, ...] | Unread:
        """How the kernel would try to reset it, in its order; ("unknown",) on kernels before 5.15, which do not show it."""
        return Unread("it was not read")

    @property
    def dead(self) -> bool:
        """Whether its config space reads all ones; never of a VF, whose ids always do. One that merely sleeps is woken to be read."""
        return False

    @property
    def power_state(self) -> str:
        """D0, D3hot, D3cold or the like, once its config space was read, for which the kernel wakes it from D3cold; '' if unknown."""
        return ""

    @property
    def boot_vga(self) -> bool:
        """Whether it is the graphics card that the firmware used."""
        return False

    @property
    def physfn(self) -> str:
        """The address of a VF's PF, '' for all other devices."""
        return ""

    @property
    def virtfns(self) -> tuple[str, ...]:
        """The addresses of a PF's VFs, by their number."""
        return ()

    @property
    def total_vfs(self) -> int | None:
        """How many VFs it can have; None without SR-IOV."""
        return None

    @property
    def vf_routing(self) -> tuple[int, int] | None:
        """(offset, stride) of its VFs' routing ids from its own (PCIe Base Specification, 9.3.3); None where the kernel does not show them."""
        return None

    @property
    def on_root_bus(self) -> bool:
        """Whether no bridge is above it, so that no reset of a bus reaches it; bus 0 is one wherever nothing more is known."""
        return self.address[-7:-5] == "00"

    @property
    def upstream(self) -> tuple[str, ...]:
        """The addresses of the PCI devices that it hangs off, bridges among them, from the root."""
        return ()

    @property
    def reserved(self) -> tuple[tuple[int, int], ...]:
        """First and last address of the memory that the firmware reserves for its IOMMU group, which the kernel therefore keeps from vfio."""
        return ()

    @property
    def iommu_bits(self) -> int | None:
        """How many address bits its IOMMU translates; None where that is not shown."""
        return None

    @property
    def numa(self) -> int:
        """Its NUMA node, -1 without one."""
        return -1

    @property
    def serial(self) -> str:
        """The serial number of its disk, of several disks separated by commas; '' if unknown."""
        return ""

    @property
    def mdev_types(self) -> Mapping[str, int]:
        """How many mediated devices can still be created on it, by type."""
        return {}

    @property
    def mdevs(self) -> frozenset[str]:
        """The UUIDs of its mediated devices."""
        return frozenset()

    @property
    def vgpus(self) -> bool:
        """Whether NVIDIA's newer driver (kernels since 6.8) provides vGPUs on it."""
        return False

    @property
    def vgpu_type(self) -> int:
        """The number of the type of vGPU that is on it with that driver, 0 for none, -1 if unknown."""
        return -1

    @property
    def framebuffer(self) -> str:
        """The name of the console's framebuffer inside its BARs, '' for none."""
        return ""

    @property
    def words(self) -> str:
        """Its name from pci.ids, with its ids ("Samsung NVMe SSD Controller SM981 [144d:a808]")."""
        return "PCI device"

    def sibling(self, address: str) -> PciDevice:
        """Another device of the same node, by its address, whether or not it exists."""
        return PciDevice(address)

    @property
    def slot(self) -> str:
        """The address without the function."""
        return self.address.rpartition(".")[0]

    @property
    def label(self) -> str:
        """Its name in messages: address and words."""
        return f"{self.address} ({self.words})"


class Use(NamedTuple):
    """One use of a PCI device."""

    # Continues the name of the device: "holds / (ext4 on nvme0n1p2)".
    sentence: str
    # Of the guest or container that uses it, 0 for the host itself.
    vmid: int = 0
    # Whether it does not block a start: the console's framebuffer, the last keyboard, an unused TPM.
    remark: bool = False
    # What to type if it is better than the rule's remedy.
    remedy: str = ""


class Uses(NamedTuple):
    """The uses of a device, and what could not be examined, as phrases."""

    found: tuple[Use, ...] = ()
    unread: tuple[str, ...] = ()


class HostUses(Protocol):
    """The uses by host, containers and other guests; read for each device when needed, because reading is slow."""

    def of(self, device: PciDevice) -> Uses: ...


class Holder(NamedTuple):
    """A guest that has, or at boot will have, a PCI device."""

    vmid: int
    label: str
    # The option, 'args', 'reserved', or 'starting' during its start.
    how: str
    # Whether it has a mediated device of it only.
    mdev: bool = False

    @property
    def state(self) -> str:
        """The guest's state: "running" or "starting"."""
        return "starting" if self.how == "starting" else "running"


class RomFiles(Protocol):
    """The files that `romfile` may name; each is read when it is asked for."""

    def content(self, name: str) -> bytes | Unread: ...


class VfSource(NamedTuple):
    """What gives a PF its VFs at boot."""

    # In words.
    place: str
    # Of the PF, '' where the place does not name it as it is.
    address: str
    # How many VFs, 0 where the place does not say it as a number.
    number: int
    # Why it has no effect, '' where it has.
    trouble: str = ""
    # Whether nothing orders it before the VMs that start at boot.
    late: bool = False


class VfNote(NamedTuple):
    """What is noted of a VF (`pvehooks bind --persist`), and set before each start: its MAC, and the rest as `--vf` takes it; each '' for nothing."""

    mac: str
    rest: str


class VfMacs(NamedTuple):
    """The MACs of a PF's VFs; keys are their numbers, from 0 on."""

    # How many VFs are noted, 0 for none.
    vfs: int
    noted: Mapping[int, VfNote]
    # What the card has; zeros where it was given none.
    shown: Mapping[int, str] | Unread
    # Those with trust=on: their VM may set a MAC of its own.
    trusted: frozenset[int] = frozenset()


class VfSupport(Protocol):
    """What makes VFs on the node. `unbuilt` are the modules in DKMS that are not built for the running kernel, whose release is `release`."""

    @property
    def sources(self) -> tuple[VfSource, ...]: ...

    @property
    def unbuilt(self) -> tuple[str, ...]: ...

    @property
    def release(self) -> str: ...

    def module(self, address: str) -> str: ...

    def interface(self, address: str) -> str: ...

    def macs(self, address: str) -> VfMacs: ...


class MappingEntry(NamedTuple):
    """An entry of a PCI mapping for this node: its addresses as written, and the ids and group that it expects ('' if it has none)."""

    paths: tuple[str, ...]
    id: str
    subsystem_id: str
    iommugroup: str


class PciMapping(NamedTuple):
    """A mapping of /etc/pve/mapping/pci.cfg."""

    name: str
    # For this node.
    entries: tuple[MappingEntry, ...]
    # Whether it is for mediated devices.
    mdev: bool
    # Those that it has entries for.
    nodes: frozenset[str]
    # Whether it is marked live-migration-capable.
    migratable: bool = False
    # What PVE cannot parse in it, '' for nothing.
    trouble: str = ""
    # The entries for all nodes as property strings, in the order of the file.
    written: tuple[str, ...] = ()


class BoundIds(NamedTuple):
    """Ids that vfio-pci takes at boot: (vendor, device) pairs, and where they are configured (file, or kernel command line)."""

    ids: tuple[tuple[int, int], ...]
    place: str
