"""Which devices of the node its guests name, and which the host would lose to a list of ids."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.derived.candidates import host_uses
from pvehooks.derived.passthrough import devices_at, pci_devices
from pvehooks.values import Guest, Node, Unread

_ID = re.compile(r"\b([0-9a-fA-F]{4}):([0-9a-fA-F]{4})\b")


def named_by_guests(node: Node) -> Mapping[str, tuple[Guest, ...]]:
    """The guests that name a device, templates left out, by its address; all alternatives of a mapping count."""
    found: dict[str, tuple[Guest, ...]] = {}
    for guest in () if isinstance(node.guests, Unread) else node.guests:
        for entry in () if guest.template else guest.hostpci:
            for address in () if isinstance(entry.addresses, Unread) else entry.addresses:
                for device in devices_at(address, node):
                    if guest not in found.get(device.address, ()):
                        found[device.address] = (*found.get(device.address, ()), guest)
    return found


def host_device_among(text: str, node: Node) -> str:
    """The first device that the host uses and whose id (vendor:device) is in the text, in words; '' for none."""
    ids = {(int(vendor, 16), int(device, 16)) for vendor, device in _ID.findall(text)}
    for device in pci_devices(node).values() if ids else ():
        if (device.vendor, device.device) in ids and not device.bridge:
            held = host_uses(device, node)
            if held:
                return f"{device.label}, which {held[0].sentence},"
    return ""
