"""Which devices of the node its guests name, whether they run or not."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.derived.passthrough import functions
from pvehooks.values import Guest, Node, Unread


def named_by_guests(node: Node) -> Mapping[str, tuple[Guest, ...]]:
    """The guests that name a device, templates left out, by its address; all alternatives of a mapping count."""
    found: dict[str, tuple[Guest, ...]] = {}
    for guest in () if isinstance(node.guests, Unread) else node.guests:
        for entry in () if guest.template else guest.hostpci:
            for address in () if isinstance(entry.addresses, Unread) else entry.addresses:
                for device in functions(address, node):
                    if guest not in found.get(device.address, ()):
                        found[device.address] = (*found.get(device.address, ()), guest)
    return found
