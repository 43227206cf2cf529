"""PCI devices, as sysfs shows them (the kernel's ABI/testing/sysfs-bus-pci); each attribute is read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile

from pvehooks.facts.reading import listing_of, names_in, unread
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread
from pvehooks.values.base import cached_property
from pvehooks.values.pci import is_pci_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.boot import PcieLink

_DEVICES = "/sys/bus/pci/devices"
_UNITS = "/sys/class/iommu"
_IDS_LIMIT = 1 << 23
_STANDARD_HEADER = 64
# Header and capabilities, without the extended ones.
_CLASSIC = 256
# Who shows the firmware's framebuffer: the kernel's drivers/firmware/sysfb*.c, drivers/video/fbdev, drivers/gpu/drm/sysfb.
_FRAMEBUFFERS = ("BOOTFB", "simplefb", "simple-framebuffer", "simpledrm", "efifb", "efidrm", "vesafb", "vesadrm")
# IORESOURCE_MEM of the kernel's include/linux/ioport.h, and how many lines of `resource` are BARs (drivers/pci/pci-sysfs.c).
_MEMORY = 0x200
_BARS = 6
# What may stand between a storage controller and its disks (ABI/testing/sysfs-class-scsi_host, sysfs-bus-scsi).
_ON_THE_WAY = ("ata", "host", "port-", "expander-", "end_device-", "target", "virtio")
_DEEPEST = 12
_LINK_FILES = ("current_link_speed", "max_link_speed", "current_link_width", "max_link_width")
# Peripheral device types of SCSI that are disks: direct access, and zoned.
_DISK_TYPES = ("0", "20")


def devices(host: Host) -> Mapping[str, PciDevice] | Unread:
    """The devices by address."""
    addresses = listing_of(host, _DEVICES)
    if isinstance(addresses, Unread):
        return addresses
    bus = _Bus(host)
    return {address: SysfsDevice(address, bus) for address in addresses if is_pci_address(address)}


def _is_uuid(name: str) -> bool:
    return len(name) == 36 and [len(part) for part in name.split("-")] == [8, 4, 4, 4, 12]


class _Bus:
    """What the devices of a node share, read when a device first needs it."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def ids(self) -> bytes:
        """The text of pci.ids, empty where it is not installed."""
        from pvehooks.facts.pci import words as pciwords

        return next(filter(None, (_bytes(self.host, path, _IDS_LIMIT) for path in pciwords.FILES)), b"")

    @cached_property
    def framebuffers(self) -> tuple[tuple[int, int, str], ...]:
        """First and last address, and name, of the console's framebuffers."""
        return tuple(_framebuffers(_bytes(self.host, "/proc/iomem", 1 << 20)))

    @cached_property
    def _units(self) -> dict[str, int]:
        """The address bits of Intel's units by their names; AMD's do not show theirs."""
        found = {}
        for unit in names_in(self.host, _UNITS):
            cap = _number(_bytes(self.host, f"{_UNITS}/{unit}/intel-iommu/cap", 64).decode("ascii", "replace").strip(), -1, 16)
            if cap >= 0:
                found[unit] = (cap >> 16 & 0x3F) + 1
        return found

    def iommu_bits(self, address: str) -> int | None:
        """How many address bits the unit of the device translates."""
        units = self._units
        own = [bits for unit, bits in units.items() if self.host.exists(f"{_UNITS}/{unit}/devices/{address}")]
        return min(own or units.values(), default=None)


