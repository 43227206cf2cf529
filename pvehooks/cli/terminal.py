"""Output for people: tables, and the progress of a long check. NO_COLOR is honoured (no-color.org)."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from pvehooks.values.base import Protocol
from pvehooks.wording import printable, steps

COLOURS = {"block": "bold red", "warning": "yellow", "info": "cyan", "FAIL": "bold red", "WARN": "yellow", "INFO": "cyan", "PASS": "green"}
# Of text, in columns.
_NARROWEST = 40
# No line ends within it.
_TOGETHER = re.compile(r"\bVM \d|\bpvehooks [a-z]+(?: --[a-z]+)?")
# Of a table with more columns than these, each cell needs its header.
_SELF_EVIDENT = 4
# Between the columns of a table.
_GAP = 3
_WIDEST = 100


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """The columns of the terminal; 80 in a pipe."""
    if not on_terminal():
        return 80
    import shutil

    return shutil.get_terminal_size().columns


def text_width() -> int:
    """The columns for text: lines that are longer than a page is wide are hard to read."""
    return max(_NARROWEST, min(width(), _WIDEST))


def wrapped(text: str, columns: int, first: str = "", further: str = "") -> list[str]:
    """The text in lines of so many columns, with what the first line and each further one begins with. No word is broken, so that it can be copied."""
    clean = printable(text)
    if len(first) + len(clean) <= columns:
        return [first + clean]
    import textwrap

    joined = _TOGETHER.sub(lambda found: found[0].replace(" ", "\0"), clean)
    lines = textwrap.wrap(joined, columns, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines] or [first]


def write(text: str) -> None:
    """Prints a sentence: wrapped on a terminal, as one line in a pipe."""
    for line in wrapped(text, text_width() if on_terminal() else sys.maxsize):
        print(line)


def write_all(lines: Iterable[str]) -> None:
    """Prints sentences as `write` does. Indented ones are steps: on a terminal a command in them stands on a line of its own, as it is typed."""
    for line in lines:
        if not line.startswith(" ") or not on_terminal():
            write(line)
            continue
        for words, command in steps(line.strip()):
            for each in wrapped(words, text_width(), "    ", "    ") if words else ():
                print(each)
            if command:
                print(printable(f"      {command}"))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints the rows as a table on a terminal, as aligned plain text in a pipe; a cell that is a severity is coloured on a terminal."""
    clean = [[printable(cell) for cell in row] for row in rows]
    if on_terminal() and _is_narrow(headers, clean):
        if len(headers) > _SELF_EVIDENT:
            _listed(headers, clean)
        else:
            _stacked(clean)
    elif on_terminal():
        _drawn(headers, clean)
    else:
        _plain(clean)


def _is_narrow(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table would leave the text of its last column too little room."""
    *others, last = (max(map(len, column)) for column in zip(headers, *rows, strict=True))
    left = width() - sum(size + _GAP for size in others) - _GAP
    return left < min(last, _NARROWEST)


def _listed(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Each row as its first cell, with the others below it, each behind its header; those without content are left out."""
    from rich.console import Console
    from rich.text import Text

    console, columns = Console(highlight=False), text_width()
    for first, *others in rows:
        console.print(Text(first, style="bold"), soft_wrap=True)
        for header, cell in zip(headers[1:], others, strict=True):
            if cell.strip("-"):
                for line in wrapped(f"{header}: {cell}", columns, "    ", "      "):
                    console.print(Text(line), soft_wrap=True)
    console.print()


def _stacked(rows: Sequence[Sequence[str]]) -> None:
    """Each row as a line with its text below it."""
    from rich.console import Console
    from rich.text import Text

    console, columns = Console(highlight=False), text_width()
    for *others, last in rows:
        console.print(Text("  ").join(Text(cell, style=COLOURS.get(cell, "")) for cell in others if cell), soft_wrap=True)
        for line in wrapped(last, columns, "    ", "    "):
            console.print(Text(line), soft_wrap=True)
    console.print()


def _drawn(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(headers))
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
