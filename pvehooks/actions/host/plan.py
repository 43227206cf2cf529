"""What fixes the findings on the node: files to change, commands after them, and what has to be done by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from pvehooks.actions.host import fixes
from pvehooks.actions.host.draft import Draft
from pvehooks.actions.host.fixes import FIXES
from pvehooks.actions.host.preview import at_next_boot
from pvehooks.actions.host.texts import ByHand
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.rules.catalogue import RULES
from pvehooks.values import Finding, NamedTuple, Node, Severity

Command = tuple[str, ...]
Examine = Callable[[Node], Iterable[Finding]]
UPDATE_INITRAMFS = ("update-initramfs", "-u", "-k", "all")
_TURNS = 4


class FileChange(NamedTuple):
    """A file with its bytes before and after, None if it does not exist."""

    path: str
    before: bytes | None
    after: bytes | None


class PlanItem(NamedTuple):
    """A finding, and what its fix does; with `by_hand`, why it is not fixed automatically."""

    finding: Finding
    words: str
    by_hand: bool = False


class Plan(NamedTuple):
    """All changes, commands and findings."""

    changes: tuple[FileChange, ...]
    commands: tuple[Command, ...]
    restart: bool
    items: tuple[PlanItem, ...]
    # With one of these a restart would break something even after the fix: nothing is done until they are fixed.
    harm: tuple[Finding, ...]
    # Findings whose fix is applied only when their rule is named.
    only_if_named: tuple[Finding, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to change and nothing to run."""
        return not self.changes and not self.commands


def plan(host: Host, node: Node, examine: Examine, asked: Collection[str] = ()) -> Plan:
    """What fixes the findings of these rules; without any, of all rules with a fix, except those of fixes.ONLY_IF_NAMED.

    A fix may uncover another finding: it is fixed as well.
    """
    draft = Draft(host, node)
    items: dict[tuple[str, str], PlanItem] = {}
    only_if_named: tuple[Finding, ...] = ()
    view = node
    for turn in range(_TURNS):
        known = [finding for finding in examine(view) if (finding.rule, finding.subject) not in items and _concerns(finding, asked, turn)]
        if not turn:
            only_if_named = tuple(finding for finding in known if not asked and fixes.needs_naming(finding, node))
        before = draft.state.files
        for finding in sorted((finding for finding in known if finding not in only_if_named), key=_order):
            items[finding.rule, finding.subject] = _fixed(draft, finding)
        if draft.state.files == before:
            break
        view = hardware.gather(draft.preview(), node.name)
    state = draft.state
    changes = tuple(FileChange(path, *state.files[path]) for path in sorted(state.files))
    commands = _commands(draft)
    harm = _harm(host, node, changes, state.initramfs) if commands else ()
    return Plan(changes, commands, state.restart, tuple(items.values()), harm, only_if_named)


def _concerns(finding: Finding, asked: Collection[str], turn: int) -> bool:
    """Whether it belongs into the plan; in a later turn not a finding that every change causes until its commands are run."""
    if turn and (finding.rule in fixes.AFTER_CHANGES or (not asked and finding.rule in fixes.ONLY_IF_NAMED)):
        return False
    if asked:
        return finding.rule in asked
    return finding.rule in FIXES or (finding.severity in (Severity.BLOCK, Severity.WARNING) and finding.examined)


def _order(finding: Finding) -> int:
    """The place of its fix among FIXES; a finding without one comes last."""
    return list(FIXES).index(finding.rule) if finding.rule in FIXES else len(FIXES)


def _fixed(draft: Draft, finding: Finding) -> PlanItem:
    """Adds the fix to the draft, or leaves the draft as it was."""
    before = draft.state
    try:
        if not finding.examined:
            raise ByHand(finding.message)
        if finding.rule not in FIXES:
            raise ByHand("there is no automatic fix for it")
        return PlanItem(finding, FIXES[finding.rule](draft, finding))
    except ByHand as why:
        draft.state = before
        return PlanItem(finding, f"{why}", by_hand=True)


def _commands(draft: Draft) -> tuple[Command, ...]:
    """The initramfs first: a refresh copies it."""
    commands: list[Command] = []
    if draft.state.initramfs:
        commands.append(UPDATE_INITRAMFS)
    if draft.state.refresh:
        commands.append(tuple(draft.loader().refresh.split()))
    return tuple(commands)


def _harm(host: Host, node: Node, changes: tuple[FileChange, ...], new_initramfs: bool) -> tuple[Finding, ...]:
    later = at_next_boot(host, node.name, {each.path: each.after for each in changes}, new_initramfs)
    return tuple(finding for rule in fixes.BREAKS_RESTART for finding in findings_of_rule(rule, later) if fixes.breaks_restart(finding))


def findings_of_rule(rule: str, node: Node) -> list[Finding]:
    """What a rule finds on the node."""
    return [RULES[rule].complete(finding) for finding in RULES[rule].function(node)]
