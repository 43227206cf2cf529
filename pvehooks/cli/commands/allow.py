"""pvehooks allow: an admin's override for the next start of a guest, whatever the guard finds."""

from __future__ import annotations

import argparse

from pvehooks.actions import accept
from pvehooks.cli import audit, envelope, guests
from pvehooks.cli.guests import GuestReport
from pvehooks.cli.view import View, view
from pvehooks.errors import Refused, UsageError
from pvehooks.values import Allowance, Guest
from pvehooks.wording import printable

SUMMARY = "allow the next start of a VM, whatever the guard finds"
EXAMPLE = 'pvehooks allow 100 --once --reason "the old card is broken anyway"'
_LONGEST_REASON = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", type=guests.vmid, metavar="VMID", help="the VM")
    parser.add_argument("--once", action="store_true", help="for its next start only; required")
    parser.add_argument("--reason", default="", metavar="WHY", help="the reason, which is logged at the start; required")
    parser.add_argument("--cancel", action="store_true", help="cancel the override")


def run(options: argparse.Namespace) -> int:
    """Writes the override to the guest's record, or removes it."""
    reason = " ".join(options.reason.split())
    if not options.cancel:
        _require(options, reason)
    seen = view(options, own=True, freeing=True)

    def one(guest: Guest) -> GuestReport:
        return _cancel(seen, guest) if options.cancel else _allow(seen, guest, reason)

    reports = guests.change(options, [seen.guest(options.vmid)], one)
    if options.json:
        envelope.show(seen.host, seen.node, guests.as_json(*reports[0]))
    return guests.status(reports)


def _require(options: argparse.Namespace, reason: str) -> None:
    example = f'Write: pvehooks allow {options.vmid} --once --reason "..."'
    if not options.once:
        hint = f"{example} To ignore a rule for this VM: ignore in [guest {options.vmid}], pvehooks.conf(5)."
        raise UsageError("--once is required: one start is allowed", hint=hint)
    if not reason:
        raise UsageError("--reason is required: it is logged in the journal", hint=example)
    if len(reason) > _LONGEST_REASON:
        raise UsageError(f"the reason is longer than {_LONGEST_REASON} characters", hint=example)


def _allow(seen: View, guest: Guest, reason: str) -> GuestReport:
    if not guest.needs_guard:
        raise Refused(
            f"{guest.label} has neither passed-through PCI devices nor a firmware image of its own: the guard does not check its start"
        )
    allowance = Allowance(printable(reason), audit.user(), int(seen.host.now()))
    accept.allow(seen.host, guest, allowance)
    words = (
        f"its next start is allowed, whatever the guard finds ({allowance.by}: {allowance.reason});"
        f" a start for a backup or a migration does not use up the permission. Undo: pvehooks allow {guest.vmid} --cancel"
    )
    return GuestReport("allowed", words)


def _cancel(seen: View, guest: Guest) -> GuestReport:
    if guest.allowance is None:
        return GuestReport("unchanged", "there is no override to cancel: its next start is checked as usual")
    accept.allow(seen.host, guest, None)
    return GuestReport("cancelled", f"the override of {guest.allowance.by} is cancelled: its next start is checked as usual")
