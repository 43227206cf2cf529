"""Deeds in the background: one at a time per guest, four in all; threads live only while there is something to do."""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pvehooks.actions.rng import Result
from pvehooks.errors import PvehooksError
from pvehooks.values import Guest, Injection

MOST = 4


class Job(NamedTuple):
    """A guest that is to be given what it lacks (an rng0, and why; the guard)."""

    guest: Guest
    injection: Injection
    attach: bool = False


class Ended(NamedTuple):
    """A job that came to its end: with a result, with an error, or with a bug."""

    job: Job
    result: Result | None
    error: Exception | None


class Workers:
    """Runs `deed` for jobs in threads and calls `wake` when one has ended."""

    def __init__(self, deed: Callable[[Job], Result], wake: Callable[[], None]) -> None:
        self._deed = deed
        self._wake = wake
        self._waiting: deque[Job] = deque()
        self._running: set[int] = set()
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    @property
    def busy(self) -> int:
        """How many deeds are under way."""
        return len(self._running)

    def running(self) -> frozenset[int]:
        """The guests for which something is under way."""
        return frozenset(self._running)

    def submit(self, job: Job, first: bool = False) -> None:
        """Takes a job, `first` before all others; one that waits for the same guest is replaced by it."""
        self._waiting = deque(other for other in self._waiting if other.guest.vmid != job.guest.vmid)
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)
        self._start()

    def forget_waiting(self) -> None:
        """Drops what has not begun yet."""
        self._waiting.clear()

    def ended(self) -> list[Ended]:
        """What has ended since the last call; starts what waited for it."""
        found = []
        while not self._ended.empty():
            end = self._ended.get()
            self._running.discard(end.job.guest.vmid)
            found.append(end)
        self._start()
        return found

    def _start(self) -> None:
        held = []
        while self._waiting and len(self._running) < MOST:
            job = self._waiting.popleft()
            if job.guest.vmid in self._running:
                held.append(job)
                continue
            self._running.add(job.guest.vmid)
            threading.Thread(target=self._run, args=(job,), name=f"vm-{job.guest.vmid}", daemon=True).start()
        self._waiting.extendleft(reversed(held))

    def _run(self, job: Job) -> None:
        # What this thread starts inherits its mask: a qm deaf to SIGTERM would be no good.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            self._ended.put(Ended(job, self._deed(job), None))
        except PvehooksError as error:
            self._ended.put(Ended(job, None, error))
        except Exception as bug:  # noqa: BLE001 - a bug in one guest's deed must not end the care for all others; it is reported
            self._ended.put(Ended(job, None, bug))
        self._wake()
