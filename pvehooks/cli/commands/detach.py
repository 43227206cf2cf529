"""pvehooks detach: takes the guard out of guests and puts their former hookscripts back."""

from __future__ import annotations

import argparse

from pvehooks.actions import attach
from pvehooks.cli import view
from pvehooks.cli.commands.attach import Report, again, finish
from pvehooks.errors import ActionFailed
from pvehooks.facts import node as node_facts
from pvehooks.report.words import of_guest, printable
from pvehooks.rules.hookscript import attached
from pvehooks.values import Guest

EXAMPLE = "pvehooks detach 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=view.vmid, metavar="VMID", help="these guests")
    parser.add_argument("--all", action="store_true", help="all guests of this node that have the guard")
    parser.set_defaults(verb="detach")


def run(options: argparse.Namespace) -> int:
    """Takes out, one guest after the other; the status tells whether one was refused or failed."""
    seen = view.view(options, freeing=True)
    node_facts.require_own(seen.host, seen.node)
    reports = []
    for vmid in view.some_or_all(options, seen):
        guest = seen.guest(vmid)
        if options.all and not attached(guest):
            continue
        report = _one(seen, guest)
        reports.append(report)
        if not options.json:
            print(printable(of_guest(guest, report.words)))
    return finish(options, reports, f"no guest of {seen.node} has the guard")


def _one(seen: view.View, guest: Guest) -> Report:
    if guest.config is not None and not attached(guest):
        own = guest.hookscript
        words = f"its hookscript is {own.volid}, which is none of the guard's" if own else "it does not have the guard"
        return Report(guest.vmid, "nothing to do", words)
    try:
        result = attach.detach(seen.host, guest, seen.settings.rng(guest.vmid))
    except ActionFailed as error:
        return Report(guest.vmid, "refused", f"{error.message}. {error.hint}")
    if not result.done:
        return Report(guest.vmid, "refused", f"the guard was not taken out: {result.words}.{again(result.outcome)}")
    back = f", its own hookscript {result.volid} is back" if result.volid else ""
    return Report(
        guest.vmid, "done", f"the guard was taken out{back}. It is not attached again unless you ask: pvehooks attach {guest.vmid}"
    )
