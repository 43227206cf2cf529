"""The machine's PCI devices, in sysfs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from tests.kernel.hardware import PLACES

DEVICES = "/sys/bus/pci/devices"
DRIVERS = "/sys/bus/pci/drivers"


def address(name: str, places: Mapping[str, tuple[str, ...]] = PLACES) -> str:
    """The address of a device by its name here; LookupError without one."""
    path, found = "/sys/devices/pci0000:00", ""
    for step in places[name]:
        names = [entry for entry in os.listdir(path) if re.fullmatch(rf"0000:[0-9a-f]{{2}}:{re.escape(step)}", entry)]
        if len(names) != 1:
            raise LookupError(f"{name}: {len(names)} devices {step} in {path}")
        (found,) = names
        path = f"{path}/{found}"
    return found


def fill_in(text: str) -> str:
    """Puts addresses in the places of <name> (with the function) and <name/> (the slot's)."""
    text = re.sub(r"<([a-z0-9-]+)>", lambda match: address(match[1]), text)
    return re.sub(r"<([a-z0-9-]+)/>", lambda match: address(match[1]).rpartition(".")[0], text)


def read(device: str, attribute: str) -> str:
    """A device's attribute, without blanks around."""
    with open(f"{DEVICES}/{device}/{attribute}", encoding="ascii") as file:
        return file.read().strip()


def write(path: str, text: str) -> None:
    """Into a file of sysfs, in one write; OSError as the kernel answers."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def driver(device: str) -> str:
    """The name of its driver, '' for none."""
    try:
        return os.path.basename(os.readlink(f"{DEVICES}/{device}/driver"))
    except FileNotFoundError:
        return ""


def group(device: str) -> str:
    """The number of its IOMMU group, '' for none."""
    try:
        return os.path.basename(os.readlink(f"{DEVICES}/{device}/iommu_group"))
    except FileNotFoundError:
        return ""


def members(device: str) -> list[str]:
    """Its IOMMU group without the bridges; itself where it has none."""
    if not group(device):
        return [device] if os.path.exists(f"{DEVICES}/{device}") else []
    names = sorted(os.listdir(f"{DEVICES}/{device}/iommu_group/devices"))
    return [name for name in names if not os.path.exists(f"{DEVICES}/{name}/pci_bus")]


def unbind(device: str) -> None:
    """From whatever driver it has."""
    if driver(device):
        write(f"{DEVICES}/{device}/driver/unbind", device)


def probe(device: str) -> None:
    """Has the kernel look for a driver."""
    write("/sys/bus/pci/drivers_probe", device)


def forget_id(device: str) -> bool:
    """Takes a device's ids out of those that vfio-pci was given while running; whether they were there."""
    try:
        write(f"{DRIVERS}/vfio-pci/remove_id", f"{read(device, 'vendor')[2:]} {read(device, 'device')[2:]}")
    except OSError:
        return False
    return True


def block_device(name: str) -> str:
    """The disk of an NVMe by its name here, as /dev/..."""
    top = f"{DEVICES}/{address(name)}/nvme"
    (controller,) = os.listdir(top)
    (namespace,) = (entry for entry in os.listdir(f"{top}/{controller}") if re.fullmatch(r"nvme\d+n\d+", entry))
    return f"/dev/{namespace}"


def interface(name: str) -> str:
    """The network interface of a NIC by its name here."""
    (found,) = os.listdir(f"{DEVICES}/{address(name)}/net")
    return found
