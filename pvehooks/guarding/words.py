"""Lines for PVE's task log."""

from __future__ import annotations

import os


def say(line: str) -> None:
    """Prints a line, with every character escaped that is not printable."""
    if not line.isprintable():
        from pvehooks.wording import printable

        line = printable(line)
    write(f"pvehooks: {line}\n".encode("utf-8", "backslashreplace"))


def write(text: bytes) -> None:
    """Writes to standard output; one that takes nothing is no reason for anything."""
    try:
        while text:
            text = text[os.write(1, text) :]
    except OSError:
        return


def sentence(text: str) -> str:
    """The text with one full stop at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."
