"""What would be changed to mend the findings on the node: files, commands after them, and what has to be done by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from pvehooks.actions.hostfix import mends
from pvehooks.actions.hostfix.ahead import at_next_boot
from pvehooks.actions.hostfix.draft import Draft
from pvehooks.actions.hostfix.mends import MENDS
from pvehooks.actions.hostfix.texts import ByHand
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.rules.catalogue import RULES
from pvehooks.values import Finding, NamedTuple, Node, Severity

Command = tuple[str, ...]
Look = Callable[[Node], Iterable[Finding]]
UPDATE_INITRAMFS = ("update-initramfs", "-u", "-k", "all")
_TURNS = 4


class Change(NamedTuple):
    """A file with its bytes as they are and as they will be; None where it is not there."""

    path: str
    before: bytes | None
    after: bytes | None


class Item(NamedTuple):
    """A finding, and what its mend does; or with `by_hand` why it is not touched, and what to type."""

    finding: Finding
    words: str
    by_hand: bool = False


class Plan(NamedTuple):
    """All of it. `harm` is what a restart would suffer from even then: nothing is done before that is mended.

    `left` are findings that have a mend which is only done for who asks for it by name.
    """

    changes: tuple[Change, ...]
    commands: tuple[Command, ...]
    restart: bool
    items: tuple[Item, ...]
    harm: tuple[Finding, ...]
    left: tuple[Finding, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to change and nothing to run."""
        return not self.changes and not self.commands


def plan(host: Host, node: Node, look: Look, asked: Collection[str] = ()) -> Plan:
    """What mends the findings of these rules; without any, of all rules that have a mend, but for matters of taste.

    A mend may bring a finding to light that was of no account before: those are mended as well.
    """
    draft = Draft(host, node)
    items: dict[tuple[str, str], Item] = {}
    left: tuple[Finding, ...] = ()
    view = node
    for turn in range(_TURNS):
        known = [finding for finding in look(view) if (finding.rule, finding.subject) not in items and _concerns(finding, asked, turn)]
        if not turn:
            left = tuple(finding for finding in known if not asked and mends.only_if_asked(finding, node))
        before = draft.state.files
        for finding in sorted((finding for finding in known if finding not in left), key=_place):
            items[finding.rule, finding.subject] = _mended(draft, finding)
        if draft.state.files == before:
            break
        view = hardware.gather(draft.ahead(), node.name)
    state = draft.state
    changes = tuple(Change(path, *state.files[path]) for path in sorted(state.files))
    commands = _commands(draft)
    harm = _harm(host, node, changes, state.initramfs) if commands else ()
    return Plan(changes, commands, state.restart, tuple(items.values()), harm, left)


def _concerns(finding: Finding, asked: Collection[str], turn: int) -> bool:
    """Whether it is to be looked at; in a later turn not what any change brings about until its commands are run."""
    if turn and (finding.rule in mends.AFTER_CHANGES or (not asked and finding.rule in mends.IF_ASKED)):
        return False
    if asked:
        return finding.rule in asked
    return finding.rule in MENDS or (finding.severity in (Severity.BLOCK, Severity.WARNING) and finding.examined)


def _place(finding: Finding) -> int:
    """In the order of the mends; what has none comes last."""
    return list(MENDS).index(finding.rule) if finding.rule in MENDS else len(MENDS)


def _mended(draft: Draft, finding: Finding) -> Item:
    """Takes the mend into the draft, or leaves the draft as it was."""
    before = draft.state
    try:
        if not finding.examined:
            raise ByHand(finding.message)
        if finding.rule not in MENDS:
            raise ByHand("there is no mend for it")
        return Item(finding, MENDS[finding.rule](draft, finding))
    except ByHand as why:
        draft.state = before
        return Item(finding, f"{why}", by_hand=True)


def _commands(draft: Draft) -> tuple[Command, ...]:
    """In this order: the initramfs is what a refresh copies."""
    found: list[Command] = []
    if draft.state.initramfs:
        found.append(UPDATE_INITRAMFS)
    if draft.state.refresh:
        found.append(tuple(draft.loader().refresh.split()))
    return tuple(found)


def _harm(host: Host, node: Node, changes: tuple[Change, ...], new_initramfs: bool) -> tuple[Finding, ...]:
    later = at_next_boot(host, node.name, {each.path: each.after for each in changes}, new_initramfs)
    return tuple(finding for rule in mends.HARM for finding in found(rule, later) if mends.is_harm(finding))


def found(rule: str, node: Node) -> list[Finding]:
    """What a rule finds on the node."""
    return [RULES[rule].complete(finding) for finding in RULES[rule].look(node)]
