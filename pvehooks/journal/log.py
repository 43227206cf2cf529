"""The daemon's log: entries about events of its node, counted by kind."""

from __future__ import annotations

from collections import Counter

from pvehooks.journal import entries
from pvehooks.journal.entries import Entry
from pvehooks.journal.output import Journal, Lines
from pvehooks.values import Guest


class Log:
    """Writes entries to the output. `counts` is how often an event of each kind was logged."""

    def __init__(self, node: str, output: Journal | Lines) -> None:
        self.counts: Counter[str] = Counter()
        self._node = node
        self._output = output

    def event(self, kind: str, message: str, guest: Guest | None = None, vmid: int = 0, **fields: str) -> None:
        """Logs an event of one of the kinds in the table."""
        self.counts[kind] += 1
        self.write(entries.event(kind, message, self._node, guest, vmid, **fields))

    def bug(self, bug: Exception, words: str, vmid: int = 0) -> None:
        """Logs a bug of ours with its traceback."""
        import traceback

        message = f"{words}: {bug!r}. Please report it: journalctl -t pvehooksd -o verbose PVEHOOKS_EVENT=bug"
        self.event("bug", message, vmid=vmid, traceback="".join(traceback.format_exception(bug)))

    def write(self, entry: Entry) -> None:
        """Writes an entry as it is."""
        self._output.write(entry)
