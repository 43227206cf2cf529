"""The devices that a guest boots from, in their order.

Source: device_bootorder and bootorder_from_legacy in PVE/QemuServer.pm (qemu-server 9.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.formats.checks import split_list
from pvehooks.formats.propertystring import PropertyError, drive, drives, is_cdrom, is_cloudinit, parse
from pvehooks.values import BootOrder, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

_DEFAULT_LETTERS = "cdn"
_NICS = tuple(f"net{number}" for number in range(32))
_FIRMWARE_DISKS = ("efidisk0", "tpmstate0")


def devices(main: Mapping[str, Value]) -> BootOrder:
    """The boot order that QEMU gets for these options of a config. Nothing raises."""
    if "boot" not in main:
        return _from_letters(main, _DEFAULT_LETTERS, "default")
    try:
        boot = parse("boot", str(main["boot"]))
    except PropertyError:
        return _from_letters(main, _DEFAULT_LETTERS, "default")
    if "legacy" in boot:
        return _from_letters(main, str(boot["legacy"]), "legacy")
    if "order" not in boot:
        return BootOrder((), (), "none")
    bootable: list[str] = []
    missing: list[str] = []
    for device in _by_last_mention(split_list(str(boot["order"]))):
        (bootable if _is_bootable(main, device) else missing).append(device)
    return BootOrder(tuple(bootable), tuple(missing), "order")


def _by_last_mention(names: Iterable[str]) -> list[str]:
    """PVE numbers devices and letters in a hash: the last mention gives the place."""
    places = {name: place for place, name in enumerate(names)}
    return sorted(places, key=places.__getitem__)


def _is_bootable(main: Mapping[str, Value], device: str) -> bool:
    value = str(main.get(device, ""))
    if value in ("", "0"):
        return False
    if device.startswith("usb"):
        return not _is_spice(device, value)
    if device.startswith(("net", "hostpci")):
        return True
    return drive(device, value) is not None


def _is_spice(device: str, value: str) -> bool:
    """USB.pm gives a redirected port no place in the boot order."""
    try:
        return parse(device, value).get("host") == "spice"
    except PropertyError:
        return True


def _from_letters(main: Mapping[str, Value], letters: str, source: Literal["legacy", "default"]) -> BootOrder:
    disks = dict(drives(main))
    bootdisk = str(main.get("bootdisk", ""))
    cdroms = [option for option, parts in disks.items() if is_cdrom(parts) and not is_cloudinit(parts)]
    groups = {
        "c": [bootdisk] if bootdisk in disks and bootdisk not in (*cdroms, *_FIRMWARE_DISKS) else [],
        "d": cdroms,
        "n": [nic for nic in _NICS if main.get(nic)],
    }
    missing = [bootdisk] if bootdisk and "c" in letters and bootdisk not in disks else []
    return BootOrder(
        tuple(device for letter in _by_last_mention(letters) for device in groups.get(letter, ())),
        tuple(missing),
        source,
    )
