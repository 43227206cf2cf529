"""The device nodes that belong to a PCI device, wherever below it in sysfs they are (the kernel's admin-guide/devices, ABI/stable/sysfs-devices)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import text_of
from pvehooks.facts.uses.places import is_pci_address
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

_DEVICES = "/sys/bus/pci/devices"
# Disks and NICs are looked at elsewhere, input devices are no use, and the rest has no device nodes of the host's.
_SKIPPED = frozenset(
    "block net nvme bsg scsi_disk scsi_device power msi_irqs link wakeup leds hwmon thermal iommu vfio-dev mdev_supported_types".split()
)
_SKIPPED_KINDS = ("ep_", "pci", "input", "nvme", "aer")
_DEEPEST = 14
# Where the nodes of a class are that are not in /dev itself.
_FOLDERS = {"drm": "dri/", "sound": "snd/", "accel": "accel/", "infiniband_verbs": "infiniband/", "infiniband_mad": "infiniband/"}
# The classes whose devices have nodes even where a tree lacks the number of it.
_NODES = r"(?:drm/(?:card|renderD)|accel/accel|watchdog/watchdog|tpm/tpm|video4linux/video|infiniband_verbs/uverbs)\d+\Z"


class Node(NamedTuple):
    """A device node: its names below /dev, its number ('226:128' as a pair), its place in sysfs."""

    paths: tuple[str, ...]
    number: tuple[int, int] | None
    place: str


def nodes(host: Host, address: str) -> Iterator[Node]:
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


def _below(host: Host, path: str, depth: int) -> Iterator[Node]:
    number = _number(text_of(host, f"{path}/dev"))
    if number is not None or re.search(_NODES, path):
        yield Node(_paths(host, path), number, path)
    if depth < _DEEPEST:
        for name in _folders(host, path):
            yield from _below(host, f"{path}/{name}", depth + 1)


def _paths(host: Host, place: str) -> tuple[str, ...]:
    """The node's name by its uevent, else by its class' custom; the first watchdog has a second name (watchdog-api)."""
    for line in text_of(host, f"{place}/uevent").splitlines():
        if line.startswith("DEVNAME="):
            path = "/dev/" + line[8:].removeprefix("/dev/")
            break
    else:
        above, _, name = place.rpartition("/")
        folder = next((folder for kind, folder in _FOLDERS.items() if kind in above.split("/")), "")
        path = f"/dev/{folder}{name}"
    return (path, "/dev/watchdog") if path == "/dev/watchdog0" else (path,)


def _nvidia(host: Host, address: str) -> Iterator[Node]:
    """NVIDIA's own driver has no entry in sysfs for its nodes; /dev/nvidiactl and the like belong to no device."""
    text = text_of(host, f"/proc/driver/nvidia/gpus/{address}/information")
    match = re.search(r"^Device Minor:\s*(\d+)\s*$", text, re.MULTILINE)
    if match:
        yield Node((f"/dev/nvidia{match[1]}",), (195, int(match[1])), "")


def _number(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(":")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
