"""pvehooks undo: removes the rng0 that inject or the daemon added, of some guests or of all."""

from __future__ import annotations

import argparse

from pvehooks.actions import rng0
from pvehooks.cli import guests
from pvehooks.cli.guests import DONE, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.values import Guest

SUMMARY = "remove the rng0 that pvehooks added to a VM"
EXAMPLE = "pvehooks undo 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    guests.take_some_or_all(parser, "these VMs", "all VMs of this node that have an rng0 that pvehooks gave them")


def run(options: argparse.Namespace) -> int:
    """Removes the rng0 that pvehooks added, if it is unchanged."""
    seen = view(options, own=True, freeing=True)

    def one(guest: Guest) -> GuestReport | None:
        return None if options.all and not rng0.has_given(guest) else _undo(seen, guest)

    reports = guests.change(options, seen.guests(guests.some_or_all(options, seen)), one)
    return guests.finish(options, seen, reports, f"no VM of {seen.node} has an rng0 that pvehooks gave it")


def _undo(seen: View, guest: Guest) -> GuestReport:
    result = rng0.undo(seen.host, guest, seen.settings.rng(guest.vmid))
    if not result.done:
        return GuestReport(REFUSED, f"nothing was removed: {result.words}")
    later = "; the VM is running, it takes effect at its next start" if result.later else ""
    return GuestReport(DONE, f"rng0 {result.value} was removed{later}. It is not added again unless you run: pvehooks inject {guest.vmid}")
