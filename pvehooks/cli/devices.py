"""Shared by bind and unbind: the selection of devices, and the reports on them."""

from __future__ import annotations

import argparse
import re

from pvehooks.cli import audit, envelope, root
from pvehooks.derived.passthrough import devices_at, pci_devices
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, NodeError, Refused
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.pci import bindings
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, PciDevice, Unread
from pvehooks.wording import printable

_WRITTEN = re.compile(r"(?:([0-9a-f]{4,}):)?([0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?)", re.ASCII)


class DeviceReport(NamedTuple):
    """The result for one device: done, nothing to do, refused."""

    address: str
    device: str
    result: str
    words: str
    # Its driver now, '' for none.
    driver: str
    # Whether something is recorded for boot.
    persistent: bool
    # Further sentences.
    notes: tuple[str, ...] = ()


def address(text: str) -> str:
    """An argument that must be a PCI address; the domain may be left out, and the function, for all of a slot."""
    match = _WRITTEN.fullmatch(text.lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a PCI address (0000:01:00.0, or 01:00 for all functions)")
    return f"{match[1] or '0000'}:{match[2]}"


def own_host(options: argparse.Namespace) -> tuple[Host, str]:
    """The host and the node's name; raises NodeError for another node. Does not read the settings."""
    # At boot pmxcfs is not needed.
    host = root.host(options, asks_pmxcfs=not getattr(options, "boot", False))
    if not host.is_dir("/"):
        raise NodeError(f"--root {options.root}: there is no such directory")
    node = node_facts.node_name(host, options.node)
    node_facts.require_own(host, node)
    return host, node


def named(addresses: list[str], node: Node) -> list[PciDevice]:
    """The devices at these addresses, each once; of a slot all but bridges. Raises NodeError for an absent device."""
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {node.name} cannot be read: {node.pci.why}")
    found: dict[str, PciDevice] = {}
    for each in addresses:
        devices = [device for device in devices_at(each, node) if "." in each or not device.bridge]
        if not devices:
            raise NodeError(f"there is no PCI device {each} on {node.name}", hint="See: pvehooks host groups")
        found.update((device.address, device) for device in devices)
    return list(found.values())


def only_notes_in_trees(host: Host, now: bool, hint: str = "A binding for boot can be recorded there: --persist") -> None:
    """Raises Refused for a tree if something is to be done now: a tree has no kernel that could do it."""
    if now and not host.is_node:
        raise Refused(f"{host.root} is a tree, without a kernel that could bind anything", hint=hint)


def report(host: Host, device: PciDevice, result: str, words: str, notes: tuple[str, ...] = (), driver: str | None = None) -> DeviceReport:
    """The report of a device; `driver` if it has changed since the device was read."""
    persistent = bindings.noted(host, device.address) is not None
    return DeviceReport(device.address, device.label, result, words, device.driver if driver is None else driver, persistent, notes)


def others_at_boot(host: Host, device: PciDevice, node: Node) -> tuple[str, ...]:
    """Other configuration that gives the device to vfio-pci at boot: by address without comparing it, or by ids with its twins."""
    found = []
    driver = bindings.driverctl(host).get(device.address)
    if driver:
        where = f"{bindings.DRIVERCTL}/pci-{device.address}"
        found.append(f"driverctl gives whatever is at this address to {driver} at boot; to stop that: rm {where}")
    for bound in () if isinstance(node.bound_ids, Unread) else node.bound_ids:
        if (device.vendor, device.device) in bound.ids:
            kind = device.vendor, device.device
            twins = [
                each.address for each in pci_devices(node).values() if (each.vendor, each.device) == kind and each.address != device.address
            ]
            also = f", also {', '.join(twins)}" if twins else ""
            found.append(f"ids= of vfio-pci in {bound.place} takes every device with its ids at boot{also}")
    return tuple(found)


def log_changes(host: Host, node: str, verb: str, reports: list[DeviceReport]) -> None:
    """Logs each device that was changed."""
    for each in reports:
        if each.result == "done":
            audit.log(host, node, "binding-changed", f"{verb}: {each.device}: {each.words}", device=each.address)


def finish(options: argparse.Namespace, host: Host, node: str, reports: list[DeviceReport]) -> int:
    """Prints the reports and gives the exit status."""
    if options.json:
        envelope.show(host, node, {"devices": [_as_json(each) for each in reports]})
    else:
        for each in reports:
            print(printable(f"{each.device}: {'refused: ' if each.result == 'refused' else ''}{each.words}"))
            for note in each.notes:
                print(printable(f"  {note}"))
    return EXIT_BLOCKED if any(each.result == "refused" for each in reports) else EXIT_OK


def _as_json(each: DeviceReport) -> dict[str, object]:
    return {
        **each._asdict(),
        "device": printable(each.device),
        "words": printable(each.words),
        "driver": each.driver or None,
        "notes": [printable(note) for note in each.notes],
    }
