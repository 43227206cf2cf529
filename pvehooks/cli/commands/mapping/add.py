"""pvehooks mapping add: makes a PCI mapping of devices of this node, or adds devices to it."""

from __future__ import annotations

import argparse

from pvehooks.actions.pci import mappings, remember
from pvehooks.cli import audit, envelope
from pvehooks.cli import devices as shared
from pvehooks.cli.view import View, view
from pvehooks.derived import bindability, remedies
from pvehooks.derived.passthrough import devices_at
from pvehooks.errors import EXIT_OK, NodeError, Refused
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.formats import checks
from pvehooks.values import NamedTuple, Node, PciDevice, PciMapping, Unread
from pvehooks.wording import printable

SUMMARY = "make a mapping of devices of this node, or add devices to it"
EXAMPLE = "pvehooks mapping add gpu 0000:01:00.0"


class Mappable(NamedTuple):
    """What an entry of a mapping names: its paths, and the device that is the first of them."""

    paths: tuple[str, ...]
    device: PciDevice


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("name", type=name, metavar="MAPPING", help="the mapping, a new one or one that is there")
    parser.add_argument(
        "address",
        nargs="+",
        type=shared.address,
        metavar="ADDRESS",
        help="these devices, of which a VM gets one that is free; without a function (01:00), all functions",
    )


def name(text: str) -> str:
    """An argument that must be what a mapping may be called."""
    if not checks.FORMATS["pve-configid"].accepts(text):
        raise argparse.ArgumentTypeError(f"'{text}' cannot be a mapping's name (a letter, then letters, digits, - or _)")
    return text


def run(options: argparse.Namespace) -> int:
    """Adds an entry for each device; all are looked at before anything is written."""
    seen = view(options, own=True)
    node = seen.facts()
    known = known_mappings(node)
    mapping = known.get(options.name)
    wanted = [mappable((address,), node) for address in options.address]
    entries = with_entries(mapping, wanted, node)
    written = None if mapping is not None and entries == mapping.written else write(seen, node, options.name, entries, mapping, wanted)
    words = f"mapping {options.name}: "
    words += f"it has {', '.join(each.device.label for each in wanted)} for {node.name} {'already' if written is None else 'now'}"
    lines = [*_notes(wanted, node), *([f"Undo: {written.undo}"] if written else [])]
    if options.json:
        envelope.show(seen.host, seen.node, {"mapping": options.name, "changed": written is not None, "entries": entries})
    else:
        print(printable(words))
        for line in (*lines, f"A VM gets it by: qm set VMID --hostpci0 mapping={options.name}"):
            print(printable(f"  {line}"))
    return EXIT_OK


def known_mappings(node: Node) -> dict[str, PciMapping]:
    """The mappings by name; raises NodeError."""
    if isinstance(node.mappings, Unread):
        raise NodeError(f"the PCI mappings cannot be read: {node.mappings.why}")
    return dict(node.mappings)


def mappable(paths: tuple[str, ...], node: Node) -> Mappable:
    """Devices that an entry may name; raises Refused for a bridge and for what the host uses, NodeError for what is not there."""
    found = [device for path in paths for device in shared.named([path], node)]
    for device in found:
        objection = bindability.to_binding(device, node)
        held = not isinstance(node.holders, Unread) and node.holders.get(device.address)
        # What a running VM has may well be mapped: it keeps it.
        if objection and not (held and not device.bridge):
            raise Refused(f"{device.label} {objection.why}", hint=objection.remedy)
    return Mappable(paths, min(devices_at(paths[0], node), key=lambda device: device.address))


def with_entries(mapping: PciMapping | None, wanted: list[Mappable], node: Node) -> tuple[str, ...]:
    """The mapping's entries, with one for each device that it does not have for this node; raises Refused for a malformed one."""
    if mapping is None:
        return tuple(remedies.mapping_entry(node, each.paths, each.device) for each in wanted)
    if mapping.trouble:
        raise Refused(f"the mapping '{mapping.name}' is malformed in /etc/pve/mapping/pci.cfg: {mapping.trouble}")
    there = {tuple(path if path.count(":") > 1 else f"0000:{path}" for path in entry.paths) for entry in mapping.entries}
    new = [remedies.mapping_entry(node, each.paths, each.device) for each in wanted if each.paths not in there]
    return (*mapping.written, *new)


def write(
    seen: View, node: Node, named: str, entries: tuple[str, ...], mapping: PciMapping | None, wanted: list[Mappable]
) -> mappings.WrittenMapping:
    """Writes the mapping and remembers its devices; raises ActionFailed, Refused."""
    mediated = {bool(each.device.mdev_types) or each.device.vgpus for each in wanted}
    if mapping is not None and mediated != {mapping.mdev}:
        kind = "for mediated devices" if mapping.mdev else "not for mediated devices"
        raise Refused(f"the mapping '{named}' is {kind}, and these devices are otherwise", hint="Give them a mapping of their own")
    if len(mediated) > 1:
        raise Refused("some of these devices are for mediated devices, and some are not", hint="Give each kind a mapping of its own")
    with seen.host.undisturbed():
        written = mappings.write(seen.host, seen.node, named, entries, mapping, mdev=True in mediated)
        labels = ", ".join(each.device.label for each in wanted)
        audit.log(seen.host, seen.node, "mapping-changed", f"mapping {named}: it has {labels} for {seen.node}")
        fresh = known_mappings(seen.facts()).get(named)
        if fresh is not None and not isinstance(node.pci, Unread):
            remember.store(seen.host, remember.of_mapping(seen.host, fresh, Fingerprints(seen.host, node.pci)))
    return written


def _notes(wanted: list[Mappable], node: Node) -> list[str]:
    """What is worth knowing of the devices."""
    notes = [note for each in wanted for note in bindability.remarks(each.device, node)]
    if len({(each.device.vendor, each.device.device) for each in wanted}) > 1:
        notes.append("attention: they are of different kinds, and a VM gets any of them")
    return notes
