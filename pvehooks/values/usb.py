"""USB: the node's devices, the cluster's mappings of them, and what a guest's usbN names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.guests import Properties

# PVE's own patterns (qemu-server, PVE/QemuServer/USB.pm).
_ID = re.compile(r"(?:0x)?([0-9A-Fa-f]{4}):(?:0x)?([0-9A-Fa-f]{4})")
_PLACE = re.compile(r"\d+-\d+(?:\.\d+)*", re.ASCII)


class UsbDevice(NamedTuple):
    """A device on the node's USB."""

    # 'bus-port.port', '' for a root hub.
    place: str
    # 'vendor:product' in lower case.
    id: str
    # The name that its vendor gave it.
    words: str
    # The PCI address of its host controller, '' without one.
    controller: str
    hub: bool

    @property
    def label(self) -> str:
        """Its name in messages: "Yubico YubiKey [1050:0407] at port 1-2"."""
        return f"{self.words} [{self.id}]" + (f" at port {self.place}" if self.place else "")


class UsbMapEntry(NamedTuple):
    """An entry of a USB mapping, as written: the expected id, and the port or ''."""

    id: str
    path: str


class UsbMapping(NamedTuple):
    """A mapping of /etc/pve/mapping/usb.cfg: its entries for this node, and all nodes it has entries for."""

    name: str
    entries: tuple[UsbMapEntry, ...]
    nodes: frozenset[str]


class UsbWant(NamedTuple):
    """A reference to a USB device: by its id ('1050:0407') or by its place ('1-2.3'), the other is ''."""

    id: str
    place: str

    @property
    def name(self) -> str:
        """The id or the place."""
        return self.place or self.id


class UsbClaim(NamedTuple):
    """A guest that has, or at boot will have, a USB device of the node."""

    vmid: int
    label: str
    option: str
    running: bool
    onboot: bool


def named(text: str) -> UsbWant | None:
    """The device that a `host=` of usbN, or a path or id of a mapping, refers to; None if it is no device of the node ('spice')."""
    if match := _ID.fullmatch(text):
        return UsbWant(f"{match[1]}:{match[2]}".lower(), "")
    return UsbWant("", text) if _PLACE.fullmatch(text) else None


def wanted(properties: Properties, mappings: Mapping[str, UsbMapping] | Unread) -> UsbWant | None:
    """The node's device that a usbN refers to; None for a SPICE port, if unknown, and for a value that PVE refuses."""
    host, mapping = properties.get("host"), properties.get("mapping")
    if mapping is None:
        return named(str(host or ""))
    if host is not None or isinstance(mappings, Unread) or mapping not in mappings:
        return None
    entries = mappings[str(mapping)].entries
    return named(entries[0].path or entries[0].id) if len(entries) == 1 else None
