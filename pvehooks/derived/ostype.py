"""What a guest's `ostype` and `machine` mean to PVE."""

from __future__ import annotations

import re

from pvehooks.values import Guest

_OLD_WINDOWS = {"wxp": 5, "w2k3": 5, "w2k": 5, "w2k8": 6, "wvista": 6}
_WINDOWS = re.compile(r"win(\d{1,4})", re.ASCII)
_VERSION = re.compile(r"(?:pc(?:-i440fx|-q35)?|virt)-(\d{1,4})\.(\d{1,4})", re.ASCII)
# What PVE pins a Windows guest without a version to, and from which version on to the one that it was made with.
_PINNED, _PINS_CREATION = (5, 1), (9, 1)

Version = tuple[int, int]


def windows_version(guest: Guest) -> int:
    """The Windows version of its ostype (10 for win10), 0 where it is no Windows (qemu-server, Helpers.pm)."""
    ostype = str(guest.options.get("ostype", ""))
    match = _WINDOWS.fullmatch(ostype)
    return int(match[1]) if match else _OLD_WINDOWS.get(ostype, 0)


def named_version(guest: Guest) -> Version | None:
    """The version that its machine type names, None without one."""
    match = _VERSION.match(str(guest.properties("machine").get("type", "")))
    return (int(match[1]), int(match[2])) if match else None


def machine_version(guest: Guest) -> Version | None:
    """The machine version that the guest is held to; None where it gets the newest that the node has (qemu-server, Machine.pm)."""
    version = named_version(guest)
    if version or not windows_version(guest):
        return version
    made = re.match(r"(\d{1,4})\.(\d{1,4})", str(guest.properties("meta").get("creation-qemu", "")), re.ASCII)
    created = (int(made[1]), int(made[2])) if made else _PINNED
    return created if created >= _PINS_CREATION else _PINNED
