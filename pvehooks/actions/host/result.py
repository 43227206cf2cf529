"""Reading back after a fix: which findings are gone, which go with a restart, and which are still there."""

from __future__ import annotations

from pvehooks.actions.hostfix import mends
from pvehooks.actions.hostfix.ahead import at_next_boot
from pvehooks.actions.hostfix.apply import Done
from pvehooks.actions.hostfix.plan import UPDATE_INITRAMFS, Item, Plan, found
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.values import Finding, NamedTuple, Node

GONE, LATER, RESTART, UNKNOWN, STILL, BY_HAND = "gone", "after the commands", "after a restart", "unknown", "still there", "by hand"
WORDS = {
    GONE: "it is gone",
    LATER: "it goes with the commands, which are still to be typed",
    RESTART: "it goes with the restart",
    UNKNOWN: "the restart will show whether this was all: pvehooks host check",
    STILL: "it is still there",
    BY_HAND: "it is not touched",
}


class Outcome(NamedTuple):
    """What became of a finding."""

    item: Item
    result: str


def outcomes(host: Host, name: str, plan: Plan, done: Done) -> tuple[Outcome, ...]:
    """What a fresh look at the node says of each finding that was to be mended; and of a menu that is not as it should be now."""
    now = hardware.gather(host, name)
    later = at_next_boot(host, name, {}, UPDATE_INITRAMFS in done.to_type)
    reports = [Outcome(item, BY_HAND if item.by_hand else _result(item.finding, now, later, done)) for item in plan.items]
    menu = "cmdline-not-refreshed"
    if done.ran and not any(item.finding.rule == menu for item in plan.items):
        reports += [Outcome(Item(finding, f"after {done.ran[-1][0]}"), STILL) for finding in found(menu, now)]
    return tuple(reports)


def _result(finding: Finding, now: Node, later: Node, done: Done) -> str:
    if not _is_found(finding, now):
        return GONE
    if done.to_type:
        return LATER
    if finding.rule in mends.KERNEL_TELLS:
        return UNKNOWN
    return STILL if _is_found(finding, later) else RESTART


def _is_found(finding: Finding, node: Node) -> bool:
    return any(each.subject == finding.subject for each in found(finding.rule, node))
