"""Where entries go: journald, or lines on standard error on a terminal and where there is no journald."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from pvehooks.journal.entries import Entry
from pvehooks.journal.kind import DEBUG, ERR, INFO, NOTICE, WARNING
from pvehooks.wording import printable

IDENTIFIER = "pvehooksd"
# The native protocol's socket, sd_journal_sendv(3).
SOCKET = "/run/systemd/journal/socket"
_NAMES = {ERR: "error", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}


class Journal:
    """Structured entries for journald; while its socket is missing, lines on standard error instead."""

    def __init__(self, identifier: str = IDENTIFIER) -> None:
        from systemd import journal

        self._identifier = identifier
        self._send = journal.sendv
        self._lines = Lines(sys.stderr)

    def write(self, entry: Entry) -> None:
        """Sends the entry."""
        if not os.path.exists(SOCKET):
            self._lines.write(entry)
            return
        fields: dict[str, str | tuple[str, ...]] = {
            "MESSAGE": printable(entry.message),
            "MESSAGE_ID": entry.message_id,
            "PRIORITY": str(entry.priority),
            "SYSLOG_IDENTIFIER": self._identifier,
            **entry.fields,
        }
        self._send(*(f"{name}={value}" for name, values in fields.items() for value in _escaped(values)))


def _escaped(values: str | tuple[str, ...]) -> list[str]:
    """A field's values, their lines escaped one by one."""
    return ["\n".join(map(printable, value.split("\n"))) for value in ((values,) if isinstance(values, str) else values)]


class Lines:
    """A line for each entry: time, priority, message."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, entry: Entry) -> None:
        """Prints the entry; a closed standard error is no reason to end."""
        priority = _NAMES[entry.priority]
        try:
            print(f"{time.strftime('%H:%M:%S')} {priority + ':':<8} {printable(entry.message)}", file=self._stream, flush=True)
        except (OSError, ValueError):
            return


def choose() -> Journal | Lines:
    """The journal, unless standard error is a terminal or there is no journald."""
    if sys.stderr.isatty() or not os.path.exists(SOCKET):
        return Lines(sys.stderr)
    return Journal()
