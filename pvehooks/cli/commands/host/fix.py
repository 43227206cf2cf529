"""pvehooks host fix: shows what would fix the findings on the node, and with --apply does it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable

from pvehooks.actions.host.apply import AppliedFix, apply, diff
from pvehooks.actions.host.fixes import FIXES
from pvehooks.actions.host.plan import Command, Plan, PlanItem, plan
from pvehooks.actions.host.result import PHRASES, FixResult, ItemResult, results
from pvehooks.cli import audit, envelope
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed, UsageError
from pvehooks.rules.catalogue import RULES
from pvehooks.settings.table import nearest
from pvehooks.wording import printable

SUMMARY = "show how to fix what `host check` finds, and with --apply do it"
EXAMPLE = "pvehooks host fix --plan"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument(
        "rules", nargs="*", metavar="RULE", help="fix what these rules of `host check` find; without a rule, give --plan or --apply"
    )
    parser.add_argument("--plan", action="store_true", help="show what would be changed, for all that can be fixed")
    parser.add_argument("--apply", action="store_true", help="change it, for these rules or for all that --plan shows")


def run(options: argparse.Namespace) -> int:
    """Plans, shows, and with --apply does it; the status shows whether something is left to be done by hand."""
    asked = _asked(options)
    seen = view(options, own=True)
    planned = plan(seen.host, seen.facts(), seen.node_findings, asked)
    if not options.apply:
        if options.json:
            envelope.show(seen.host, seen.node, _document(planned, AppliedFix("", (), (), ()), (), False))
        else:
            _show(planned)
            _close(seen.node, planned, asked)
        return EXIT_BLOCKED if planned.harm or any(item.by_hand for item in planned.items) else EXIT_OK
    if not options.json:
        _show(planned)
        # A closed standard output ends the program here, before anything is changed.
        sys.stdout.flush()
    with seen.host.undisturbed():
        done = _apply(seen, planned, show_nothing if options.json else show_running)
    became = results(seen.host, seen.node, planned, done)
    if options.json:
        envelope.show(seen.host, seen.node, _document(planned, done, became, True))
    else:
        _report(seen.node, planned, done, became)
    return EXIT_BLOCKED if any(each.result in (FixResult.STILL_THERE, FixResult.BY_HAND) for each in became) else EXIT_OK


def _apply(seen: View, planned: Plan, on_command: Callable[[str], None]) -> AppliedFix:
    """Applies the plan, and logs it in the journal; raises Refused, ActionFailed."""
    rules = ", ".join(dict.fromkeys(item.finding.rule for item in planned.items if not item.by_hand))
    try:
        done = apply(seen.host, planned, on_command)
    except ActionFailed as failed:
        message = f"host fix of {rules} failed: {failed.message}. {failed.hint}".rstrip()
        audit.log(seen.host, seen.node, "host-not-fixed", message, rule=rules)
        raise
    if done.files or done.ran:
        message = f"host fix of {rules}: {in_words(done.files, done.ran)}" + (
            f"; copies of the files before: {done.copies_dir}" if done.copies_dir else ""
        )
        audit.log(seen.host, seen.node, "host-fixed", message, rule=rules, backup=done.copies_dir, **as_fields(done.files, done.ran))
    return done


def in_words(files: tuple[str, ...], ran: tuple[Command, ...]) -> str:
    """What was changed and run, for the journal."""
    parts = (f"changed {', '.join(files)}" if files else "", f"ran {' and '.join(' '.join(command) for command in ran)}" if ran else "")
    return ", ".join(filter(None, parts))


def as_fields(files: tuple[str, ...], ran: tuple[Command, ...]) -> dict[str, str]:
    """The same for programs."""
    return {"files": " ".join(files), "commands": "\n".join(" ".join(command) for command in ran)}


def _asked(options: argparse.Namespace) -> tuple[str, ...]:
    """The rules named; raises UsageError."""
    if options.plan and options.apply:
        raise UsageError("--plan only shows, --apply does it: give one of them", hint=f"Example: {EXAMPLE}")
    if not (options.rules or options.plan or options.apply):
        raise UsageError("name the rules to fix, as `pvehooks host check` shows them, or give --plan for all", hint=f"Example: {EXAMPLE}")
    for rule in options.rules:
        if rule not in RULES or not RULES[rule].of_node:
            meant = nearest(rule, list(FIXES))
            raise UsageError(
                f"there is no rule '{rule}' about the node" + (f"; did you mean '{meant}'?" if meant else ""),
                hint=f"These can be fixed: {' '.join(sorted(FIXES))}",
            )
    return tuple(dict.fromkeys(options.rules))


# -- for people -------------------------------------------------------------------------------------------------------


def _show(planned: Plan) -> None:
    for item in planned.items:
        print(printable(_sentence(item)))
    for change in planned.changes:
        show_diff(diff(change.path, change.before, change.after))


def _sentence(item: PlanItem) -> str:
    finding = item.finding
    if not item.by_hand:
        return f"{finding.rule} ({finding.subject}): {item.words}"
    return f"{finding.rule} ({finding.subject}): not changed: {item.words}. By hand: {finding.remedy}"


def show_diff(lines: Iterable[str]) -> None:
    """Prints a diff; tabs stay, so that it can be applied."""
    for line in lines:
        print("\t".join(map(printable, line.split("\t"))))


def _close(node: str, planned: Plan, asked: tuple[str, ...]) -> None:
    for command in planned.commands:
        print(f"then: {' '.join(command)}")
    if planned.restart and planned.commands:
        print("then reboot at a time of your choice: reboot")
    for finding in planned.only_if_named:
        print(printable(f"optional: pvehooks host fix {finding.rule} ({finding.message})"))
    for finding in planned.harm:
        print(printable(f"fix this first, it would break the next boot: {finding.message} [{finding.rule}]"))
    if planned.harm:
        return
    if not planned.empty:
        print(f"nothing was changed yet; to apply this: {' '.join(('pvehooks host fix', *asked, '--apply'))}")
    elif planned.restart:
        print(f"no file of {node} needs a change: a reboot is due (reboot)")
    elif not any(item.by_hand for item in planned.items):
        print(f"{node}: nothing {'of this ' if asked else ''}to fix")


def show_running(command: str) -> None:
    """Prints a command that is about to run; it runs also when standard output is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(f"running: {command}", flush=True)


