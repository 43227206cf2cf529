"""The findings of guests for people: a table on a terminal, else a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks import wording
from pvehooks.cli import terminal
from pvehooks.values import Judged

Row = tuple[str, str, str, str]


def rows(label: str, found: Iterable[Judged]) -> Iterator[Row]:
    """The findings of what has that label, most severe first: (label, severity, rule, text)."""
    for item in wording.sort(found):
        severity = "ignored" if item.ignored else item.finding.severity.value
        text = wording.sentence(item.finding)
        yield label, severity, item.finding.rule, f"{text} (ignored: {item.ignored})" if item.ignored else text


def show(found: list[Row], plain: bool = False) -> None:
    """Prints them; `plain` means a line each on a terminal, too."""
    if terminal.on_terminal() and not plain:
        if found:
            terminal.table(("guest", "severity", "rule", "what, and what to do"), found)
        return
    for label, severity, rule, text in found:
        print(wording.printable(f"{label}: {severity}: {text} [{rule}]"))
