"""Lines in PVE's task log, which is what a hookscript prints."""

from __future__ import annotations

import os
import select
import time

# What the guard may print of the 20 lines of a start: PVE keeps task logs, and shows them in a browser. The sh part has the other five.
MOST_LINES = 15
_LONGEST = 1000
# What one write to a pipe that takes something does not block for (pipe(7), PIPE_BUF).
_PIECE = 4096
# How long all writes of a process wait for their reader, in seconds; then the rest is dropped, and a start goes on or is refused.
_seconds_left: float | None = 2.0


def wait_for_reader() -> None:
    """Has this process wait for its reader without a limit: it is the process that supervises this one."""
    global _seconds_left  # noqa: PLW0603 - there is one standard output
    _seconds_left = None


def log_line(line: str) -> None:
    """Prints a line, with every character escaped that is not printable."""
    if not line.isprintable():
        from pvehooks.wording import printable

        line = printable(line)
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]}... ({len(line) - _LONGEST} more characters)"
    write(f"pvehooks: {line}\n".encode("utf-8", "backslashreplace"))


def write(text: bytes) -> None:
    """Writes to standard output; errors are ignored, since a start must not fail because no process reads its log."""
    try:
        while text and _is_writable():
            text = text[os.write(1, text[:_PIECE]) :]
    except OSError:
        return


def _is_writable() -> bool:
    """Whether a write would not block; waits for that, all in all for _seconds_left."""
    global _seconds_left  # noqa: PLW0603 - as above
    if _seconds_left is None:
        return True
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    began = time.monotonic()
    is_ready = bool(poll.poll(_seconds_left * 1000))
    _seconds_left = max(0.0, _seconds_left - (time.monotonic() - began))
    return is_ready


def with_full_stop(text: str) -> str:
    """The text with one full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
