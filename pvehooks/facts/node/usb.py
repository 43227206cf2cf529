"""The node's USB devices, as PVE sees them (pve-common, PVE/SysFSTools.pm, scan_usb)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.usb import UsbDevice

DEVICES = "/sys/bus/usb/devices"
# The kernel's driver-api/usb/usb: root hubs are usbN, devices bus-port.port; interfaces have a colon.
_NAME = re.compile(r"(usb\d+)|\d+-\d+(?:\.\d+)*", re.ASCII)
_CONTROLLER = re.compile(r"/([0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])(?=/)")
_HUB = "09"


def read(host: Host) -> Mapping[str, UsbDevice] | Unread:
    """The devices by their names in sysfs, root hubs among them; one that goes meanwhile is left out.

    A kernel that found no USB controller has no such directory: then there are none.
    """
    try:
        names = host.names(DEVICES)
    except FileNotFoundError as error:
        # A tree without any hardware shows nothing of it.
        if host.is_dir("/sys/bus/pci"):
            return {}
        return unread(DEVICES, error)
    except OSError as error:
        return unread(DEVICES, error)
    found = {}
    for name in names:
        match = _NAME.fullmatch(name)
        device = _device(host, name, "" if match[1] else name) if match else None
        if device is not None:
            found[name] = device
    return found


def _device(host: Host, name: str, place: str) -> UsbDevice | None:
    path = f"{DEVICES}/{name}"
    vendor, product = _text(host, f"{path}/idVendor"), _text(host, f"{path}/idProduct")
    if not vendor or not product:
        return None
    words = " ".join(filter(None, (_text(host, f"{path}/manufacturer"), _text(host, f"{path}/product")))) or "USB device"
    controllers = _CONTROLLER.findall(_real(host, path))
    return UsbDevice(
        place, f"{vendor}:{product}", words, controllers[-1] if controllers else "", _text(host, f"{path}/bDeviceClass") == _HUB
    )


def _real(host: Host, path: str) -> str:
    try:
        return host.real(path)
    except OSError:
        return ""


def _text(host: Host, path: str) -> str:
    try:
        return host.read_text(path).strip()
    except OSError:
        return ""