def show_nothing(_: str) -> None:
    """The same for --json."""


def _report(node: str, planned: Plan, done: AppliedFix, became: tuple[ItemResult, ...]) -> None:
    for each in became:
        if each.result is not FixResult.BY_HAND:
            print(printable(f"{each.item.finding.rule} ({each.item.finding.subject}): {PHRASES[each.result]}"))
    if done.copies_dir:
        print(f"copies of the files before the change are in {done.copies_dir}; to restore them: pvehooks host undo")
    elif planned.empty:
        print(f"{node}: nothing to change")
    show_rest(done.left_to_admin, planned.restart)


def show_rest(left_to_admin: tuple[Command, ...], restart: bool) -> None:
    """Prints what is left to be done by hand."""
    if left_to_admin:
        print(f"no command is run for a tree; run on that system: {' && '.join(' '.join(command) for command in left_to_admin)}")
    if restart:
        print("a reboot is due: reboot")


# -- for programs -----------------------------------------------------------------------------------------------------


def _document(planned: Plan, done: AppliedFix, became: tuple[ItemResult, ...], applied: bool) -> dict[str, object]:
    result_of = dict(became)
    return {
        "applied": applied,
        "checks": [
            {
                "rule": item.finding.rule,
                "subject": printable(item.finding.subject),
                "result": _result(item, result_of),
                "words": printable(item.words),
                "remedy": printable(item.finding.remedy) if item.by_hand else None,
            }
            for item in dict.fromkeys((*planned.items, *(each.item for each in became)))
        ],
        "files": [
            {"path": change.path, "diff": [printable(line) for line in diff(change.path, change.before, change.after)]}
            for change in planned.changes
        ],
        "commands": [list(command) for command in planned.commands],
        "ran": [list(command) for command in done.ran],
        "restart": planned.restart,
        "kept": done.copies_dir or None,
        "harm": [{"rule": finding.rule, "message": printable(finding.message)} for finding in planned.harm],
        "if_wanted": [finding.rule for finding in planned.only_if_named],
    }


def _result(item: PlanItem, result_of: dict[PlanItem, FixResult]) -> str:
    result = result_of.get(item, FixResult.BY_HAND if item.by_hand else None)
    return "would be mended" if result is None else result.value