class SysfsDevice(PciDevice):
    """A PCI device of this node; each fact is read when it is first asked for."""

    def __init__(self, address: str, bus: _Bus) -> None:
        super().__init__(address)
        self._bus = bus
        self._host = bus.host

    def sibling(self, address: str) -> PciDevice:
        """Another device of this node."""
        return SysfsDevice(address, self._bus)

    # -- what it is ---------------------------------------------------------------------------------------------------

    @cached_property
    def class_code(self) -> int:
        return self._hex("class")

    @cached_property
    def vendor(self) -> int:
        return self._hex("vendor")

    @cached_property
    def device(self) -> int:
        return self._hex("device")

    @cached_property
    def subsystem(self) -> tuple[int, int] | None:
        ids = self._hex("subsystem_vendor"), self._hex("subsystem_device")
        return None if -1 in ids else ids

    @cached_property
    def words(self) -> str:
        from pvehooks.facts.pci import words as pciwords

        return pciwords.words(self._bus.ids, self.vendor, self.device, self.class_code)

    @cached_property
    def boot_vga(self) -> bool:
        return self._text("boot_vga") == "1"

    @cached_property
    def numa(self) -> int:
        return _number(self._text("numa_node"), -1)

    @cached_property
    def bridge(self) -> bool:
        """As PVE decides it (pve-common, SysFSTools.pm, pci_dev_group_bind_to_vfio), or by its class."""
        return self._host.is_dir(f"{_DEVICES}/{self.address}/pci_bus") or self.class_code >> 8 == 0x0604

    @cached_property
    def port(self) -> str:
        if not self.bridge:
            return ""
        from pvehooks.facts.pci import slots

        return slots.port(_bytes(self._host, f"{_DEVICES}/{self.address}/config", _CLASSIC - 1))

    # -- who has it ---------------------------------------------------------------------------------------------------

    @cached_property
    def driver(self) -> str:
        return self._link("driver")

    @cached_property
    def override(self) -> str:
        text = self._text("driver_override")
        return "" if text == "(null)" else text

    @cached_property
    def vfio(self) -> bool:
        """Vendors' variant drivers count: all that vfio has are in vfio-dev."""
        return self.driver == "vfio-pci" or (self.driver != "" and bool(self._names("vfio-dev")))

    @cached_property
    def group(self) -> str:
        return self._link("iommu_group")

    @cached_property
    def group_unread(self) -> str:
        """A device without a group has no link; all else that keeps us from reading is no sign that it is alone."""
        path = f"{_DEVICES}/{self.address}/iommu_group"
        try:
            self._host.link_name(path)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{path}: {error.strerror}"
        try:
            self._host.names(f"{path}/devices")
        except OSError as error:
            return f"{path}/devices: {error.strerror}"
        return ""

    @cached_property
    def members(self) -> tuple[str, ...]:
        """In a group without devices there is still the one that is asked."""
        names = self._names("iommu_group/devices") if self.group else []
        return tuple(sorted({self.address, *filter(is_pci_address, names)}))

    @cached_property
    def physfn(self) -> str:
        return self._link("physfn")

    @cached_property
    def virtfns(self) -> tuple[str, ...]:
        numbers = (name[6:] for name in self._names("") if name.startswith("virtfn"))
        ordered = sorted(int(number) for number in numbers if number.isdecimal())
        return tuple(filter(None, (self._link(f"virtfn{number}") for number in ordered)))

    @cached_property
    def total_vfs(self) -> int | None:
        """The file is there for each device with the capability, whatever driver has it (the kernel's drivers/pci/iov.c)."""
        text = self._text("sriov_totalvfs")
        return int(text) if text.isdecimal() else None

    @cached_property
    def vf_routing(self) -> tuple[int, int] | None:
        offset, stride = _number(self._text("sriov_offset"), 0), _number(self._text("sriov_stride"), 0)
        return (offset, stride) if offset > 0 else None

    @cached_property
    def _place(self) -> list[str]:
        """The parts of its path below /sys/devices: pci0000:00, a bridge, the device."""
        try:
            return self._host.real(f"{_DEVICES}/{self.address}").split("/")
        except OSError:
            return []

    @cached_property
    def on_root_bus(self) -> bool:
        """The directory of a root bus is pci and its number, as VMD's pci10000:e0."""
        return self._place[-2:-1] == [f"pci{self.address[:-5]}"]

    @cached_property
    def upstream(self) -> tuple[str, ...]:
        return tuple(filter(is_pci_address, self._place[:-1]))

    # -- its state ----------------------------------------------------------------------------------------------------

    @cached_property
    def reset_methods(self) -> tuple[str, ...] | Unread:
        """Kernels since 5.15 hide the file for a device that cannot be reset; older ones have only `reset`, which does not show how."""
        path = f"{_DEVICES}/{self.address}"
        try:
            return tuple(self._host.read_text(f"{path}/reset_method").split())
        except FileNotFoundError:
            if self._host.exists(f"{path}/reset"):
                return ("unknown",)
            return () if self._host.exists(path) else Unread(f"{self.address} is gone")
        except OSError as error:
            return unread(f"{path}/reset_method", error)

    @cached_property
    def dead(self) -> bool:
        header = _bytes(self._host, f"{_DEVICES}/{self.address}/config", _STANDARD_HEADER - 1)
        return header == b"\xff" * _STANDARD_HEADER and not self.physfn

    @cached_property
    def power_state(self) -> str:
        """After its config space, by the kernel's drivers/pci/pci-sysfs.c (pci_read_config) and pci.c (pci_config_pm_runtime_get)."""
        return self._text("power_state") if self.dead in (True, False) else ""

    @cached_property
    def framebuffer(self) -> str:
        """Without root, /proc/iomem shows zeros, which are in no BAR."""
        framebuffers = self._bus.framebuffers
        bars = list(_memory_bars(self._text("resource"))) if framebuffers else []
        overlapping = (name for start, end, name in framebuffers for low, high in bars if start <= high and low <= end)
        return next(overlapping, "")

    @cached_property
    def reserved(self) -> tuple[tuple[int, int], ...]:
        """Regions of the kind "direct" (ABI/testing/sysfs-kernel-iommu_groups); "direct-relaxable" and "msi" keep nothing from vfio."""
        rows = (line.split() for line in self._text("iommu_group/reserved_regions").split("\n")) if self.group else ()
        return tuple((_number(row[0], 0, 16), _number(row[1], 0, 16)) for row in rows if row[2:] == ["direct"])

    @cached_property
    def iommu_bits(self) -> int | None:
        """By the unit that has the device, else the smallest of all (Intel's VT-d specification, 11.4.2: MGAW)."""
        return self._bus.iommu_bits(self.address)

    # -- what it can do -----------------------------------------------------------------------------------------------

    @cached_property
    def vgpus(self) -> bool:
        """As PVE decides it (pve-common, SysFSTools.pm, lspci): NVIDIA's driver on kernels since 6.8."""
        return self._host.is_dir(f"{_DEVICES}/{self.address}/nvidia")

    @cached_property
    def vgpu_type(self) -> int:
        """NVIDIA's vGPU User Guide (current_vgpu_type); PVE sets it back to 0 before it makes another (PCI/Mdev.pm, create_nvidia_device)."""
        return _number(self._text("nvidia/current_vgpu_type"), -1)

    @cached_property
    def mdev_types(self) -> Mapping[str, int]:
        """As PVE finds them (pve-common, SysFSTools.pm, get_mdev_types); of NVIDIA's vGPUs only those that could be made now."""
        folder = f"{_DEVICES}/{self.address}/mdev_supported_types"
        if self._host.is_dir(folder):
            names = self._names("mdev_supported_types")
            return {name: _number(self._text(f"mdev_supported_types/{name}/available_instances"), 0) for name in names}
        lines = (line.partition(":") for line in self._text("nvidia/creatable_vgpu_types").split("\n"))
        return {f"nvidia-{number.strip()}": 1 for number, colon, _ in lines if colon and number.strip().isdecimal()}

    @cached_property
    def mdevs(self) -> frozenset[str]:
        """The directories below the device that have a UUID's form (the kernel's driver-api/vfio-mediated-device)."""
        return frozenset(name for name in self._names("") if _is_uuid(name))

    @cached_property
    def serial(self) -> str:
        """Of several disks all, sorted, with commas between. Only what the host's own driver shows can be read."""
        if self.class_code >> 16 != 0x01 or not self.driver:
            return ""
        controllers = self._names("nvme")
        serials = {self._text(f"nvme/{name}/serial").strip() for name in controllers}
        if not controllers:
            serials = set(self._disk_serials(f"{_DEVICES}/{self.address}", 0))
        return ",".join(sorted(filter(None, serials)))

    def _disk_serials(self, path: str, depth: int) -> Iterator[str]:
        """The serials of the SCSI, SATA and virtio disks below a directory of sysfs."""
        for name in names_in(self._host, path):
            if name.startswith(_ON_THE_WAY) and depth < _DEEPEST:
                yield from self._disk_serials(f"{path}/{name}", depth + 1)
            elif name.count(":") == 3:
                yield self._scsi_serial(f"{path}/{name}")
            elif name == "block":
                yield from (self._decoded(f"{path}/block/{disk}/serial") for disk in names_in(self._host, f"{path}/block"))

    def _scsi_serial(self, path: str) -> str:
        """That of the vital product data's page 0x80 (behind four bytes), else the world-wide name."""
        if self._decoded(f"{path}/type") not in _DISK_TYPES:
            return ""
        page = _bytes(self._host, f"{path}/vpd_pg80", 255)
        return page[4:].decode("ascii", "replace").strip("\0 ") or " ".join(self._decoded(f"{path}/wwid").split())

    # -- reading ------------------------------------------------------------------------------------------------------

    def _decoded(self, path: str) -> str:
        try:
            return self._host.read_text(path).strip()
        except OSError:
            return ""

    def _text(self, name: str) -> str:
        return self._decoded(f"{_DEVICES}/{self.address}/{name}")

    def _hex(self, name: str) -> int:
        return _number(self._text(name), -1, 16)

    def _link(self, name: str) -> str:
        try:
            return self._host.link_name(f"{_DEVICES}/{self.address}/{name}")
        except OSError:
            return ""

    def _names(self, name: str) -> list[str]:
        return names_in(self._host, f"{_DEVICES}/{self.address}/{name}")


