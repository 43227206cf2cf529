"""pvehooks undo: takes back what inject or the daemon did."""

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
    parser.add_argument("vmid", nargs="+", type=guests.vmid, metavar="VMID", help="these VMs")


def run(options: argparse.Namespace) -> int:
    """Takes out the rng0 that pvehooks gave, if it still is as it was given."""
    seen = view(options, own=True, freeing=True)
    return guests.finish(options, guests.change(options, seen.guests(seen.guest_ids(options.vmid)), lambda guest: _undo(seen, guest)))


def _undo(seen: View, guest: Guest) -> GuestReport:
    result = rng0.undo(seen.host, guest, seen.settings.rng(guest.vmid))
    if not result.done:
        return GuestReport(REFUSED, f"nothing was taken out: {result.words}")
    later = "; the guest is running, it goes at its next start" if result.later else ""
    return GuestReport(
        DONE, f"rng0 {result.value} was taken out{later}. It is not given again unless you ask: pvehooks inject {guest.vmid}"
    )
