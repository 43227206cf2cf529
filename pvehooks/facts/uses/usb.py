"""USB controllers with devices that running guests have: a controller that is passed through takes all devices at its ports with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pvehooks.facts.reading import folders_in
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Use, Uses
from pvehooks.values.base import NamedTuple
from pvehooks.values.usb import UsbMapping, named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuest, RunningGuests

USB_CLASS = 0x0C03
_DEVICES = "/sys/bus/pci/devices"
# The names of USB devices in sysfs: bus-port.port (the kernel's driver-api/usb/usb); hubs of the controller are usbN.
_PLUGGED = r"\d+-\d+(?:\.\d+)*"
_OPTION = r"usb\d+"
_DEEPEST = 8


class GivenUsbDevice(NamedTuple):
    """A USB device that a guest was given: by vendor and product ('1050:0407') or by its place ('1-2.3'), the other ''."""

    id: str
    place: str
    guest: RunningGuest


class UsbUses:
    """The devices at a USB controller that running guests were given."""

    def __init__(self, host: Host, running: RunningGuests) -> None:
        self.host = host
        self.running = running
        self._wanted: list[GivenUsbDevice] | None = None
        self._unread: tuple[str, ...] = ()
        self._mappings: Mapping[str, UsbMapping] | Unread | None = None

    def of(self, device: PciDevice) -> Uses:
        """The uses of a USB controller by guests; nothing of other devices, nor of one that vfio has."""
        if device.class_code >> 8 != USB_CLASS or device.vfio:
            return Uses()
        if self._wanted is None:
            self._wanted = self._look()
        found: dict[Use, None] = {}
        if self._wanted:
            for place, path in plugged(self.host, device.address):
                for use in self._uses(place, path):
                    found[use] = None
        return Uses(tuple(found), self._unread)

    def _uses(self, place: str, path: str) -> Iterator[Use]:
        ids = f"{self._text(f'{path}/idVendor')}:{self._text(f'{path}/idProduct')}".lower()
        for wanted in self._wanted or ():
            if place == wanted.place or (wanted.id and ids == wanted.id):
                name = " ".join(filter(None, (self._text(f"{path}/manufacturer"), self._text(f"{path}/product")))) or "a USB device"
                yield Use(f"has {name} [{ids}] at port {place}, which the running {wanted.guest.label} was given", wanted.guest.vmid)

    def _look(self) -> list[GivenUsbDevice]:
        guests = self.running.all()
        if isinstance(guests, Unread):
            self._unread = (f"which VMs have its USB devices ({guests.why})",)
            return []
        found: list[GivenUsbDevice] = []
        for guest in guests:
            found += _started_with(guest)
            if guest.mentions(b"usb"):
                found += self._configured(guest)
        return found

    def _configured(self, guest: RunningGuest) -> Iterator[GivenUsbDevice]:
        """What the live config gives it: devices may be plugged in while it runs (qemu-server, PVE/QemuServer/USB.pm)."""
        for option, value in guest.options().items():
            if re.fullmatch(_OPTION, option):
                for part in str(value).split(","):
                    key, equals, text = part.partition("=")
                    if key == "mapping" and equals:
                        yield from (_wanted(each, guest) for each in self._mapped(text))
                    elif not equals or key == "host":
                        yield _wanted(text if equals else key, guest)

    def _mapped(self, name: str) -> Iterator[str]:
        """What a mapping names on this node: a place where it has one, else the id (PVE/Mapping/USB.pm in pve-guest-common)."""
        if self._mappings is None:
            from pvehooks.facts.cluster import mappings

            self._mappings = mappings.read_usb(self.host, self.running.node)
        if isinstance(self._mappings, Unread):
            self._unread = (f"which USB devices are mapped ({self._mappings.why})",)
        elif name in self._mappings:
            yield from (entry.path or entry.id for entry in self._mappings[name].entries)

    def _text(self, path: str) -> str:
        try:
            return self.host.read_text(path).strip()
        except OSError:
            return ""


def plugged(host: Host, address: str) -> Iterator[tuple[str, str]]:
    """(place, directory in sysfs) of each USB device below a PCI device, hubs among them."""
    top = f"{_DEVICES}/{address}"
    for name in folders_in(host, top):
        if name.startswith("usb") and name[3:].isdecimal():
            yield from _below(host, f"{top}/{name}", 0)
        elif name.startswith("xhci-hcd."):
            for hub in folders_in(host, f"{top}/{name}"):
                yield from _below(host, f"{top}/{name}/{hub}", 0)


def _below(host: Host, path: str, depth: int) -> Iterator[tuple[str, str]]:
    for name in folders_in(host, path):
        if re.fullmatch(_PLUGGED, name):
            yield name, f"{path}/{name}"
            if depth < _DEEPEST:
                yield from _below(host, f"{path}/{name}", depth + 1)


def _started_with(guest: RunningGuest) -> Iterator[GivenUsbDevice]:
    """What QEMU's command line gives it (print_usbdevice_full in PVE/QemuServer/USB.pm)."""
    for word in guest.cmdline:
        if not word.startswith("usb-host,"):
            continue
        parts = dict(part.partition("=")[::2] for part in word.split(","))
        if "hostbus" in parts and "hostport" in parts:
            yield GivenUsbDevice("", f"{parts['hostbus']}-{parts['hostport']}", guest)
        elif "vendorid" in parts and "productid" in parts:
            yield _wanted(f"{parts['vendorid']}:{parts['productid']}", guest)


def _wanted(text: str, guest: RunningGuest) -> GivenUsbDevice:
    """PVE's 'host': an id, a place, or 'spice', which is none of the node's devices."""
    want = named(text)
    return GivenUsbDevice(want.id, want.place, guest) if want else GivenUsbDevice("", "", guest)
