"""Where the devices sit: root ports, switches, slots, links and NUMA nodes. One meaning for HTML, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pvehooks.report import picture
from pvehooks.report.content import Report
from pvehooks.report.picture import Box, Cell
from pvehooks.values import NamedTuple, PciDevice, Unread
from pvehooks.values.boot import PcieLink, PciSlot
from pvehooks.wording import ranges

# Of CPUs, so many ranges are shown.
_RANGES = 8
_WORDS = {True: "root port", False: "bridge"}


class Place(NamedTuple):
    """A device where it sits, with what hangs off it. `slot` is the slot that it, or what hangs off it, is in ('' for none)."""

    cell: Cell
    box: Box
    slot: str
    link: PcieLink | None
    below: tuple[Place, ...]
    # What is plugged into a USB controller.
    usb: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What a bridge is; '' for other devices."""
        device = self.cell.member.device
        return (device.port or _WORDS[device.on_root_bus]) if device.bridge else ""

    @property
    def matters(self) -> bool:
        """Whether it, or something below, can be passed through or is shown for its own sake."""
        return bool(self.below) or not (self.cell.member.device.bridge or self.cell.member.board)


class RootBus(NamedTuple):
    """A bus that no bridge leads to ("0000:00"), its NUMA node (-1 for none, or several), and what is on it."""

    name: str
    numa: int
    places: tuple[Place, ...]


def roots(report: Report) -> tuple[RootBus, ...]:
    """The devices as a tree for each root bus, in the order of their addresses."""
    cells = {cell.member.device.address: (cell, box) for box in picture.boxes(report) for cell in box.cells}
    below: dict[str, list[str]] = {}
    for address in sorted(cells):
        below.setdefault(_parent(cells[address][0].member.device, cells), []).append(address)
    slots = slot_names(report)
    links = {} if isinstance(report.hardware.links, Unread) else report.hardware.links
    plugged = _usb(report)

    def place(address: str) -> Place:
        children = tuple(place(each) for each in below.get(address, ()))
        return Place(*cells[address], slots.get(address, ""), links.get(address), children, plugged.get(address, ()))

    found = []
    for bus in sorted(name for name in below if name not in cells):
        places = tuple(place(address) for address in below[bus])
        nodes = {each.numa for each in _devices(places)} - {-1}
        found.append(RootBus(bus, nodes.pop() if len(nodes) == 1 else -1, places))
    return tuple(found)


def _usb(report: Report) -> dict[str, tuple[str, ...]]:
    """What is plugged in, hubs apart, by the address of its controller."""
    found: dict[str, tuple[str, ...]] = {}
    for device in () if isinstance(report.hardware.usb, Unread) else report.hardware.usb.values():
        if device.place and not device.hub:
            found[device.controller] = (*found.get(device.controller, ()), device.label)
    return found


def cpus_of(report: Report, numa: int) -> str:
    """The CPUs of a NUMA node as a list ("0-15, 32-47"), '' for unknown."""
    layout = report.hardware.layout
    return "" if isinstance(layout, Unread) else ranges(layout.nodes.get(numa, ()), _RANGES)


def _parent(device: PciDevice, known: Mapping[str, object]) -> str:
    """The address of the bridge above it, or the name of its root bus."""
    above = [address for address in device.upstream if address in known]
    return above[-1] if above else (device.upstream or (device.address,))[0][:-5]


def _devices(places: Iterable[Place]) -> Iterator[PciDevice]:
    for place in places:
        yield place.cell.member.device
        yield from _devices(place.below)


def slot_names(report: Report) -> dict[str, str]:
    """The names of the slots by the addresses of what sits in them: all functions of a card, or a port."""
    if isinstance(report.hardware.slots, Unread) or isinstance(report.groups, Unread):
        return {}
    names = {slot.address: slot.name for slot in report.hardware.slots if slot.address}
    cards = {address.rpartition(".")[0]: name for address, name in names.items()}
    found = {}
    for device in (member.device for group in report.groups for member in group.members):
        # The ports of a root complex share the number of a device, each is a function of its own.
        name = names.get(device.address, "" if device.bridge else cards.get(device.slot, ""))
        if name:
            found[device.address] = name
    return found


def slot_of(device: PciDevice, names: Mapping[str, str]) -> str:
    """The slot that a device is in, by its own address or by that of a bridge above it; '' for none."""
    return next((names[address] for address in (device.address, *reversed(device.upstream)) if address in names), "")


def empty_slots(report: Report) -> tuple[PciSlot, ...]:
    """The slots in which the firmware has found nothing."""
    return () if isinstance(report.hardware.slots, Unread) else tuple(slot for slot in report.hardware.slots if slot.used is False)


def link_words(link: PcieLink) -> str:
    """A link in words: "8 GT/s x8 (PCIe 3) of 16 GT/s x16 (PCIe 4)"."""
    return link.now if is_full(link) else f"{link.now} of {link.could}"


def is_full(link: PcieLink) -> bool:
    """Whether the link is as fast and as wide as the device could have it."""
    return link.speed >= link.max_speed and link.width >= link.max_width
