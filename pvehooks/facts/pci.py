"""PCI devices, as sysfs shows them (the kernel's ABI/testing/sysfs-bus-pci); each attribute is read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread

_DEVICES = "/sys/bus/pci/devices"
_IDS_LIMIT = 1 << 23
_STANDARD_HEADER = 64
# Who shows the firmware's framebuffer: the kernel's drivers/firmware/sysfb*.c, drivers/video/fbdev, drivers/gpu/drm/sysfb.
_FRAMEBUFFERS = ("BOOTFB", "simplefb", "simple-framebuffer", "simpledrm", "efifb", "efidrm", "vesafb", "vesadrm")
# IORESOURCE_MEM of the kernel's include/linux/ioport.h, and how many lines of `resource` are BARs (drivers/pci/pci-sysfs.c).
_MEMORY = 0x200
_BARS = 6
# What may stand between a storage controller and its disks (ABI/testing/sysfs-class-scsi_host, sysfs-bus-scsi).
_ON_THE_WAY = ("ata", "host", "port-", "expander-", "end_device-", "target", "virtio")
_DEEPEST = 12
# Peripheral device types of SCSI that are disks: direct access, and zoned.
_DISK_TYPES = ("0", "20")


def devices(host: Host) -> Mapping[str, PciDevice] | Unread:
    """The devices by address."""
    try:
        addresses = host.names(_DEVICES)
    except OSError as error:
        return Unread(f"{_DEVICES}: {error.strerror}")
    reader = _Reader(host)
    return {address: PciDevice(address, reader) for address in addresses if _is_address(address)}


def _is_address(name: str) -> bool:
    """Whether it can be the address of a PCI device: an IOMMU group may hold others. Domains may have more than four digits."""
    domain, _, rest = name.partition(":")
    return len(domain) >= 4 and len(rest) == 7 and rest[2] == ":" and rest[5] == "."


def _is_uuid(name: str) -> bool:
    return len(name) == 36 and [len(part) for part in name.split("-")] == [8, 4, 4, 4, 12]


class _Reader:
    """Reads what is asked of a device (values.readers.PciReader)."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ids: bytes | None = None
        self._framebuffers: list[tuple[int, int, str]] | None = None

    # -- what it is ---------------------------------------------------------------------------------------------------

    def class_code(self, device: PciDevice) -> int:
        return self._hex(device, "class")

    def vendor(self, device: PciDevice) -> int:
        return self._hex(device, "vendor")

    def device(self, device: PciDevice) -> int:
        return self._hex(device, "device")

    def subsystem(self, device: PciDevice) -> tuple[int, int] | None:
        ids = self._hex(device, "subsystem_vendor"), self._hex(device, "subsystem_device")
        return None if -1 in ids else ids

    def words(self, device: PciDevice) -> str:
        from pvehooks.facts import pciwords

        if self._ids is None:
            self._ids = next(filter(None, (self._bytes(path, _IDS_LIMIT) for path in pciwords.FILES)), b"")
        return pciwords.words(self._ids, device.vendor, device.device, device.class_code)

    def boot_vga(self, device: PciDevice) -> bool:
        return self._text(device, "boot_vga") == "1"

    def numa(self, device: PciDevice) -> int:
        return _number(self._text(device, "numa_node"), -1)

    def bridge(self, device: PciDevice) -> bool:
        """As PVE tells it (pve-common, SysFSTools.pm, pci_dev_group_bind_to_vfio), or by its class."""
        return self._host.is_dir(f"{_DEVICES}/{device.address}/pci_bus") or device.class_code >> 8 == 0x0604

    # -- who has it ---------------------------------------------------------------------------------------------------

    def driver(self, device: PciDevice) -> str:
        return self._link(device, "driver")

    def override(self, device: PciDevice) -> str:
        text = self._text(device, "driver_override")
        return "" if text == "(null)" else text

    def vfio(self, device: PciDevice) -> bool:
        """Vendors' variant drivers count: all that vfio has are in vfio-dev."""
        return device.driver == "vfio-pci" or (device.driver != "" and bool(self._names(device, "vfio-dev")))

    def group(self, device: PciDevice) -> str:
        return self._link(device, "iommu_group")

    def group_unread(self, device: PciDevice) -> str:
        """A device without a group has no link; all else that keeps us from reading is no sign that it is alone."""
        path = f"{_DEVICES}/{device.address}/iommu_group"
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

    def members(self, device: PciDevice) -> tuple[str, ...]:
        """In a group without devices there is still the one that is asked."""
        names = self._names(device, "iommu_group/devices") if device.group else []
        return tuple(sorted({device.address, *filter(_is_address, names)}))

    def physfn(self, device: PciDevice) -> str:
        return self._link(device, "physfn")

    def virtfns(self, device: PciDevice) -> tuple[str, ...]:
        numbers = (name[6:] for name in self._names(device, "") if name.startswith("virtfn"))
        ordered = sorted(int(number) for number in numbers if number.isdecimal())
        return tuple(filter(None, (self._link(device, f"virtfn{number}") for number in ordered)))

    # -- its state ----------------------------------------------------------------------------------------------------

    def reset_methods(self, device: PciDevice) -> tuple[str, ...] | Unread:
        """Kernels since 5.15 hide the file for a device that cannot be reset; older ones have only `reset`, which tells not how."""
        path = f"{_DEVICES}/{device.address}"
        try:
            return tuple(self._host.read_text(f"{path}/reset_method").split())
        except FileNotFoundError:
            if self._host.exists(f"{path}/reset"):
                return ("unknown",)
            return () if self._host.exists(path) else Unread(f"{device.address} is gone")
        except OSError as error:
            return Unread(f"{path}/reset_method: {error.strerror}")

    def dead(self, device: PciDevice) -> bool:
        header = self._bytes(f"{_DEVICES}/{device.address}/config", _STANDARD_HEADER - 1)
        return header == b"\xff" * _STANDARD_HEADER and not device.physfn

    def framebuffer(self, device: PciDevice) -> str:
        """Without root, /proc/iomem shows zeros, which are in no BAR."""
        if self._framebuffers is None:
            self._framebuffers = list(_framebuffers(self._bytes("/proc/iomem", 1 << 20)))
        bars = list(_memory_bars(self._text(device, "resource"))) if self._framebuffers else []
        overlapping = (name for start, end, name in self._framebuffers for low, high in bars if start <= high and low <= end)
        return next(overlapping, "")

    # -- what it can do -----------------------------------------------------------------------------------------------

    def vgpus(self, device: PciDevice) -> bool:
        """As PVE tells it (pve-common, SysFSTools.pm, lspci): NVIDIA's driver on kernels since 6.8."""
        return self._host.is_dir(f"{_DEVICES}/{device.address}/nvidia")

    def mdev_types(self, device: PciDevice) -> Mapping[str, int]:
        """As PVE finds them (pve-common, SysFSTools.pm, get_mdev_types); of NVIDIA's vGPUs only those that could be made now."""
        folder = f"{_DEVICES}/{device.address}/mdev_supported_types"
        if self._host.is_dir(folder):
            names = self._names(device, "mdev_supported_types")
            return {name: _number(self._text(device, f"mdev_supported_types/{name}/available_instances"), 0) for name in names}
        lines = (line.partition(":") for line in self._text(device, "nvidia/creatable_vgpu_types").splitlines())
        return {f"nvidia-{number.strip()}": 1 for number, colon, _ in lines if colon and number.strip().isdecimal()}

    def mdevs(self, device: PciDevice) -> frozenset[str]:
        """The directories below the device that have a UUID's form (the kernel's driver-api/vfio-mediated-device)."""
        return frozenset(name for name in self._names(device, "") if _is_uuid(name))

    def serial(self, device: PciDevice) -> str:
        """Of several disks all, sorted, with commas between. Only what the host's own driver shows can be read."""
        if device.class_code >> 16 != 0x01 or not device.driver:
            return ""
        controllers = self._names(device, "nvme")
        serials = {self._text(device, f"nvme/{name}/serial").strip() for name in controllers}
        if not controllers:
            serials = set(self._disk_serials(f"{_DEVICES}/{device.address}", 0))
        return ",".join(sorted(filter(None, serials)))

    def _disk_serials(self, path: str, depth: int) -> Iterator[str]:
        """The serials of the SCSI, SATA and virtio disks below a directory of sysfs."""
        for name in self._listed(path):
            if name.startswith(_ON_THE_WAY) and depth < _DEEPEST:
                yield from self._disk_serials(f"{path}/{name}", depth + 1)
            elif name.count(":") == 3:
                yield self._scsi_serial(f"{path}/{name}")
            elif name == "block":
                yield from (self._decoded(f"{path}/block/{disk}/serial") for disk in self._listed(f"{path}/block"))

    def _scsi_serial(self, path: str) -> str:
        """That of the vital product data's page 0x80 (behind four bytes), else the world-wide name."""
        if self._decoded(f"{path}/type") not in _DISK_TYPES:
            return ""
        page = self._bytes(f"{path}/vpd_pg80", 255)
        return page[4:].decode("ascii", "replace").strip("\0 ") or " ".join(self._decoded(f"{path}/wwid").split())

    # -- reading ------------------------------------------------------------------------------------------------------

    def _bytes(self, path: str, limit: int) -> bytes:
        try:
            return self._host.read(path, limit)
        except OSError:
            return b""

    def _decoded(self, path: str) -> str:
        try:
            return self._host.read_text(path).strip()
        except OSError:
            return ""

    def _text(self, device: PciDevice, name: str) -> str:
        return self._decoded(f"{_DEVICES}/{device.address}/{name}")

    def _hex(self, device: PciDevice, name: str) -> int:
        return _number(self._text(device, name), -1, 16)

    def _link(self, device: PciDevice, name: str) -> str:
        try:
            return self._host.link_name(f"{_DEVICES}/{device.address}/{name}")
        except OSError:
            return ""

    def _names(self, device: PciDevice, name: str) -> list[str]:
        return self._listed(f"{_DEVICES}/{device.address}/{name}")

    def _listed(self, path: str) -> list[str]:
        try:
            return self._host.names(path)
        except OSError:
            return []


def _number(text: str, otherwise: int, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        return otherwise


def _framebuffers(iomem: bytes) -> Iterator[tuple[int, int, str]]:
    """First and last address, and name, of the framebuffers in the text of /proc/iomem."""
    for line in iomem.decode("ascii", "replace").splitlines():
        addresses, colon, name = line.partition(" : ")
        if colon and name.startswith(_FRAMEBUFFERS):
            start, _, end = addresses.partition("-")
            first, last = _number(start, -1, 16), _number(end, -1, 16)
            if 0 <= first < last:
                yield first, last, name.strip()


def _memory_bars(resource: str) -> Iterator[tuple[int, int]]:
    """First and last address of the memory BARs in the text of `resource`."""
    for line in resource.splitlines()[:_BARS]:
        numbers = [_number(word, -1, 16) for word in line.split()]
        if len(numbers) == 3 and -1 not in numbers and numbers[2] & _MEMORY and numbers[0] < numbers[1]:
            yield numbers[0], numbers[1]
