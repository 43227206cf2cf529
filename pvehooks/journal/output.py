"""Where entries go: journald, or lines on standard error on a terminal and where there is no journald."""

from __future__ import annotations

import os
import sys
import time

from pvehooks.host import Host
from pvehooks.journal.entries import Entry
from pvehooks.journal.kind import DEBUG, ERR, INFO, NOTICE, WARNING
from pvehooks.wording import bounded, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

IDENTIFIER = "pvehooksd"
# The native protocol's socket (systemd's JOURNAL_NATIVE_PROTOCOL).
SOCKET = "/run/systemd/journal/socket"
# Seconds for a journald that takes nothing: stopped, on a disk that does not answer, or flooded. sd_journal_sendv(3) waits for ever.
_PATIENCE = 1.0
# Characters of a line: a name, a bridge or a storage that a tenant wrote may have 60,000.
_LONGEST = 4000
_NAMES = {ERR: "error", WARNING: "warning", NOTICE: "notice", INFO: "info", DEBUG: "debug"}


class Journal:
    """Structured entries for journald; while its socket is missing, lines on standard error instead.

    Entries that journald does not take are lost: a start, or the watch over guests, must not wait for the log.
    """

    # Whether it took nothing the last time: then no further entry waits.
    _deaf = False

    def __init__(self, identifier: str = IDENTIFIER) -> None:
        self._identifier = identifier
        self._lines = Lines(sys.stderr)

    def write(self, entry: Entry) -> None:
        """Sends the entry, and leaves it for pvehooks-notify where people get a message about it."""
        if entry.notify:
            from pvehooks.journal import outbox

            outbox.leave(Host(), entry)
        if not os.path.exists(SOCKET):
            self._lines.write(entry)
            return
        fields: dict[str, str | tuple[str, ...]] = {
            "MESSAGE": _line(entry.message),
            "MESSAGE_ID": entry.message_id,
            "PRIORITY": str(entry.priority),
            "SYSLOG_IDENTIFIER": self._identifier,
            **entry.fields,
        }
        raw = b"".join(_field(name, value) for name, values in fields.items() for value in _escaped(values))
        try:
            Host().send(SOCKET, raw, 0 if self._deaf else _PATIENCE)
        except OSError as error:
            Journal._deaf = isinstance(error, (BlockingIOError, TimeoutError))
        else:
            Journal._deaf = False


def _field(name: str, value: str) -> bytes:
    """A field of the native protocol; one with several lines has its length, 64 bits little endian, instead of the equals sign."""
    raw = value.encode("utf-8", "backslashreplace")
    if b"\n" in raw:
        return b"%b\n%b%b\n" % (name.encode(), len(raw).to_bytes(8, "little"), raw)
    return b"%b=%b\n" % (name.encode(), raw)


def _escaped(values: str | tuple[str, ...]) -> list[str]:
    """A field's values, their lines escaped one by one."""
    return ["\n".join(map(_line, value.split("\n"))) for value in ((values,) if isinstance(values, str) else values)]


def _line(text: str) -> str:
    return printable(bounded(text, _LONGEST))


class Lines:
    """A line for each entry: time, priority, message."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, entry: Entry) -> None:
        """Prints the entry; a closed standard error is no reason to end."""
        priority = _NAMES[entry.priority]
        try:
            print(f"{time.strftime('%H:%M:%S')} {priority + ':':<8} {_line(entry.message)}", file=self._stream, flush=True)
        except (OSError, ValueError):
            return


def choose() -> Journal | Lines:
    """The journal, unless standard error is a terminal or there is no journald."""
    if sys.stderr.isatty() or not os.path.exists(SOCKET):
        return Lines(sys.stderr)
    return Journal()
