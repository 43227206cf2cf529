"""pvehooks inject: adds an rng0 to guests on request."""

from __future__ import annotations

import argparse

from pvehooks.actions import rng0
from pvehooks.cli import guests
from pvehooks.cli.guests import DONE, NOTHING, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.judge import wants_rng0
from pvehooks.values import Asked, Verdict

SUMMARY = "add an rng0 to VMs that lack one"
EXAMPLE = "pvehooks inject 100 --dry-run"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    guests.take_some_or_all(parser, "these VMs, whatever the settings say", "all VMs of this node that need one according to the settings")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and change nothing")


def run(options: argparse.Namespace) -> int:
    """Injects, one guest after the other; the status shows whether one was refused or failed."""
    seen = view(options, own=True)
    verdicts = seen.verdicts(guests.some_or_all(options, seen), Asked.ALL if options.all else Asked.BY_NAME)

    def one(verdict: Verdict) -> GuestReport | None:
        return None if options.all and not _is_wanted(seen, verdict) else _inject(seen, verdict, options.dry_run)

    reports = guests.change(options, verdicts, one)
    return guests.finish(options, seen, reports, f"no VM of {seen.node} lacks an rng0 that it needs according to the settings")


def _is_wanted(seen: View, verdict: Verdict) -> bool:
    settings = seen.settings.rng(verdict.guest.vmid)
    return any(wants_rng0(item.finding, settings) and not item.ignored for item in verdict.findings)


def _inject(seen: View, verdict: Verdict, dry_run: bool) -> GuestReport:
    guest, injection = verdict.guest, verdict.rng0_decision
    settings = seen.settings.rng(guest.vmid)
    if not injection.due:
        return _not_due(verdict)
    if dry_run:
        return GuestReport("would be done", f"rng0 {settings.value} would be added, because: {injection.why}")
    result = rng0.inject(seen.host, guest, settings)
    if not result.done:
        return GuestReport(REFUSED, f"rng0 was not added: {result.words}.{guests.try_again(result.outcome)}")
    later = "; the VM is running, it takes effect at its next start" if result.later else ""
    return GuestReport(DONE, f"rng0 {result.value} was added{later}. Undo: {result.undo}")


def _not_due(verdict: Verdict) -> GuestReport:
    guest, held = verdict.guest, verdict.rng0_decision.prevented_by
    if held is not None:
        return GuestReport(REFUSED, f"{held.message}. {held.remedy}")
    if guest.config is None:
        return GuestReport(REFUSED, f"rng0 was not added: {guest.problems[0][1]}")
    if not guest.uefi:
        return GuestReport(NOTHING, "needs no rng0: it does not boot with UEFI (bios: ovmf)")
    return GuestReport(NOTHING, "has an RNG device already")
