"""A line on a terminal that tells how far a long look has come. It goes when the look ends, however it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import Console

# A shorter look needs no line: it would only flicker.
_DELAY = 0.5
_PAUSE = 0.1


class _Line:
    """The line, on standard error; the cursor is never hidden, so that whatever ends the program leaves the terminal usable."""

    def __init__(self, total: int, what: str, clock: Callable[[], float]) -> None:
        self._total = total
        self._what = what
        self._clock = clock
        self._done = 0
        self._due = clock() + _DELAY
        self._console: Console | None = None

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        if self._clock() >= self._due:
            self._draw()
            self._due = self._clock() + _PAUSE

    def _draw(self) -> None:
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
        self.erase()
        if not self._console.is_dumb_terminal:
            done = min(self._done, self._total)
            self._console.print(f"{self._what}: {100 * done // self._total} %", end="", no_wrap=True, overflow="crop")
            self._console.file.flush()

    def erase(self) -> None:
        """Takes the line away."""
        if self._console is not None:
            from rich.control import Control
            from rich.segment import ControlType

            self._console.control(Control((ControlType.ERASE_IN_LINE, 2), ControlType.CARRIAGE_RETURN))


@contextmanager
def shown(total: int, what: str, clock: Callable[[], float], wanted: bool = True) -> Iterator[Callable[[], None]]:
    """Gives what is to be called for each of `total` steps; only a terminal sees anything, and only if `wanted` and if it takes long."""
    if not wanted or not total or not sys.stderr.isatty():
        yield lambda: None
        return
    line = _Line(total, what, clock)
    try:
        yield line.step
    finally:
        line.erase()
