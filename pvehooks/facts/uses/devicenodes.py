"""Devices in use through their device nodes: open by a process, given to a running container, a watchdog that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import device_numbers, names_in, text_of
from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Use, Uses
from pvehooks.values.base import NamedTuple
from pvehooks.values.pci import is_pci_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuests

_SHOWN = 3
_DEVICES = "/sys/bus/pci/devices"
_NVIDIA = "/proc/driver/nvidia/gpus"
# Disks and NICs are looked at elsewhere, input devices are no use, and the rest has no device nodes of the host's.
_SKIPPED = frozenset(
    "block net nvme bsg scsi_disk scsi_device power msi_irqs link wakeup leds hwmon thermal iommu vfio-dev mdev_supported_types".split()
)
_SKIPPED_KINDS = ("ep_", "pci", "input", "nvme", "aer")
_DEEPEST = 14
# Where the nodes of a class are that are not in /dev itself.
_FOLDERS = {"drm": "dri/", "sound": "snd/", "accel": "accel/", "infiniband_verbs": "infiniband/", "infiniband_mad": "infiniband/"}
# A root hub is part of its controller: its node is in use only with a device behind it, which has a node of its own.
_ROOT_HUB = re.compile(r"usb\d+", re.ASCII)
# The classes whose devices have nodes even where a tree lacks the number of it.
_NODES = r"(?:drm/(?:card|renderD)|accel/accel|watchdog/watchdog|tpm/tpm|video4linux/video|infiniband_verbs/uverbs)\d+\Z"


class DeviceNodes:
    """The uses of a device's nodes in /dev. It may look at the open files of all processes: ask it last."""

    def __init__(self, host: Host, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self.host = host
        self.running = running
        self.containers = containers
        self.files = files

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device's nodes; without a driver, or with vfio, it has none of the host's."""
        if device.vfio or not device.driver:
            return Uses()
        found: dict[str, Use] = {}
        unread: tuple[str, ...] = ()
        there = list(nodes(self.host, device.address))
        for node in there:
            opened = list(self._open(node))
            have_it_open = {use.vmid for use in opened}
            for use in (*opened, *(each for each in self._given(node) if each.vmid not in have_it_open)):
                found.setdefault(use.sentence, use)
        if there:
            unread = (*filter(None, (self.files.unread,)), *self.containers.unread)
        return Uses(tuple(found.values()), unread)

    def _open(self, node: DeviceNode) -> Iterator[Use]:
        watchdog = "/watchdog/" in node.place
        processes = [pid for path in node.paths for pid in self.files.pids(path)]
        for vmid, label in dict.fromkeys(map(self._guest, processes)):
            if vmid:
                yield Use(f"is in use by the running {label} through {node.paths[0]}", vmid)
        hosts = []
        for pid in (pid for pid in dict.fromkeys(processes) if not self._guest(pid)[0]):
            container = self.files.container(pid)
            if container:
                words = f"{self.files.words(pid)} in the running {self.containers.label(container)}"
                yield Use(f"is in use through {node.paths[0]} by {words}", container)
            else:
                hosts.append(self.files.words(pid))
        more = f" and {len(hosts) - _SHOWN} more" if len(hosts) > _SHOWN else ""
        who = f" by {', '.join(hosts[:_SHOWN])}{more}" if hosts else ""
        if watchdog and (hosts or self._runs(node)):
            yield Use(f"is the hardware watchdog in use{who} ({node.paths[0]})")
        elif hosts:
            yield Use(f"is in use through {node.paths[0]}{who}")

    def _runs(self, node: DeviceNode) -> bool:
        """Whether the watchdog counts down (the kernel's ABI/testing/sysfs-class-watchdog)."""
        try:
            return self.host.read_text(f"{node.place}/state") == "active"
        except OSError:
            return False

    def _given(self, node: DeviceNode) -> Iterator[Use]:
        for container in self.containers.given(node.paths, node.number):
            yield Use(f"is given to the running {container.label} through {node.paths[0]}", container.vmid)

    def _guest(self, pid: str) -> tuple[int, str]:
        """VMID and label of the running guest whose QEMU the process is, else 0 and ''."""
        guests = self.running.all()
        if isinstance(guests, Unread):
            return 0, ""
        return next(((guest.vmid, guest.label) for guest in guests if str(guest.pid) == pid), (0, ""))


# -- the device nodes, wherever below a device in sysfs they are (the kernel's admin-guide/devices, ABI/stable/sysfs-devices) ---


class DeviceNode(NamedTuple):
    """A device node: its names below /dev, its number ('226:128' as a pair), its place in sysfs."""

    paths: tuple[str, ...]
    number: tuple[int, int] | None
    place: str


def nodes(host: Host, address: str) -> Iterator[DeviceNode]:
    """All device nodes of the device but those of disks and input devices."""
    top = f"{_DEVICES}/{address}"
    for name in _folders(host, top):
        if not is_pci_address(name):
            yield from _below(host, f"{top}/{name}", 1)
    yield from _nvidia(host, address)


def _folders(host: Host, path: str) -> list[str]:
    try:
        return [name for name in host.folders(path) if name not in _SKIPPED and not name.startswith(_SKIPPED_KINDS)]
    except OSError:
        return []


def _below(host: Host, path: str, depth: int) -> Iterator[DeviceNode]:
    number = None if _ROOT_HUB.fullmatch(path.rpartition("/")[2]) else device_numbers(text_of(host, f"{path}/dev"))
    if number is not None or re.search(_NODES, path):
        yield DeviceNode(_paths(host, path), number, path)
    if depth < _DEEPEST:
        for name in _folders(host, path):
            yield from _below(host, f"{path}/{name}", depth + 1)


def _paths(host: Host, place: str) -> tuple[str, ...]:
    """The node's name by its uevent, else by its class' custom; the first watchdog has a second name (watchdog-api)."""
    for line in text_of(host, f"{place}/uevent").split("\n"):
        if line.startswith("DEVNAME="):
            path = "/dev/" + line[8:].removeprefix("/dev/")
            break
    else:
        above, _, name = place.rpartition("/")
        folder = next((folder for kind, folder in _FOLDERS.items() if kind in above.split("/")), "")
        path = f"/dev/{folder}{name}"
    return (path, "/dev/watchdog") if path == "/dev/watchdog0" else (path,)


def _nvidia(host: Host, address: str) -> Iterator[DeviceNode]:
    """NVIDIA's own driver has no entry in sysfs for its nodes; /dev/nvidiactl and the like belong to no device."""
    if address not in names_in(host, _NVIDIA):
        return
    text = text_of(host, f"{_NVIDIA}/{address}/information")
    match = re.search(r"^Device Minor:[ \t]*(\d{1,6})[ \t]*$", text, re.MULTILINE | re.ASCII)
    if match:
        yield DeviceNode((f"/dev/nvidia{match[1]}",), (195, int(match[1])), "")
