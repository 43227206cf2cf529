"""Lines in PVE's task log, which is what a hookscript prints."""

from __future__ import annotations

import os


def log_line(line: str) -> None:
    """Prints a line, with every character escaped that is not printable."""
    if not line.isprintable():
        from pvehooks.wording import printable

        line = printable(line)
    write(f"pvehooks: {line}\n".encode("utf-8", "backslashreplace"))


def write(text: bytes) -> None:
    """Writes to standard output; errors are ignored, since a start must not fail because nobody reads its log."""
    try:
        while text:
            text = text[os.write(1, text) :]
    except OSError:
        return


def with_full_stop(text: str) -> str:
    """The text with one full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
