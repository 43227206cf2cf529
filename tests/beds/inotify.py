"""A recorder of real inotify events, by pyinotify."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyinotify

pyinotify.log = logging.getLogger("pyinotify")
pyinotify.log.addHandler(logging.NullHandler())  # its own handler writes to stderr

QUIET = 0.06
"""Seconds without an event after which there are no more to come: the kernel queues them before a write returns."""


@dataclass(frozen=True)
class Event:
    """One event: the names of its mask's bits (IN_ISDIR apart), the name in the directory, the watch, the cookie."""

    mask: str
    name: str
    watch: int
    cookie: int


class Recorder:
    """Watches directories and collects what happens in them."""

    def __init__(self, *directories: str | Path) -> None:
        self._manager = pyinotify.WatchManager()
        self._notifier = pyinotify.Notifier(self._manager, self._keep, timeout=10)
        self._events: list[Event] = []
        self.watches = {str(path): self._manager.add_watch(str(path), pyinotify.ALL_EVENTS) for path in directories}

    def _keep(self, event: Any) -> None:
        mask = event.maskname.replace("|IN_ISDIR", "")
        if mask not in ("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE", "IN_DELETE_SELF"):
            self._events.append(Event(mask, getattr(event, "name", ""), event.wd, getattr(event, "cookie", 0)))

    def events(self, quiet: float = QUIET) -> list[Event]:
        """What came since the last call, once nothing more comes. Mere reading is left out."""
        end = time.monotonic() + quiet
        while time.monotonic() < end:
            if self._notifier.check_events(timeout=5):
                self._notifier.read_events()
                self._notifier.process_events()
                end = time.monotonic() + quiet
        found, self._events = self._events, []
        return found

    def seen(self, quiet: float = QUIET) -> list[tuple[str, str]]:
        """The events as (mask, name)."""
        return [(event.mask, event.name) for event in self.events(quiet)]

    def close(self) -> None:
        """End all watches."""
        self._notifier.stop()


@contextmanager
def recorded(*directories: str | Path) -> Iterator[Recorder]:
    """A recorder for the length of a block."""
    recorder = Recorder(*directories)
    try:
        yield recorder
    finally:
        recorder.close()
