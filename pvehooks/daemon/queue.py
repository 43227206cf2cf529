"""The work queue: one job at a time for each guest, a few in all.

A cause that concerns all guests stops the queue as a whole; one job at a time tries then whether it is over, if that can be seen no other way.
"""

from __future__ import annotations

import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from queue import SimpleQueue

from pvehooks.actions.result import Result
from pvehooks.daemon.jobs import RETRY_PAUSES, Job, JobResult
from pvehooks.errors import PvehooksError

# How many jobs are worked on at the same time.
MAX_RUNNING = 4
_NEVER = float("inf")


class JobQueue:
    """Runs `work` for each job in one of at most MAX_RUNNING threads, which live only as long as there are jobs; calls `wake` when a job has ended.

    A thread goes on with the next job after one that was done. What any other result means for the jobs that wait, the loop decides first:
    it collects that result. A guest counts as running until its result is collected, so no two jobs of one guest follow each other unseen.
    """

    def __init__(self, work: Callable[[Job], Result], wake: Callable[[], None], clock: Callable[[], float]) -> None:
        self._work = work
        self._wake = wake
        self._clock = clock
        # What stops the queue, '' for nothing; whether one job tries it again, when, and how often one has.
        self._stopped = ""
        self._by_trials = False
        self._next_trial = _NEVER
        self._trials = 0
        # The lock is held for what the loop and the threads change both.
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, Job] = OrderedDict()
        self._running: set[int] = set()
        # The guests whose jobs had begun when the queue was stopped.
        self._begun_before_pause: set[int] = set()
        self._threads = 0
        self._finished: SimpleQueue[JobResult] = SimpleQueue()

    @property
    def busy(self) -> int:
        """How many jobs run, or have a result that is not collected yet."""
        return len(self._running)

    def running(self) -> frozenset[int]:
        """The guests of these jobs."""
        with self._lock:
            return frozenset(self._running)

    @property
    def waiting(self) -> int:
        """How many jobs have not begun."""
        return len(self._waiting)

    def submit(self, job: Job, first: bool = False) -> None:
        """Takes a job, `first` before all others; it takes the place of one that waits for the same guest."""
        with self._lock:
            self._waiting[job.guest.vmid] = job
            if first:
                self._waiting.move_to_end(job.guest.vmid, last=False)
            self._start()

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more: its job does not begin."""
        with self._lock:
            self._waiting.pop(vmid, None)

    def drop_waiting(self) -> None:
        """Drops the jobs that have not begun."""
        with self._lock:
            self._waiting.clear()

    def collect_finished(self) -> list[JobResult]:
        """The jobs that ended since the last call; starts those that waited for that."""
        found = []
        while not self._finished.empty():
            found.append(self._finished.get())
        with self._lock:
            self._running.difference_update(end.job.guest.vmid for end in found)
            self._start()
        return found

    # -- what concerns all guests -------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str:
        """The cause that stops all jobs, '' for none."""
        return self._stopped

    def pause_all(self, cause: str, trials: bool) -> bool:
        """No job begins from now on; returns whether none was stopped before.

        With `trials` one job tries now and then whether the cause is over; without, resume_all() is called then.
        """
        with self._lock:
            is_new = not self._stopped
            if is_new:
                self._begun_before_pause = set(self._running)
            if is_new or not trials:
                self._stopped, self._by_trials, self._next_trial = cause, trials, _NEVER
        self.schedule_trial()
        return is_new

    def schedule_trial(self) -> None:
        """Has the next trial come, with growing pauses, once the last one's job has ended."""
        if self._stopped and self._by_trials and self._next_trial == _NEVER:
            self._next_trial = self._clock() + RETRY_PAUSES[min(self._trials, len(RETRY_PAUSES) - 1)]
            self._trials += 1

    def resume_all(self) -> bool:
        """Nothing concerns all guests any more; returns whether something did."""
        with self._lock:
            was, self._stopped, self._next_trial, self._trials = self._stopped, "", _NEVER, 0
            self._start()
        return was != ""

    def is_trial(self, vmid: int) -> bool:
        """Whether the guest's job began after all were paused: the success of an older one does not show that the cause is over."""
        return self._stopped != "" and vmid not in self._begun_before_pause

    def next(self) -> float:
        """When a job is to try whether the cause is over, on the clock; infinity where none is."""
        return self._next_trial

    def run_due_trial(self) -> bool:
        """Begins one job, if that is due; returns False where none is left to try it with."""
        if self._clock() < self._next_trial:
            return True
        if self._running:
            self._next_trial = self._clock() + RETRY_PAUSES[0]
            return True
        if not self._waiting:
            return False
        self._next_trial = _NEVER
        with self._lock:
            self._begin()
        return True

    # -- the threads; all but _run and _end_of is called with the lock held -------------------------------------------

    def _start(self) -> None:
        while not self._stopped and self._threads < MAX_RUNNING and self._begin():
            pass

    def _begin(self) -> bool:
        """Begins a thread with the next job, if there is one."""
        job = self._take()
        if job is not None:
            self._threads += 1
            threading.Thread(target=self._run, args=(job,), name="jobs", daemon=True).start()
        return job is not None

    def _take(self) -> Job | None:
        """The first job that waits, and whose guest has none that runs."""
        vmid = next((vmid for vmid in self._waiting if vmid not in self._running), None)
        if vmid is None:
            return None
        self._running.add(vmid)
        self._begun_before_pause.discard(vmid)
        return self._waiting.pop(vmid)

    def _run(self, job: Job) -> None:
        # What this thread starts inherits its mask: a qm that ignores SIGTERM could not be stopped.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        following: Job | None = job
        while following is not None:
            end = self._end_of(following)
            with self._lock:
                following = self._take() if end.done and not self._stopped else None
                self._threads -= following is None
                self._finished.put(end)
            self._wake()

    def _end_of(self, job: Job) -> JobResult:
        try:
            return JobResult(job, self._work(job), None)
        except PvehooksError as error:
            return JobResult(job, None, error)
        except Exception as bug:  # noqa: BLE001 - a bug in one guest's job must not end the care for all others; it is reported
            return JobResult(job, None, bug)
