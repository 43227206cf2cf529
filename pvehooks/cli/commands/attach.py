"""pvehooks attach: adds the guard to guests with passed-through devices."""

from __future__ import annotations

import argparse

from pvehooks.actions import guardhook
from pvehooks.cli import guests
from pvehooks.cli.guests import DONE, NOTHING, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.derived.attachment import attached
from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import members
from pvehooks.values import Guest
from pvehooks.values.stubs import former_of

SUMMARY = "attach the guard to VMs with passed-through devices"
EXAMPLE = "pvehooks attach 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    everything = "all VMs of this node with passed-through devices, except those that it was removed from"
    guests.take_some_or_all(parser, "these VMs, whatever the settings say", everything)


def run(options: argparse.Namespace) -> int:
    """Attaches, one guest after the other; the status shows whether one was refused or failed."""
    seen = view(options, own=True)

    def one(guest: Guest) -> GuestReport | None:
        return None if options.all and (not guest.needs_guard or attached(guest)) else _attach(seen, guest, options.all)

    reports = guests.change(options, seen.guests(guests.some_or_all(options, seen)), one)
    note = "" if options.json or all(report.result != DONE for _, report in reports) else _lacking(seen)
    if note:
        print(note)
    return guests.finish(options, seen, reports, f"all VMs of {seen.node} with passed-through devices have the guard already")


def _lacking(seen: View) -> str:
    """A note about nodes that lack the guard's hookscript, '' without such."""
    try:
        lacking = members.members(seen.host, seen.node).without_package
    except PmxcfsAway:
        return ""
    names = ", ".join(lacking)
    return f"attention: pvehooks is not installed on {names}; a VM with the guard may not start there. Install it there" if lacking else ""


def _attach(seen: View, guest: Guest, with_all: bool) -> GuestReport:
    if with_all and guest.attachment is not None:
        return GuestReport(NOTHING, f"the guard was removed from it before; to attach it again: pvehooks attach {guest.vmid}")
    if attached(guest):
        return GuestReport(NOTHING, "it has the guard already")
    result = guardhook.attach(seen.host, guest, seen.settings.rng(guest.vmid))
    if not result.done:
        return GuestReport(REFUSED, f"the guard was not attached: {result.words}.{guests.try_again(result.outcome)}")
    former = former_of(result.volid)
    before = f"; it runs the VM's own hookscript {former} first" if former else ""
    return GuestReport(DONE, f"the guard was attached{before}. Undo: {result.undo}")
