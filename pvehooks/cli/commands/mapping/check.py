"""pvehooks mapping check: does each PCI mapping fit the hardware of each node, and which other nodes have such a device?"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pvehooks.cli import envelope
from pvehooks.cli.commands.mapping import add
from pvehooks.cli.view import view
from pvehooks.derived import remedies
from pvehooks.derived.passthrough import devices_at, pci_devices
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from pvehooks.facts.cluster import summaries
from pvehooks.host import Host
from pvehooks.rules.start.mappings import mismatches
from pvehooks.values import NamedTuple, Node, PciMapping, Unread
from pvehooks.wording import printable

SUMMARY = "compare the mappings with the devices of all nodes"
EXAMPLE = "pvehooks mapping check"
FITS, WRONG, UNKNOWN, COULD = "fits", "does not fit", "unknown", "not mapped"


class MappingRow(NamedTuple):
    """A mapping on a node: `state` is FITS, WRONG, UNKNOWN, or COULD where the node has such a device and no entry."""

    mapping: str
    node: str
    state: str
    words: str
    # What to type, '' for nothing.
    command: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("name", nargs="*", metavar="MAPPING", help="only these mappings (default: all)")


def run(options: argparse.Namespace) -> int:
    """Prints a line for each mapping and node; the status shows whether an entry does not fit."""
    seen = view(options)
    nodes = list(_nodes(seen.host, seen.facts()))
    known = add.known_mappings(seen.facts())
    rows = [row for name, mapping in sorted(known.items()) if not options.name or name in options.name for row in _rows(mapping, nodes)]
    if options.json:
        envelope.show(seen.host, seen.node, {"mappings": [{key: printable(value) for key, value in row._asdict().items()} for row in rows]})
    else:
        for row in rows:
            print(printable(f"{row.mapping} on {row.node}: {row.state}: {row.words}"))
            if row.command:
                print(printable(f"  {row.command}"))
        if not rows:
            print("there are no PCI mappings" if not known else "no mapping has this name")
    return EXIT_BLOCKED if any(row.state == WRONG for row in rows) else EXIT_OK


def _nodes(host: Host, own: Node) -> Iterator[Node]:
    """This node, and the others as their summaries describe them."""
    yield own
    for standing in summaries.standings(host, own.name):
        if standing.node != own.name:
            yield summaries.node(host, standing)


def _rows(mapping: PciMapping, nodes: list[Node]) -> Iterator[MappingRow]:
    if mapping.trouble:
        yield MappingRow(mapping.name, "all nodes", WRONG, f"/etc/pve/mapping/pci.cfg, {mapping.trouble}")
        return
    kinds = {each.partition("id=")[2].partition(",")[0] for each in mapping.written}
    for node in nodes:
        known = node.mappings
        here = None if isinstance(known, Unread) else known.get(mapping.name)
        if isinstance(node.pci, Unread):
            if here is not None and here.entries:
                yield MappingRow(mapping.name, node.name, UNKNOWN, node.pci.why)
        elif here is None or not here.entries:
            yield from _unmapped(mapping, kinds, node)
        else:
            yield _mapped(here, node)
    for name in sorted(mapping.nodes - {node.name for node in nodes}):
        yield MappingRow(mapping.name, name, WRONG, "there is no node of this name")


def _mapped(mapping: PciMapping, node: Node) -> MappingRow:
    paths = [path if path.count(":") > 1 else f"0000:{path}" for entry in mapping.entries for path in entry.paths]
    absent = [path for path in paths if not devices_at(path, node)]
    wrong = list(mismatches(mapping, node))
    if absent:
        words = f"there is no PCI device {', '.join(absent)}"
        return MappingRow(mapping.name, node.name, WRONG, words, f"on {node.name}: pvehooks follow {mapping.name} --dry-run")
    if not wrong:
        return MappingRow(mapping.name, node.name, FITS, ", ".join(device.label for path in paths for device in devices_at(path, node)[:1]))
    mdev = next((each.value for each in wrong if each.name == "mdev"), "")
    words = "; ".join(f"it {each.words}" for each in wrong)
    return MappingRow(mapping.name, node.name, WRONG, words, remedies.mapping_as_is(mapping, node, mdev))


def _unmapped(mapping: PciMapping, kinds: set[str], node: Node) -> Iterator[MappingRow]:
    """A node without an entry that has devices of the kind."""
    alike = [each for each in pci_devices(node).values() if f"{each.vendor:04x}:{each.device:04x}" in kinds and not each.bridge]
    if alike:
        words = f"it has {', '.join(each.label for each in alike)}"
        yield MappingRow(mapping.name, node.name, COULD, words, f"on {node.name}: pvehooks mapping add {mapping.name} {alike[0].address}")
