"""Updates of Proxmox VE under a running daemon: what its packages declare is read again, and all is looked at anew.

Noticed by the files themselves, also those of an update while the daemon was down: no trigger of dpkg that may be missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pvehooks.actions import pve_schema
from pvehooks.facts.node import pveschema
from pvehooks.facts.node.pveschema import Marks
from pvehooks.host import Host

_INTERVAL = 60.0
# After it failed, with packages that did not change since; in the middle of an update they soon do.
_RETRY = 3600.0


class UpdateWatch:
    """Has Proxmox VE's declarations recorded whenever its packages are others than those of the record; `wake` is called when that is done."""

    def __init__(self, host: Host, wake: Callable[[], None]) -> None:
        self.trouble = ""
        self._host = host
        self._wake = wake
        self._due = self._retry = float("-inf")
        self._tried: Marks = {}
        self._work: threading.Thread | None = None
        self._done = threading.Event()

    def look(self) -> bool:
        """Begins to record what was updated; whether a record was made since it was last called. Nothing is run for a tree."""
        if self._work is not None and self._done.is_set():
            self._work.join()
            self._work = None
            self._done.clear()
            return not self.trouble
        now = self._host.monotonic()
        if not self._host.is_node or self._work is not None or now < self._due:
            return False
        self._due = now + _INTERVAL
        there = pveschema.marks(self._host)
        if not there or there == pveschema.recorded_marks(self._host) or (there == self._tried and now < self._retry):
            return False
        self._tried, self._retry = there, now + _RETRY
        self._work = threading.Thread(target=self._record, daemon=True)
        self._work.start()
        return False

    def _record(self) -> None:
        try:
            self.trouble = pve_schema.record(self._host)
        finally:
            self._done.set()
            self._wake()
