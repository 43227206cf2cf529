"""pvehooks trust: accepts the devices a guest would start with now, as if it had started with them."""

from __future__ import annotations

import argparse
import json

from pvehooks.actions import accept
from pvehooks.cli import view
from pvehooks.errors import EXIT_OK, NodeError, Refused
from pvehooks.facts import hardware
from pvehooks.facts import node as node_facts
from pvehooks.report.words import of_guest, printable
from pvehooks.rules import passthrough, start
from pvehooks.values import Guest, NamedTuple, Node, Severity, Unread

EXAMPLE = "pvehooks trust 100"


class Report(NamedTuple):
    """What became of one guest: accepted, unchanged, forgotten; `accepted` are the devices that are new, in words.

    `refused` is why its start would be refused all the same: a use is not to be accepted.
    """

    vmid: int
    result: str
    words: str
    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="+", type=view.vmid, metavar="VMID", help="the guests whose present devices are accepted")
    parser.add_argument("--forget", action="store_true", help="forget what was accepted, also by starts")


def run(options: argparse.Namespace) -> int:
    """Notes devices and group members of each guest, and says what is new in that."""
    seen = view.view(options, freeing=True)
    node_facts.require_own(seen.host, seen.node)
    reports = []
    guests = [seen.guest(vmid) for vmid in seen.guest_ids(options.vmid)]
    node = hardware.gather(seen.host, seen.node)
    if not options.forget:
        # All are asked of before anything is noted of one.
        for guest in guests:
            _require_devices(guest, node)
    for guest in guests:
        report = _forget(seen, guest) if options.forget else _trust(seen, guest, node)._replace(refused=_still(seen, guest.vmid))
        reports.append(report)
        if not options.json:
            print(printable(of_guest(guest, report.words)))
            for each in report.accepted:
                print(printable(f"  {each}"))
            for each in report.refused:
                print(printable(f"  its start would be refused all the same: {each}"))
    if options.json:
        print(json.dumps([report._asdict() for report in reports], indent=2))
    return EXIT_OK


def _still(seen: view.View, vmid: int) -> tuple[str, ...]:
    (verdict,) = seen.verdicts([vmid])
    blocking = (item.finding for item in verdict.findings if item.finding.severity is Severity.BLOCK and not item.ignored)
    return tuple(f"{found.message} [{found.rule}]" for found in blocking if found.rule in start.RULES)


def _forget(seen: view.View, guest: Guest) -> Report:
    if guest.accepted is None:
        return Report(guest.vmid, "unchanged", "there is nothing to forget: no start of it was accepted")
    accept.note(seen.host, guest, None)
    return Report(guest.vmid, "forgotten", "what it started with before counts no more; its next start is examined as its first one")


def _require_devices(guest: Guest, node: Node) -> None:
    if not guest.hostpci:
        raise Refused(f"{guest.label} has no passed-through PCI devices: there is nothing to accept", hint=f"See: qm config {guest.vmid}")
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {node.name} cannot be read: {node.pci.why}")
    if not passthrough.named(guest, node):
        raise Refused(f"none of the PCI devices of {guest.label} is on the bus", hint=f"See: pvehooks check {guest.vmid}")


def _trust(seen: view.View, guest: Guest, node: Node) -> Report:
    change = accept.change(guest, node)
    if not change.words:
        return Report(guest.vmid, "unchanged", "its devices and group members are accepted already")
    words = "its devices are accepted as they are now, and what shares their IOMMU groups"
    words += f" (take it back: pvehooks trust {guest.vmid} --forget)" + ("; what is new:" if guest.accepted else ":")
    accept.note(seen.host, guest, change.accepted)
    return Report(guest.vmid, "accepted", words, change.words)
