"""pvehooks detach: removes the guard from guests and restores their former hookscripts."""

from __future__ import annotations

import argparse

from pvehooks.actions import guardhook
from pvehooks.cli import guests
from pvehooks.cli.guests import DONE, NOTHING, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.derived.attachment import attached
from pvehooks.values import Guest

SUMMARY = "remove the guard from VMs, and restore their own hookscripts"
EXAMPLE = "pvehooks detach 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    guests.take_some_or_all(parser, "these VMs", "all VMs of this node that have the guard")


def run(options: argparse.Namespace) -> int:
    """Detaches, one guest after the other; the status shows whether one was refused or failed."""
    seen = view(options, own=True, freeing=True)

    def one(guest: Guest) -> GuestReport | None:
        return None if options.all and not attached(guest) else _detach(seen, guest)

    reports = guests.change(options, seen.guests(guests.some_or_all(options, seen)), one)
    return guests.finish(options, seen, reports, f"no VM of {seen.node} has the guard")


def _detach(seen: View, guest: Guest) -> GuestReport:
    if guest.config is not None and not attached(guest):
        own = guest.hookscript
        return GuestReport(NOTHING, f"its hookscript is {own.volid}, which is not the guard" if own else "it does not have the guard")
    result = guardhook.detach(seen.host, guest, seen.settings.rng(guest.vmid))
    if not result.done:
        return GuestReport(REFUSED, f"the guard was not removed: {result.words}.{guests.try_again(result.outcome)}")
    back = f", its own hookscript {result.volid} is restored" if result.volid else ""
    return GuestReport(DONE, f"the guard was removed{back}. It is not attached again unless you run: pvehooks attach {guest.vmid}")
