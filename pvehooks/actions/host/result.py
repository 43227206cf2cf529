"""Reads back after a fix: which findings are gone, which go with a restart, and which are still there."""

from __future__ import annotations

import enum

from pvehooks.actions.host import fixes
from pvehooks.actions.host.apply import AppliedFix
from pvehooks.actions.host.plan import UPDATE_INITRAMFS, Plan, PlanItem, findings_of_rule
from pvehooks.actions.host.preview import at_next_boot
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.values import Finding, NamedTuple, Node


class FixResult(enum.Enum):
    """What became of a finding; the value is that of the JSON output."""

    GONE = "gone"
    AFTER_COMMANDS = "after the commands"
    AFTER_RESTART = "after a restart"
    UNKNOWN = "unknown"
    STILL_THERE = "still there"
    BY_HAND = "by hand"


PHRASES = {
    FixResult.GONE: "it is gone",
    FixResult.AFTER_COMMANDS: "it goes with the commands, which are still to be typed",
    FixResult.AFTER_RESTART: "it goes with the restart",
    FixResult.UNKNOWN: "the restart will show whether this was all: pvehooks host check",
    FixResult.STILL_THERE: "it is still there",
    FixResult.BY_HAND: "it is not touched",
}


class ItemResult(NamedTuple):
    """What became of an item of the plan."""

    item: PlanItem
    result: FixResult


def results(host: Host, name: str, plan: Plan, done: AppliedFix) -> tuple[ItemResult, ...]:
    """The result of each item of the plan, from the facts as they are now; and of a boot menu that is wrong after the commands."""
    now = hardware.gather(host, name)
    later = at_next_boot(host, name, {}, UPDATE_INITRAMFS in done.left_to_admin)
    all_results = [ItemResult(item, FixResult.BY_HAND if item.by_hand else _result(item.finding, now, later, done)) for item in plan.items]
    menu = "cmdline-not-refreshed"
    if done.ran and not any(item.finding.rule == menu for item in plan.items):
        all_results += [
            ItemResult(PlanItem(finding, f"after {done.ran[-1][0]}"), FixResult.STILL_THERE) for finding in findings_of_rule(menu, now)
        ]
    return tuple(all_results)


def _result(finding: Finding, now: Node, later: Node, done: AppliedFix) -> FixResult:
    if not _is_found(finding, now):
        return FixResult.GONE
    if done.left_to_admin:
        return FixResult.AFTER_COMMANDS
    if finding.rule in fixes.KNOWN_AFTER_BOOT:
        return FixResult.UNKNOWN
    return FixResult.STILL_THERE if _is_found(finding, later) else FixResult.AFTER_RESTART


def _is_found(finding: Finding, node: Node) -> bool:
    return any(each.subject == finding.subject for each in findings_of_rule(finding.rule, node))
