"""Shared by all verbs that change VMs: the selection of VMs, the loop over them, and the report on each."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping

from pvehooks.actions.result import Outcome
from pvehooks.cli import envelope
from pvehooks.cli.view import View
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.values import Guest, NamedTuple, Verdict
from pvehooks.wording import of_guest, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    Subject = TypeVar("Subject", Guest, Verdict)

DONE = "done"
NOTHING = "nothing to do"
REFUSED = "refused"
_NO_MORE: Mapping[str, tuple[str, ...]] = {}


class GuestReport(NamedTuple):
    """The result for one VM."""

    # The verb's keyword for JSON.
    result: str
    # The same as a phrase for people.
    words: str
    # Further lines for people.
    details: tuple[str, ...] = ()
    # Further keys for JSON.
    more: Mapping[str, tuple[str, ...]] = _NO_MORE


def vmid(text: str) -> int:
    """An argument that must be a VMID."""
    number = node_facts.vmid_of(f"{text}.conf")
    if number is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a VMID (a number from 100 to 999999999)")
    return number


def take_some_or_all(parser: argparse.ArgumentParser, some: str, everything: str) -> None:
    """The arguments of a verb that takes VMIDs or --all."""
    parser.add_argument("vmid", nargs="*", type=vmid, metavar="VMID", help=some)
    parser.add_argument("--all", action="store_true", help=everything)
    parser.set_defaults(example=f"{parser.prog} 100")


def some_or_all(options: argparse.Namespace, seen: View) -> list[int]:
    """The VMIDs named, or all with --all; raises UsageError for none or both, GuestNotHere."""
    if bool(options.vmid) == bool(options.all):
        raise UsageError("name the VMs by their VMIDs, or give --all for all VMs of this node", hint=f"Example: {options.example}")
    return seen.guest_ids(options.vmid)


def _guest_of(subject: Guest | Verdict) -> Guest:
    return subject.guest if isinstance(subject, Verdict) else subject


def change(
    options: argparse.Namespace, subjects: Iterable[Subject], one: Callable[[Subject], GuestReport | None]
) -> list[tuple[int, GuestReport]]:
    """Changes one VM after the other, and prints the result of each; the others are changed even if one fails.

    `one` returns None for a VM that is left out without a message.
    """
    reports = []
    for subject in subjects:
        guest = _guest_of(subject)
        try:
            report = one(subject)
        except ActionFailed as failed:
            report = GuestReport(REFUSED, f"{failed.message}. {failed.hint}".rstrip())
        if report is None:
            continue
        reports.append((guest.vmid, report))
        if not options.json:
            print(printable(of_guest(guest, report.words)))
            for line in report.details:
                print(printable(f"  {line}"))
    return reports


def finish(options: argparse.Namespace, seen: View, reports: list[tuple[int, GuestReport]], nothing: str = "") -> int:
    """Prints the JSON, or `nothing` if no VM had a report, and returns the exit status."""
    if options.json:
        envelope.show(seen.host, seen.node, {"guests": [as_json(*each) for each in reports]})
    elif not reports:
        print(nothing)
    return status(reports)


def status(reports: Iterable[tuple[int, GuestReport]]) -> int:
    """Whether a change was refused or failed."""
    return EXIT_BLOCKED if any(report.result == REFUSED for _, report in reports) else EXIT_OK


def as_json(number: int, report: GuestReport) -> dict[str, object]:
    """The report on the VM of that number, for programs."""
    more = {name: [printable(line) for line in lines] for name, lines in report.more.items()}
    return {"vmid": number, "result": report.result, "words": printable(report.words), **more}


def try_again(outcome: Outcome) -> str:
    """The hint for an outcome that another attempt may change."""
    if outcome is Outcome.WAITING:
        # qm's own message for a cluster without quorum is "Permission denied".
        return " No quorum? See: pvecm status. Then try it again."
    return " Try it again." if outcome in (Outcome.CHANGED, Outcome.LOCKED) else ""
