"""pvehooks host groups: the IOMMU groups, what is in them and who uses it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pvehooks.cli import envelope, guests, terminal
from pvehooks.cli.view import view
from pvehooks.derived import groups
from pvehooks.errors import EXIT_OK, NodeError
from pvehooks.report import tree as grouptree
from pvehooks.values import Guest, Iommu, Node, Unread
from pvehooks.values.groups import Group
from pvehooks.wording import and_more, of_guest, printable

SUMMARY = "show the IOMMU groups, and what uses each device"
EXAMPLE = "pvehooks host groups --free"


# By state: the mark (also shown without colours) and the style; a clean group that is free is green.
_MARKS = {"clean": ("+", "bold"), "shared": ("!", "bold yellow"), "bridges": ("-", "dim"), "board": ("-", "dim"), "no group": ("?", "dim")}
_CLEAN_AND_FREE = "bold green"
_WHO = {"free": "cyan", "host": "red", "guest": "magenta", "unknown": "yellow"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("--guest", type=guests.vmid, metavar="VMID", help="only the groups of the devices of this VM")
    parser.add_argument("--free", action="store_true", help="only groups that can be passed through now without harm")


def run(options: argparse.Namespace) -> int:
    """Prints the groups."""
    seen = view(options, looking=True).once()
    guest = None if options.guest is None else seen.guest(options.guest)
    node = seen.facts()
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {seen.node} cannot be read: {node.pci.why}")
    wanted = None if guest is None else groups.named(guest, node)
    every = groups.groups(node, None if wanted is None else frozenset(wanted.there))
    shown = tuple(group for group in every if group.free) if options.free else every
    absent = wanted.absent if wanted else ()
    if options.json:
        envelope.show(seen.host, seen.node, _document(node.iommu, shown, absent))
    else:
        _show(node, every, shown, guest, absent)
    return EXIT_OK


def _document(iommu: Iommu | Unread, groups: tuple[Group, ...], absent: tuple[tuple[str, str], ...]) -> dict[str, object]:
    return {
        "iommu": {
            "active": None if isinstance(iommu, Unread) else iommu.active,
            "why": printable(iommu.why) or None,
            "acs_override": None if isinstance(iommu, Unread) else iommu.acs_override or None,
        },
        "groups": [grouptree.as_json(group) for group in groups],
        "absent": [{"option": option, "address": address} for option, address in absent],
    }


def _show(
    node: Node, groups: tuple[Group, ...], shown: tuple[Group, ...], guest: Guest | None, absent: tuple[tuple[str, str], ...]
) -> None:
    iommu = node.iommu
    if isinstance(iommu, Unread) or not iommu.active:
        unknown = f"whether {node.name} has an IOMMU is unknown" if isinstance(iommu, Unread) else f"{node.name} has no IOMMU groups"
        terminal.write(f"{unknown}: {iommu.why}")
    _groups(shown)
    if guest is not None:
        for option, address in absent:
            terminal.write(of_guest(guest, f"{option}: {address} is not on the bus"))
        if not groups and not absent:
            terminal.write(of_guest(guest, "it has no passed-through PCI devices"))
    unread: dict[str, list[str]] = {}
    for member in (member for group in shown for member in group.members):
        for why in member.unread:
            unread.setdefault(why, []).append(member.device.address)
    for why, addresses in unread.items():
        terminal.write(f"not examined of {and_more(addresses, 3)}: {why}")
    _close(node, iommu, groups, guest)


def _groups(groups: Iterable[Group]) -> None:
    """Prints the groups: trees on a terminal, lines in a pipe."""
    if terminal.on_terminal():
        _tree(groups)
        return
    for group in groups:
        print(printable(f"{_MARKS[group.state][0]} {grouptree.headline(group)}"))
        for member in group.members:
            print(printable(f"    {member.device.label}: {'; '.join(grouptree.details(member))}"))


def _tree(groups: Iterable[Group]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    console = Console(highlight=False)
    for group in groups:
        mark, style = _MARKS[group.state]
        style = _CLEAN_AND_FREE if group.free and group.state == "clean" else style
        tree = Tree(Text(printable(f"{mark} {grouptree.headline(group)}"), style=style), guide_style="dim")
        for member in group.members:
            text = Text(printable(member.device.label), style="dim" if member.device.bridge else "")
            text.append("\n")
            for number, detail in enumerate(grouptree.details(member)):
                style = _WHO.get(grouptree.whose(member), "") if number == 0 and not member.device.bridge else "dim"
                text.append("; " if number else "", style="dim").append(printable(detail), style=style)
            tree.add(text)
        console.print(tree)


def _close(node: Node, iommu: Iommu | Unread, groups: tuple[Group, ...], guest: Guest | None) -> None:
    """Prints the lines about the node as a whole."""
    if isinstance(iommu, Unread) or not iommu.active:
        print("nothing can be passed through without an IOMMU")
        return
    if iommu.acs_override:
        terminal.write(
            f"attention: these groups exist only because of pcie_acs_override={iommu.acs_override}; the hardware does not isolate them"
        )
    if guest is None:
        terminal.write(grouptree.summary(groups, node.name))
