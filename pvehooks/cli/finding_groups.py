"""Equal findings of several VMs as one row, with commands for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pvehooks import wording
from pvehooks.cli import parsers
from pvehooks.cli.findings import FindingRow
from pvehooks.values import NamedTuple
from pvehooks.wording import counted

_ORDER = {"block": 0, "warning": 1, "info": 2, "ignored": 3}
# So many VMs are named, more are numbers; of these so many ranges are shown.
_NAMED = 5
_RANGES = 20
# A command names so many VMs or ranges at most; commands that differ are shown for so many VMs.
_WORDS_IN_A_COMMAND = 200
_COMMANDS = 20
_VMID = "VMID"
# A number that can be a VMID: no part of a word, of a version, or a size.
_NUMBER = re.compile(r"(?<![\w.])[1-9]\d{2,8}(?!\w|\.\d| ?(?:[KMGT]i?B\b|%))")
# Where it is in quotes, the shell puts no variable in.
_QUOTED = re.compile(rf"'[^']*\b{_VMID}\b[^']*'")


class _Form(NamedTuple):
    """What equal rows have in common, with VMID in place of the number."""

    severity: str
    rules: tuple[str, ...]
    message: str
    # What stands before each command.
    words: tuple[str, ...]


class _Group:
    """All VMs whose rows have a form. Of thousands of rows the first is kept; of the others only who has it, and commands that differ."""

    def __init__(self, first: FindingRow) -> None:
        self.first = first
        self.commands = tuple(_general(command, first) for _, command in first.steps)
        self.whose: dict[int, str] = {}
        self.others: dict[int, tuple[str, ...]] = {}

    def add(self, row: FindingRow) -> None:
        """One more."""
        self.whose.update(row.whose)
        commands = tuple(_general(command, row) for _, command in row.steps)
        if commands != self.commands:
            self.others.update((vmid, commands) for vmid, _ in row.whose)

    def each(self, at: int) -> list[str]:
        """The command of each VM, by VMID."""
        return [self.others.get(vmid, self.commands)[at].replace(_VMID, str(vmid)) for vmid in sorted(self.whose)]


class FindingGroups:
    """Collects rows; equal ones, which differ in the VM and in their commands only, come out as one."""

    def __init__(self) -> None:
        self._held: dict[_Form, _Group] = {}
        self._shown: set[_Form] = set()

    def add(self, found: Iterable[FindingRow]) -> None:
        """More of them."""
        for row in found:
            # A number in the message may be no VMID, but a year or an id: then it is as in the others.
            form = as_it_is = _Form(row.severity, row.rules, row.message, tuple(_general(words, row) for words, _ in row.steps))
            if as_it_is not in self._held:
                form = as_it_is._replace(message=_general(row.message, row))
                self._held.setdefault(form, _Group(row))
            self._held[form].add(row)

    def take_blocking(self) -> list[FindingRow]:
        """What blocks, and was not taken before: it need not wait for the rest. Equal ones that come later are left for the end."""
        return self._take(lambda form: form.severity == "block" and form not in self._shown)

    def take(self) -> list[FindingRow]:
        """All that is left, most severe first."""
        return self._take(lambda form: True)

    def _take(self, wanted: Callable[[_Form], bool]) -> list[FindingRow]:
        taken = sorted(filter(wanted, self._held), key=lambda form: _ORDER[form.severity])
        self._shown.update(taken)
        return [_one(form, self._held.pop(form)) for form in taken]


def _general(text: str, row: FindingRow) -> str:
    """The text with VMID in place of the VM's number."""
    vmid = str(row.whose[0][0]) if row.whose else ""
    return _NUMBER.sub(lambda found: _VMID if found[0] == vmid else found[0], text) if vmid and vmid in text else text


def _one(form: _Form, group: _Group) -> FindingRow:
    """The row in place of all of these."""
    whose = dict(sorted(group.whose.items()))
    if len(whose) < 2:
        return group.first
    labels = ", ".join(whose.values())
    label = labels if len(whose) <= _NAMED else f"{counted(len(whose), 'VM')} ({wording.ranges(whose, _RANGES)})"
    steps: list[tuple[str, str]] = []
    left = 0
    for at, words in enumerate(form.words):
        command = "" if group.others else _for_all(group.commands[at], list(whose))
        commands = [command] if command or not group.commands[at] else group.each(at)
        steps += [(words, commands[0]), *(("", command) for command in commands[1:_COMMANDS])]
        left = max(left, len(commands) - _COMMANDS)
    if left:
        steps.append((f"What to type for the other {left} is in:", f"pvehooks check --rule {form.rules[0]} --format jsonl"))
    return FindingRow(label, form.severity, form.rules, form.message, tuple(steps), tuple(whose.items()))


def _for_all(command: str, vmids: list[int]) -> str:
    """The command for all of the VMs, for bash; '' where there is none that can be read."""
    listed = [f"{{{run[0]}..{run[-1]}}}" if len(run) > 2 else " ".join(map(str, run)) for run in wording.runs(vmids)]
    if _VMID not in command:
        return command
    if _QUOTED.search(command) or len(listed) > _WORDS_IN_A_COMMAND:
        return ""
    them = " ".join(listed)
    if command.endswith(f" {_VMID}") and command.count(_VMID) == 1 and _takes_many(command.split()[:-1]):
        return command.replace(_VMID, them)
    return f"for vm in {them}; do {command.replace(_VMID, '$vm')}; done"


def _takes_many(words: list[str]) -> bool:
    """Whether these words are a verb of ours that takes many VMIDs."""
    if len(words) != 2 or words[0] != "pvehooks" or not parsers.is_there(words[1]) or parsers.has_actions(words[1]):
        return False
    return any(action.metavar == _VMID and action.nargs in ("*", "+") for action in parsers.parser(words[1])._actions)
