"""pvehooks bind --list: what is bound to vfio-pci now or at boot, by whom, and what does not match. Not a verb."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from pvehooks.actions.pci import vfs
from pvehooks.cli import envelope
from pvehooks.derived.passthrough import holder_phrase
from pvehooks.errors import EXIT_OK, NodeError
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, PciDevice, Unread
from pvehooks.wording import printable

_VFIO = "vfio-pci"


class BoundDeviceRow(NamedTuple):
    """A device that is bound, or is to be bound at boot."""

    address: str
    label: str
    # Its driver now.
    driver: str
    # The vendor and device id of the device at the address now, '' for none.
    id: str
    # Those of the device recorded for boot, '' for none.
    noted: str
    # What bound it, as phrases.
    by: tuple[str, ...]
    # The guests that use it.
    users: tuple[str, ...]
    # What does not match, as phrases.
    troubles: tuple[str, ...]


def show(host: Host, node: Node, options: argparse.Namespace) -> int:
    """Prints the list, of the addresses named or of all."""
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {node.name} cannot be read: {node.pci.why}")
    lines = [line for line in _lines(host, node, node.pci) if _wanted(line.address, options.address)]
    if options.json:
        envelope.show(host, node.name, {"devices": [_as_json(line) for line in lines]})
        return EXIT_OK
    for line in lines:
        on = f"on {line.driver}" if line.driver else "without a driver" if line.id else "not on the bus"
        print(printable("; ".join((f"{line.label}: {on}", *line.by, *line.users))))
        for trouble in line.troubles:
            print(printable(f"  attention: {trouble}"))
    if not lines:
        print(f"no PCI device of {node.name} is bound to {_VFIO}, now or at boot")
    return EXIT_OK


def _wanted(address: str, named: list[str]) -> bool:
    return not named or any(address == each or address.startswith(f"{each}.") for each in named)


def _lines(host: Host, node: Node, devices: Mapping[str, PciDevice]) -> list[BoundDeviceRow]:
    noted, by_driverctl = bindings.all_noted(host), bindings.driverctl(host)
    found = []
    for address in sorted({*devices, *noted, *by_driverctl}):
        device = devices.get(address)
        by = tuple(_by(host, node, address, device, noted.get(address), by_driverctl.get(address, "")))
        if by:
            found.append(_line(host, node, address, device, noted.get(address), by))
    return found


def _by(host: Host, node: Node, address: str, device: PciDevice | None, note: BootBinding | Unread | None, driverctl: str) -> list[str]:
    """What binds it now or at boot, as phrases."""
    found = []
    if isinstance(note, BootBinding):
        found.append(f"{note.purpose} at every boot by pvehooks")
        found += [f"virtual function {number}: {settings.text}" for number, settings in note.vf_settings]
    elif note is not None:
        found.append("recorded for boot, but the file cannot be read")
    if driverctl and (driverctl == _VFIO or note is not None or (device is not None and device.vfio)):
        found.append(f"{driverctl} at every boot by driverctl, whatever is at the address")
    if device is None:
        return found
    bound_ids = () if isinstance(node.bound_ids, Unread) else node.bound_ids
    places = [bound.place for bound in bound_ids if (device.vendor, device.device) in bound.ids]
    found += [f"{_VFIO} at every boot by ids= in {place}, for all devices with its ids" for place in places]
    if device.vfio and not found:
        known = bindings.former(host, address) is not None
        found.append(f"until the next boot, bound by {'pvehooks bind' if known else 'a start, or by hand'}")
    elif device.override and not device.vfio and not found:
        found.append(f"driver_override is {device.override}")
    return found


def _line(
    host: Host, node: Node, address: str, device: PciDevice | None, note: BootBinding | Unread | None, by: tuple[str, ...]
) -> BoundDeviceRow:
    meant = note if isinstance(note, BootBinding) else None
    noted_id = f"{meant.identity.vendor:04x}:{meant.identity.device:04x}" if meant else ""
    if device is None:
        label = meant.label if meant else address
        return BoundDeviceRow(address, label, "", "", noted_id, by, (), ("nothing is on the bus at this address",))
    holders = () if isinstance(node.holders, Unread) else node.holders.get(address, ())
    users = tuple(holder_phrase(holder) if holder.state == "starting" else f"{holder_phrase(holder)}, running" for holder in holders)
    troubles = [note.why] if isinstance(note, Unread) else _troubles(host, device, meant) if meant else []
    return BoundDeviceRow(
        address, device.label, device.driver, f"{device.vendor:04x}:{device.device:04x}", noted_id, by, users, tuple(troubles)
    )


def _troubles(host: Host, device: PciDevice, note: BootBinding) -> list[str]:
    differences = identity.differences(note.identity, identity.of(host, device))
    if differences:
        return [f"not the device that was recorded to get {note.purpose}, so nothing is done with it at boot: {'; '.join(differences)}"]
    if note.vfs is None:
        return [] if device.vfio else [f"it is not on {_VFIO} now: pvehooks bind {device.address} --now"]
    present = vfs.present(host, device.address)
    return [] if present == note.vfs else [f"it has {present} now: pvehooks bind {device.address} --vfs {note.vfs} --now"]


def _as_json(line: BoundDeviceRow) -> dict[str, object]:
    return {
        "address": line.address,
        "device": printable(line.label),
        "there": bool(line.id),
        "driver": line.driver or None,
        "id": line.id or None,
        "noted_id": line.noted or None,
        "bound_by": [printable(each) for each in line.by],
        "users": [printable(each) for each in line.users],
        "troubles": [printable(each) for each in line.troubles],
        # Deprecated.
        "by": [printable(each) for each in line.by],
    }