def _bytes(host: Host, path: str, limit: int) -> bytes:
    try:
        return host.read(path, limit)
    except OSError:
        return b""


def _number(text: str, otherwise: int, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        return otherwise


def _framebuffers(iomem: bytes) -> Iterator[tuple[int, int, str]]:
    """First and last address, and name, of the framebuffers in the text of /proc/iomem."""
    for line in iomem.decode("ascii", "replace").split("\n"):
        addresses, colon, name = line.partition(" : ")
        if colon and name.startswith(_FRAMEBUFFERS):
            start, _, end = addresses.partition("-")
            first, last = _number(start, -1, 16), _number(end, -1, 16)
            if 0 <= first < last:
                yield first, last, name.strip()


def _memory_bars(resource: str) -> Iterator[tuple[int, int]]:
    """First and last address of the memory BARs in the text of `resource`."""
    for line in resource.split("\n")[:_BARS]:
        numbers = [_number(word, -1, 16) for word in line.split()]
        if len(numbers) == 3 and -1 not in numbers and numbers[2] & _MEMORY and numbers[0] < numbers[1]:
            yield numbers[0], numbers[1]


# -- how it does ---------------------------------------------------------------------------------------------------------


# A file a guest: what its last start took, and as what (actions.accept.note_start), until its end was dealt with.
STARTED = "/run/pvehooks/started"


def state(host: Host, address: str) -> dict[str, str]:
    """What shows later whether the device is as it was: its link, its errors so far (ABI/testing/sysfs-bus-pci-devices-aer_stats), its VFs."""
    found = {}
    for name in ("current_link_speed", "current_link_width", "aer_dev_fatal", "aer_dev_nonfatal", "sriov_numvfs"):
        try:
            words = host.read_text(f"{_DEVICES}/{address}/{name}").split()
        except OSError:
            continue
        # The errors by kind, a line each, end with their sum.
        found[name] = words[-1 if name.startswith("aer") else 0] if words else ""
    return found


# -- PCIe links ----------------------------------------------------------------------------------------------------------


def links(host: Host, addresses: Iterable[str]) -> Mapping[str, PcieLink] | Unread:
    """The links by the device's address; devices without one, or whose link is down, are left out."""
    from pvehooks.values.boot import PcieLink

    found = {}
    for address in addresses:
        numbers = [
            *takewhile(lambda number: 0 < number < 255, (_link_number(host, f"{_DEVICES}/{address}/{name}") for name in _LINK_FILES))
        ]
        if len(numbers) == len(_LINK_FILES):
            speed, max_speed, width, max_width = numbers
            found[address] = PcieLink(speed, max_speed, int(width), int(max_width))
    return found


def _link_number(host: Host, path: str) -> float:
    """The number before the unit ("8.0 GT/s PCIe"), 0 where there is none."""
    try:
        return float(host.read_text(path).split()[0])
    except (OSError, ValueError, IndexError):
        return 0
