"""pvehooks allow: a person's word that a guest's next start goes through, whatever the guard finds."""

from __future__ import annotations

import argparse
import json

from pvehooks.actions import accept
from pvehooks.cli import audit, view
from pvehooks.errors import EXIT_OK, Refused, UsageError
from pvehooks.facts import node as node_facts
from pvehooks.report.words import of_guest, printable
from pvehooks.values import Allowance, Guest

EXAMPLE = 'pvehooks allow 100 --once --reason "the old card is broken anyway"'
_LONGEST_REASON = 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", type=view.vmid, metavar="VMID", help="the guest")
    parser.add_argument("--once", action="store_true", help="for its next start only; there is no other way")
    parser.add_argument("--reason", default="", metavar="WHY", help="why; the journal says it at the start")
    parser.add_argument("--cancel", action="store_true", help="take it back")


def run(options: argparse.Namespace) -> int:
    """Notes the word in the guest's record, or takes it out."""
    reason = " ".join(options.reason.split())
    if not options.cancel:
        _require(options, reason)
    seen = view.view(options, freeing=True)
    node_facts.require_own(seen.host, seen.node)
    guest = seen.guest(options.vmid)
    if options.cancel:
        result, words = _cancel(seen, guest)
    else:
        if not guest.needs_guard:
            raise Refused(
                f"{guest.label} has neither passed-through PCI devices nor a firmware image of its own: nothing keeps it from starting"
            )
        allowance = Allowance(printable(reason), audit.who(), int(seen.host.now()))
        accept.allow(seen.host, guest, allowance)
        result = "allowed"
        words = (
            f"its next start goes through, whatever the guard finds ({allowance.by}: {allowance.reason});"
            f" a start for a backup or a migration does not use that up. Take it back: pvehooks allow {guest.vmid} --cancel"
        )
    if options.json:
        print(json.dumps({"vmid": guest.vmid, "result": result, "words": words}, indent=2))
    else:
        print(printable(of_guest(guest, words)))
    return EXIT_OK


def _require(options: argparse.Namespace, reason: str) -> None:
    example = f'Write: pvehooks allow {options.vmid} --once --reason "..."'
    if not options.once:
        hint = f"{example} To have a rule not count for this guest: ignore in [guest {options.vmid}], pvehooks.conf(5)."
        raise UsageError("a start is allowed once, say so with --once", hint=hint)
    if not reason:
        raise UsageError("say why, with --reason: the journal keeps it", hint=example)
    if len(reason) > _LONGEST_REASON:
        raise UsageError(f"the reason is longer than {_LONGEST_REASON} characters", hint=example)


def _cancel(seen: view.View, guest: Guest) -> tuple[str, str]:
    if guest.allowance is None:
        return "unchanged", "nothing was to be taken back: no start of it is allowed beforehand"
    accept.allow(seen.host, guest, None)
    return "cancelled", f"the word of {guest.allowance.by} is taken back: its next start is examined as usual"
