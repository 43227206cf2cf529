"""Output for people: tables, and the progress of a long check. NO_COLOR is honoured (no-color.org)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from pvehooks.wording import printable

COLOURS = {"block": "bold red", "warning": "yellow", "info": "cyan", "FAIL": "bold red", "WARN": "yellow", "INFO": "cyan", "PASS": "green"}


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """The columns of the terminal; 80 in a pipe."""
    return shutil.get_terminal_size().columns if on_terminal() else 80


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints the rows as a table on a terminal, as aligned plain text in a pipe; a cell that is a severity is coloured on a terminal."""
    clean = [[printable(cell) for cell in row] for row in rows]
    if on_terminal():
        _drawn(headers, clean)
    else:
        _plain(clean)


def _drawn(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    last = len(headers) - 1
    for number, header in enumerate(headers):
        drawn.add_column(header, overflow="fold", no_wrap=number != last and number < 2)
    for row in rows:
        drawn.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console().print(drawn)


def _plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


# -- progress ---------------------------------------------------------------------------------------------------------

# In seconds: a progress line for a shorter check would only flicker.
_DELAY = 0.5
_PAUSE = 0.1


class _Line:
    """A progress line on standard error, erased at the end, also after an error. The cursor is never hidden: a killed program leaves the terminal usable."""

    def __init__(self, total: int, what: str, clock: Callable[[], float]) -> None:
        self._total = total
        self._what = what
        self._clock = clock
        self._done = 0
        self._is_drawn = False
        # Loaded before the time counts: that takes longer than many a check.
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._due = clock() + _DELAY

    def step(self) -> None:
        """Counts one more step; the line is drawn again after a pause."""
        self._done += 1
        if self._clock() >= self._due:
            self._draw()
            self._due = self._clock() + _PAUSE

    def _draw(self) -> None:
        self.erase()
        if not self._console.is_dumb_terminal:
            self._is_drawn = True
            done = min(self._done, self._total)
            self._console.print(f"{self._what}: {100 * done // self._total} %", end="", no_wrap=True, overflow="crop")
            self._console.file.flush()

    def erase(self) -> None:
        """Erases the line, if it is there."""
        if self._is_drawn:
            self._is_drawn = False
            from rich.control import Control
            from rich.segment import ControlType

            self._console.control(Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN))


class Progress(Protocol):
    """How far a long check is."""

    def step(self) -> None: ...
    def erase(self) -> None: ...


class _Unseen:
    """A progress that is not shown."""

    def step(self) -> None:
        """Nothing."""

    def erase(self) -> None:
        """Nothing."""


@contextmanager
def progress(total: int, what: str, clock: Callable[[], float], wanted: bool = True) -> Iterator[Progress]:
    """A progress of `total` steps; shown only on a terminal, only if `wanted`, and only if it takes long. It is erased before anything is printed."""
    if not wanted or not total or not sys.stderr.isatty():
        yield _Unseen()
        return
    line = _Line(total, what, clock)
    try:
        yield line
    finally:
        line.erase()
