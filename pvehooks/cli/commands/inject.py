"""pvehooks inject: gives guests their rng0 because a person asked for it."""

from __future__ import annotations

import argparse
import json
from typing import NamedTuple

from pvehooks.actions import rng
from pvehooks.cli import view
from pvehooks.cli.commands.attach import again
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed
from pvehooks.facts import node as node_facts
from pvehooks.judge import wants_rng0
from pvehooks.report.words import of_guest, printable
from pvehooks.values import Asked, Verdict

EXAMPLE = "pvehooks inject 100 --dry-run"


class Report(NamedTuple):
    """What became of one guest: done, would be done, nothing to do, refused."""

    vmid: int
    result: str
    words: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=view.vmid, metavar="VMID", help="these guests, whatever the settings say of them")
    parser.add_argument("--all", action="store_true", help="all guests of this node that the settings want to have one")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.set_defaults(verb="inject")


def run(options: argparse.Namespace) -> int:
    """Injects, one guest after the other; the status tells whether one was refused or failed."""
    seen = view.view(options)
    node_facts.require_own(seen.host, seen.node)
    vmids = view.some_or_all(options, seen)
    reports = []
    for verdict in seen.verdicts(vmids, Asked.ALL if options.all else Asked.BY_NAME):
        report = _one(seen, verdict, options)
        if report is not None:
            reports.append(report)
            if not options.json:
                print(printable(of_guest(verdict.guest, report.words)))
    if options.json:
        print(json.dumps([report._asdict() for report in reports], indent=2))
    elif not reports:
        print(f"no guest of {seen.node} lacks an rng0 that the settings want it to have")
    return EXIT_BLOCKED if any(report.result == "refused" for report in reports) else EXIT_OK


def _one(seen: view.View, verdict: Verdict, options: argparse.Namespace) -> Report | None:
    """One guest; None with --all for those that are to be left out without a word."""
    guest, injection = verdict.guest, verdict.injection
    settings = seen.settings.rng(guest.vmid)
    if options.all and not any(wants_rng0(item.finding, settings) and not item.ignored for item in verdict.findings):
        return None
    if not injection.due:
        return Report(guest.vmid, *_not_due(verdict))
    if options.dry_run:
        return Report(guest.vmid, "would be done", f"would be given rng0 {settings.value}, because: {injection.why}")
    try:
        result = rng.inject(seen.host, guest, settings)
    except ActionFailed as error:
        return Report(guest.vmid, "refused", f"{error.message}. {error.hint}")
    if not result.done:
        return Report(guest.vmid, "refused", f"not given an rng0: {result.words}.{again(result.outcome)}")
    later = "; the guest is running, it takes effect at its next start" if result.later else ""
    return Report(guest.vmid, "done", f"given rng0 {result.value}{later}. Take it back: pvehooks undo {guest.vmid}")


def _not_due(verdict: Verdict) -> tuple[str, str]:
    guest, held = verdict.guest, verdict.injection.held
    if held is not None:
        return "refused", f"{held.message}. {held.remedy}"
    if guest.config is None:
        return "refused", f"not given an rng0: {guest.problems[0][1]}"
    if not guest.uefi:
        return "nothing to do", "needs no rng0: it does not boot with UEFI (bios: ovmf)"
    return "nothing to do", "has an RNG device already"
