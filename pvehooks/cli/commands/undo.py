"""pvehooks undo: takes back what inject or the daemon did."""

from __future__ import annotations

import argparse
import json

from pvehooks.actions import rng
from pvehooks.cli import view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed
from pvehooks.facts import node as node_facts
from pvehooks.report.words import of_guest, printable
from pvehooks.values import Guest

EXAMPLE = "pvehooks undo 100"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="+", type=view.vmid, metavar="VMID", help="the guests whose rng0 is to be taken back")


def run(options: argparse.Namespace) -> int:
    """Takes out the rng0 that pvehooks gave, if it still is as it was given."""
    seen = view.view(options, freeing=True)
    node_facts.require_own(seen.host, seen.node)
    reports = []
    for vmid in seen.guest_ids(options.vmid):
        guest = seen.guest(vmid)
        done, words = _one(seen, guest)
        reports.append({"vmid": vmid, "result": "done" if done else "refused", "words": printable(words)})
        if not options.json:
            print(printable(of_guest(guest, words)))
    if options.json:
        print(json.dumps(reports, indent=2))
    return EXIT_OK if all(report["result"] == "done" for report in reports) else EXIT_BLOCKED


def _one(seen: view.View, guest: Guest) -> tuple[bool, str]:
    """Whether its rng0 was taken out, and the words for that."""
    try:
        result = rng.undo(seen.host, guest, seen.settings.rng(guest.vmid))
    except ActionFailed as error:
        return False, f"{error.message}. {error.hint}"
    if not result.done:
        return False, f"nothing was taken out: {result.words}"
    later = "; the guest is running, it goes at its next start" if result.later else ""
    return True, f"rng0 {result.value} was taken out{later}. It is not given again unless you ask: pvehooks inject {guest.vmid}"
