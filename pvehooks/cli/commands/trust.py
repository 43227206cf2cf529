"""pvehooks trust: accepts the devices a guest would start with now, as if it had started with them."""

from __future__ import annotations

import argparse

from pvehooks.actions import accept
from pvehooks.actions.pci import remember
from pvehooks.cli import guests
from pvehooks.cli.guests import GuestReport
from pvehooks.cli.view import View, view
from pvehooks.derived import passthrough
from pvehooks.errors import NodeError, Refused
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.rules.engine import asked_at_start
from pvehooks.values import Guest, Node, Severity, Unread

SUMMARY = "accept the devices that a VM would start with now"
EXAMPLE = "pvehooks trust 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="+", type=guests.vmid, metavar="VMID", help="these VMs")
    parser.add_argument("--forget", action="store_true", help="forget what was accepted, also by earlier starts")


def run(options: argparse.Namespace) -> int:
    """Records devices and group members of each guest, and shows what is new."""
    seen = view(options, own=True, freeing=True)
    chosen = list(seen.guests(seen.guest_ids(options.vmid)))
    node = seen.facts()
    if not options.forget:
        # All guests are checked before anything is recorded.
        for guest in chosen:
            _require_devices(guest, node)

    def one(guest: Guest) -> GuestReport:
        if options.forget:
            return _report(*_forget(seen, guest))
        return _report(*_trust(seen, guest, node), _still(seen, guest.vmid))

    return guests.finish(options, seen, guests.change(options, chosen, one))


def _report(result: str, words: str, accepted: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> GuestReport:
    """The result for one guest: accepted, unchanged, forgotten; `accepted` are labels of the devices that are new.

    `refused` is why its start would still be refused: a device in use cannot be accepted.
    """
    details = (*accepted, *(f"its start would still be refused: {each}" for each in refused))
    return GuestReport(result, words, details, {"accepted": accepted, "refused": refused})


def _still(seen: View, vmid: int) -> tuple[str, ...]:
    (verdict,) = seen.verdicts([vmid])
    blocking = (item.finding for item in verdict.findings if item.finding.severity is Severity.BLOCK and not item.ignored)
    return tuple(f"{found.message} [{found.rule}]" for found in blocking if found.rule in asked_at_start())


def _forget(seen: View, guest: Guest) -> tuple[str, str]:
    if guest.accepted is None:
        return "unchanged", "there is nothing to forget: no devices of it were accepted"
    accept.record_accepted(seen.host, guest, None)
    return "forgotten", "the accepted devices are forgotten; its next start is checked like a first one"


def _require_devices(guest: Guest, node: Node) -> None:
    if not guest.passes_through:
        raise Refused(f"{guest.label} has no passed-through PCI devices: there is nothing to accept", hint=f"See: qm config {guest.vmid}")
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {node.name} cannot be read: {node.pci.why}")
    if not passthrough.named(guest, node):
        raise Refused(f"none of the PCI devices of {guest.label} is on the bus", hint=f"See: pvehooks check {guest.vmid}")


def _trust(seen: View, guest: Guest, node: Node) -> tuple[str, str, tuple[str, ...]]:
    change = accept.change(guest, node)
    remember.renew(seen.host, guest, Fingerprints(seen.host, passthrough.pci_devices(node)))
    if not change.words:
        return "unchanged", "its devices and group members are accepted already", ()
    words = "its devices are accepted as they are now, and the other devices in their IOMMU groups"
    words += f" (undo: pvehooks trust {guest.vmid} --forget)" + ("; new are:" if guest.accepted else ":")
    accept.record_accepted(seen.host, guest, change.accepted)
    return "accepted", words, change.words
