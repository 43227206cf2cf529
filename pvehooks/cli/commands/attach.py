"""pvehooks attach: gives guests with passed-through devices the guard."""

from __future__ import annotations

import argparse
import json
from typing import NamedTuple

from pvehooks.actions import attach
from pvehooks.actions.qm import Outcome
from pvehooks.cli import view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed
from pvehooks.facts import members, pmxcfs
from pvehooks.facts import node as node_facts
from pvehooks.report.words import of_guest, printable
from pvehooks.rules.hookscript import attached
from pvehooks.values import Guest
from pvehooks.values.stubs import former_of

EXAMPLE = "pvehooks attach 100"


class Report(NamedTuple):
    """What became of one guest: done, nothing to do, refused."""

    vmid: int
    result: str
    words: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=view.vmid, metavar="VMID", help="these guests, whatever the settings say of them")
    parser.add_argument(
        "--all", action="store_true", help="all guests of this node with passed-through devices, but those it was taken out of"
    )
    parser.set_defaults(verb="attach")


def run(options: argparse.Namespace) -> int:
    """Attaches, one guest after the other; the status tells whether one was refused or failed."""
    seen = view.view(options)
    node_facts.require_own(seen.host, seen.node)
    reports = []
    for vmid in view.some_or_all(options, seen):
        guest = seen.guest(vmid)
        report = _one(seen, guest, options)
        if report is not None:
            reports.append(report)
            if not options.json:
                print(printable(of_guest(guest, report.words)))
    return finish(options, reports, f"no guest of {seen.node} with passed-through devices lacks the guard", _lacking(seen))


def finish(options: argparse.Namespace, reports: list[Report], nothing: str, note: str = "") -> int:
    """Prints what is left to print and gives the exit status."""
    if options.json:
        print(json.dumps([report._asdict() for report in reports], indent=2))
    elif not reports:
        print(nothing)
    elif note and any(report.result == "done" for report in reports):
        print(note)
    return EXIT_BLOCKED if any(report.result == "refused" for report in reports) else EXIT_OK


def _lacking(seen: view.View) -> str:
    """A word on nodes that could not run the guard's hookscript."""
    try:
        lacking = members.members(seen.host, seen.node).lacking
    except pmxcfs.PmxcfsAway:
        return ""
    names = ", ".join(lacking)
    return f"attention: pvehooks is not on {names}; a guest that has the guard may not start there. Install it there" if lacking else ""


def _one(seen: view.View, guest: Guest, options: argparse.Namespace) -> Report | None:
    """One guest; None with --all for those that are to be left out without a word."""
    if options.all and (not guest.needs_guard or attached(guest)):
        return None
    if options.all and guest.attachment is not None:
        return Report(guest.vmid, "nothing to do", f"the guard was taken out of it before; if you want it: pvehooks attach {guest.vmid}")
    if attached(guest):
        return Report(guest.vmid, "nothing to do", "it has the guard already")
    try:
        result = attach.attach(seen.host, guest, seen.settings.rng(guest.vmid))
    except ActionFailed as error:
        return Report(guest.vmid, "refused", f"{error.message}. {error.hint}")
    if not result.done:
        return Report(guest.vmid, "refused", f"the guard was not attached: {result.words}.{again(result.outcome)}")
    former = former_of(result.volid)
    before = f"; its own hookscript {former} is run by it first" if former else ""
    return Report(guest.vmid, "done", f"the guard was attached{before}. Take it out: pvehooks detach {guest.vmid}")


def again(outcome: Outcome) -> str:
    """Words for an outcome that another try may better."""
    if outcome is Outcome.WAITING:
        # qm's own words for a cluster without quorum are "Permission denied".
        return " No quorum? See: pvecm status. Then try it again."
    return " Try it again." if outcome in (Outcome.CHANGED, Outcome.LOCKED) else ""
