"""The findings of guests for people: on a terminal in blocks, else a line each, with each command on a line of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from pvehooks import wording
from pvehooks.cli import terminal
from pvehooks.values import Judged, NamedTuple, Severity

# Messages that differ in their middle only are shown as one where at least so much of them is the same.
_ALIKE = 0.4


class FindingRow(NamedTuple):
    """A finding, or several that one remedy ends, as it is shown. `whose` are the VMs, each (VMID, label), none for the node."""

    label: str
    severity: str
    rules: tuple[str, ...]
    message: str
    # Each (words, command), '' for none.
    steps: tuple[tuple[str, str], ...]
    whose: tuple[tuple[int, str], ...] = ()

    @property
    def head(self) -> str:
        """The severity, the message and the rules."""
        return f"{self.severity}: {self.message} {' '.join(f'[{rule}]' for rule in self.rules)}"

    @property
    def remedy(self) -> str:
        """The steps as sentences."""
        text = ""
        for words, command in self.steps:
            text += f"{'. ' if words[:1].isupper() else ', ' if words[:1].isalpha() else ' '}{words} {command}".rstrip()
        return text.lstrip("., ")

    @property
    def line(self) -> str:
        """All of it in one line."""
        what = f"{self.message}. {self.remedy}" if self.steps else self.message
        return f"{self.label}: {self._replace(message=what).head}"


def is_asked_for(item: Judged, rules: Sequence[str], level: str) -> bool:
    """Whether it is of one of these rules and at least so severe; without rules or a level ('') any is."""
    found = item.finding
    severe = not level or (not item.ignored and wording.ORDER[found.severity] <= wording.ORDER[Severity(level)])
    return severe and (not rules or found.rule in rules)


def rows(label: str, found: Iterable[Judged], vmid: int = 0) -> Iterator[FindingRow]:
    """The findings of the VM, or of what else has that label, most severe first; those that one decision ends are one row."""
    together: dict[tuple[str, str, str, str], dict[str, list[str]]] = {}
    ordered = wording.sort(found)
    for item in ordered:
        severity = "ignored" if item.ignored else item.finding.severity.value
        remedy = item.finding.remedy
        # One command is one decision, whichever rules ask for it; words may mean something else each time.
        decision = "" if len(ordered) > 1 and wording.commands(remedy) else item.finding.rule
        messages = together.setdefault((severity, decision, remedy, item.ignored), {}).setdefault(item.finding.rule, [])
        if item.finding.message not in messages:
            messages.append(item.finding.message)
    whose = ((vmid, label),) if vmid else ()
    for (severity, _, remedy, ignored), by_rule in together.items():
        message = "; ".join(map(_joined, by_rule.values()))
        steps = tuple(wording.steps(f"{remedy} (ignored: {ignored})".lstrip() if ignored else remedy))
        yield FindingRow(label, severity, tuple(by_rule), message, steps, whose)


def _joined(messages: list[str]) -> str:
    """Several messages as one: what they have in common once, where that is much of them."""
    if len(messages) == 1:
        return messages[0]
    words = [message.split(" ") for message in messages]
    shortest = min(map(len, words))
    head = _alike(words)
    tail = min(_alike([each[::-1] for each in words]), shortest - head)
    parts = [" ".join(each[head : len(each) - tail]) for each in words]
    if not all(parts) or head + tail < _ALIKE * shortest:
        return "; ".join(messages)
    end = words[0][len(words[0]) - tail :]
    listed = ", ".join(part.rstrip(":;,") for part in parts[:-1])
    return " ".join((*words[0][:head], f"{listed} and {parts[-1]}", *end))


def _alike(words: list[list[str]]) -> int:
    """How many words all begin with."""
    return next((at for at, each in enumerate(zip(*words, strict=False)) if len(set(each)) > 1), min(map(len, words)))


def show(found: list[FindingRow], plain: bool = False) -> None:
    """Prints them; `plain` means a line each, and nothing else."""
    if plain:
        for row in found:
            print(wording.printable(row.line))
    elif terminal.on_terminal():
        _blocks(found)
    else:
        for row in found:
            print(wording.printable(f"{row.label}: {row.head}"))
            for line in _steps(row):
                print(line)


def _blocks(found: list[FindingRow]) -> None:
    """A block for the findings of the same VMs. No command is broken into lines: what is copied can be pasted."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    width = terminal.text_width()
    for label, of_one in groupby(found, lambda row: row.label):
        for line in terminal.wrapped(label, width):
            console.print(Text(line, style="bold"), soft_wrap=True)
        for row in of_one:
            head, *rest = terminal.wrapped(row.head, width, "  ", "    ")
            first = Text(head)
            first.stylize(terminal.COLOURS.get(row.severity, ""), 2, 2 + len(row.severity))
            console.print(first, soft_wrap=True)
            for line in (*rest, *_steps(row, width)):
                console.print(Text(line), soft_wrap=True)
        console.print()


def _steps(row: FindingRow, width: int = sys.maxsize) -> Iterator[str]:
    """What to do, each command on a line of its own."""
    for words, command in row.steps:
        if words:
            yield from terminal.wrapped(words, width, "    ", "    ")
        if command:
            yield wording.printable(f"      {command}")
