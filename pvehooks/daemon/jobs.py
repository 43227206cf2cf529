"""The work queue: which job a verdict asks for, one at a time per guest, a few in all, and when one that failed is tried again.

A cause that concerns all guests stops the queue as a whole; one job at a time tries then whether it is over, if that can be seen no other way.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from pvehooks.actions.result import Result
from pvehooks.daemon.state import States
from pvehooks.errors import PvehooksError
from pvehooks.values import Guest, Injection, Verdict

MOST = 4
# Seconds until a guest whose job had to wait is tried again.
PAUSES = (2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
NOT_DUE = Injection(False, None, "")


class Job(NamedTuple):
    """A change to a guest."""

    guest: Guest
    # If it is due, the guest is given an rng0.
    injection: Injection
    # Whether it is given the guard.
    attach: bool = False
    # Whether the guard leaves it.
    detach: bool = False


class JobResult(NamedTuple):
    """A finished job: it has a result, or failed with an error, or with a bug."""

    job: Job
    result: Result | None
    error: Exception | None


class Jobs:
    """The queue, keyed by VMID: runs `work` for jobs in threads that live only as long as there are jobs, and calls `wake` when one ends."""

    def __init__(self, states: States, work: Callable[[Job], Result], wake: Callable[[], None], clock: Callable[[], float]) -> None:
        self._clock = clock
        # What stops the queue, '' for nothing; whether one job tries it again, when, and how often one has.
        self._stopped = ""
        self._by_trials = False
        self._next_trial = float("inf")
        self._trials = 0
        self._states = states
        self._work = work
        self._wake = wake
        self._waiting: deque[Job] = deque()
        self._running: set[int] = set()
        # The guests whose jobs had begun when the queue was stopped.
        self._older: set[int] = set()
        self._finished: queue.SimpleQueue[JobResult] = queue.SimpleQueue()

    # -- what is due --------------------------------------------------------------------------------------------------

    def wanted(self, verdict: Verdict, may_attach: bool) -> Job | None:
        """The job that the verdict asks for, without what was refused for the same config."""
        guest, state = verdict.guest, self._states.of(verdict.guest.vmid)
        inject = verdict.injection.due and state.rng0_refused != guest.digest
        attach = verdict.attach and may_attach and state.attach_refused != guest.digest
        # The two are never due together; an rng0 comes first, and the review of that asks for the guard's leave again.
        detach = verdict.detach and not inject and state.attach_refused != guest.digest
        return Job(guest, verdict.injection if inject else NOT_DUE, attach, detach) if inject or attach or detach else None

    def refused(self, job: Job) -> None:
        """The same job is not wanted again until the guest or the settings change."""
        state = self._states.of(job.guest.vmid)
        if job.attach or job.detach:
            state.attach_refused = job.guest.digest
        if job.injection.due:
            state.rng0_refused = job.guest.digest

    def failed(self, vmid: int, digest: str) -> None:
        """No job is wanted for the guest while its config has this digest: what was written may still ask for one."""
        state = self._states.of(vmid)
        state.rng0_refused = state.attach_refused = digest

    def retry(self, vmid: int, reason: str) -> tuple[float, bool]:
        """Notes that the job has to wait; in how many seconds it is to be tried again, and whether the reason is another than before."""
        state = self._states.of(vmid)
        pause = PAUSES[min(state.tries, len(PAUSES) - 1)]
        state.tries += 1
        before, state.waits = state.waits, reason
        return pause, reason != before

    # -- the queue ----------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return len(self._running)

    def running(self) -> frozenset[int]:
        """The guests for which a job runs."""
        return frozenset(self._running)

    def submit(self, job: Job, first: bool = False) -> None:
        """Takes a job, `first` before all others; it replaces one that waits for the same guest."""
        self._waiting = deque(other for other in self._waiting if other.guest.vmid != job.guest.vmid)
        if first:
            self._waiting.appendleft(job)
        else:
            self._waiting.append(job)
        self._start()

    @property
    def stopped(self) -> str:
        """The cause that stops all jobs, '' for none."""
        return self._stopped

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return len(self._waiting)

    def stop(self, cause: str, trials: bool) -> bool:
        """No job begins from now on; returns whether none was stopped before.

        With `trials` one job tries now and then whether the cause is over; without, go_on() is called then.
        """
        is_new = not self._stopped
        if is_new:
            self._older = set(self._running)
        if is_new or not trials:
            self._stopped, self._by_trials, self._next_trial = cause, trials, float("inf")
        self.rearm()
        return is_new

    def rearm(self) -> None:
        """Has the next trial come, with growing pauses, once the last one's job has ended."""
        if self._stopped and self._by_trials and self._next_trial == float("inf"):
            self._next_trial = self._clock() + PAUSES[min(self._trials, len(PAUSES) - 1)]
            self._trials += 1

    def go_on(self) -> bool:
        """Nothing concerns all guests any more; returns whether something did."""
        was, self._stopped, self._next_trial, self._trials = self._stopped, "", float("inf"), 0
        self._start()
        return was != ""

    def is_trial(self, vmid: int) -> bool:
        """Whether the guest's job, which has ended, began after the queue was stopped; of others success does not show that the cause is over."""
        return self._stopped != "" and vmid not in self._older

    def next(self) -> float:
        """When a job is to try whether the cause is over, on the clock; infinity where none is."""
        return self._next_trial

    def try_one(self) -> bool:
        """Begins one job, if that is due; returns False where none is left to try it with."""
        if self._clock() < self._next_trial:
            return True
        if self._running:
            self._next_trial = self._clock() + PAUSES[0]
            return True
        if not self._waiting:
            return False
        self._next_trial = float("inf")
        self._begin(self._waiting.popleft())
        return True

    def drop_waiting(self) -> None:
        """Drops the jobs that have not begun."""
        self._waiting.clear()

    def collect_finished(self) -> list[JobResult]:
        """The jobs that ended since the last call; starts those that waited for them."""
        found = []
        while not self._finished.empty():
            end = self._finished.get()
            self._running.discard(end.job.guest.vmid)
            found.append(end)
        self._start()
        return found

    def _start(self) -> None:
        if self._stopped:
            return
        held = []
        while self._waiting and len(self._running) < MOST:
            job = self._waiting.popleft()
            if job.guest.vmid in self._running:
                held.append(job)
                continue
            self._begin(job)
        self._waiting.extendleft(reversed(held))

    def _begin(self, job: Job) -> None:
        self._running.add(job.guest.vmid)
        self._older.discard(job.guest.vmid)
        threading.Thread(target=self._run, args=(job,), name=f"vm-{job.guest.vmid}", daemon=True).start()

    def _run(self, job: Job) -> None:
        # What this thread starts inherits its mask: a qm that ignores SIGTERM could not be stopped.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            self._finished.put(JobResult(job, self._work(job), None))
        except PvehooksError as error:
            self._finished.put(JobResult(job, None, error))
        except Exception as bug:  # noqa: BLE001 - a bug in one guest's job must not end the care for all others; it is reported
            self._finished.put(JobResult(job, None, bug))
        self._wake()
