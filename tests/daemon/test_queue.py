"""The work queue: one job a guest at a time, few in all, one after the other, and stopped as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import RETRY_PAUSES, Job, JobResult
from pvehooks.daemon.queue import MAX_RUNNING, JobQueue
from pvehooks.errors import ActionFailed
from pvehooks.formats import guestconfig
from pvehooks.values import Guest, Rng0Decision

DUE = Rng0Decision(True, None, "it boots from the network", "some-rule")
DONE = Result(Outcome.DONE, "")


def guest(vmid: int, text: bytes = b"name: web\n") -> Guest:
    return Guest(vmid, "pve1", guestconfig.parse(text), (), running=False)


def job(vmid: int, attach: bool = False) -> Job:
    return Job(guest(vmid), DUE, attach)


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A queue whose jobs end when the test lets them; `begun` are the VMIDs in the order of their beginning."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.begun: list[int] = []
        self.result: Callable[[Job], Result] = lambda job: DONE
        self._changed = threading.Condition()
        self._free: set[int] = set()
        self._woken = 0
        self.queue = JobQueue(self._work, self._wake, self.clock)

    def _work(self, job: Job) -> Result:
        vmid = job.guest.vmid
        with self._changed:
            self.begun.append(vmid)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: vmid in self._free, 20)
            self._free.discard(vmid)
        return self.result(job)

    def _wake(self) -> None:
        with self._changed:
            self._woken += 1
            self._changed.notify_all()

    def wait_for_begun(self, count: int) -> list[int]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, 20)
            return list(self.begun)

    def let(self, vmid: int) -> None:
        """Lets the guest's job end; returns when the loop was woken for it."""
        with self._changed:
            before = self._woken
            self._free.add(vmid)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._woken > before, 20)

    def finish(self, vmid: int) -> list[JobResult]:
        """Lets the guest's job end, and collects it."""
        self.let(vmid)
        return self.queue.collect_finished()

    def finish_all(self) -> None:
        self.queue.drop_waiting()
        while self.queue.busy:
            self.finish(next(iter(self.queue.running())))


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.finish_all()


def test_a_job_runs_and_is_collected_once(bench: Bench) -> None:
    bench.queue.submit(job(100))
    assert bench.queue.running() == {100} and bench.queue.busy == 1
    (end,) = bench.finish(100)
    assert (end.job.guest.vmid, end.result, end.error) == (100, DONE, None)
    assert bench.queue.busy == 0 and bench.queue.collect_finished() == []


def test_one_at_a_time_for_a_guest(bench: Bench) -> None:
    bench.queue.submit(job(100))
    bench.wait_for_begun(1)
    bench.queue.submit(job(100))
    bench.queue.submit(job(101))
    assert bench.wait_for_begun(2) == [100, 101], "another guest does not wait for it"
    assert bench.queue.busy == 2
    bench.finish(100)
    assert bench.wait_for_begun(3) == [100, 101, 100]


def test_a_job_replaces_one_that_waits_for_the_same_guest(bench: Bench) -> None:
    bench.queue.submit(job(100))
    for attach in (False, False, True):
        bench.queue.submit(job(100, attach))
    bench.finish(100)
    bench.wait_for_begun(2)
    (end,) = bench.finish(100)
    assert end.job.attach
    assert bench.queue.busy == 0 and bench.begun == [100, 100]


def test_a_thread_goes_on_after_a_job_that_was_done(bench: Bench) -> None:
    """The loop may be at a long review: the jobs that wait do not wait for that."""
    for vmid in range(100, 100 + MAX_RUNNING + 2):
        bench.queue.submit(job(vmid))
    bench.wait_for_begun(MAX_RUNNING)
    bench.let(100)
    assert bench.wait_for_begun(MAX_RUNNING + 1)[-1] == 100 + MAX_RUNNING
    bench.let(101)
    assert bench.wait_for_begun(MAX_RUNNING + 2)[-1] == 101 + MAX_RUNNING
    assert sorted(end.job.guest.vmid for end in bench.queue.collect_finished()) == [100, 101]


def test_a_guest_whose_result_is_not_collected_has_no_second_job(bench: Bench) -> None:
    bench.queue.submit(job(100))
    bench.queue.submit(job(100))
    bench.queue.submit(job(101))
    bench.let(100)
    assert bench.wait_for_begun(2) == [100, 101] and bench.queue.running() == {100, 101}
    assert len(bench.queue.collect_finished()) == 1
    assert bench.wait_for_begun(3)[-1] == 100


@pytest.mark.parametrize("error", [None, ZeroDivisionError("a bug")], ids=["waits", "bug"])
def test_what_follows_from_another_result_is_decided_first(bench: Bench, error: Exception | None) -> None:
    """It may concern all guests: no thread goes on before the loop has seen it."""

    def not_done(_: Job) -> Result:
        if error:
            raise error
        return Result(Outcome.WAITING, "no quorum")

    bench.result = not_done
    for vmid in range(100, 100 + MAX_RUNNING + 2):
        bench.queue.submit(job(vmid))
    bench.wait_for_begun(MAX_RUNNING)
    for vmid in range(100, 100 + MAX_RUNNING):
        bench.let(vmid)
    assert sorted(bench.begun) == list(range(100, 100 + MAX_RUNNING)) and bench.queue.waiting == 2
    assert len(bench.queue.collect_finished()) == MAX_RUNNING
    assert sorted(bench.wait_for_begun(MAX_RUNNING + 2)[MAX_RUNNING:]) == [100 + MAX_RUNNING, 101 + MAX_RUNNING], (
        "the loop has not stopped the queue"
    )


def test_few_in_all(bench: Bench) -> None:
    for vmid in range(100, 100 + MAX_RUNNING + 2):
        bench.queue.submit(job(vmid))
    bench.queue.submit(job(200), first=True)
    assert sorted(bench.wait_for_begun(MAX_RUNNING)) == list(range(100, 100 + MAX_RUNNING)) and bench.queue.busy == MAX_RUNNING
    bench.finish(100)
    assert bench.wait_for_begun(MAX_RUNNING + 1)[-1] == 200, "before those that wait longer"
    bench.finish(101)
    assert bench.wait_for_begun(MAX_RUNNING + 2)[-1] == 100 + MAX_RUNNING, "then the one that waits longest"


def test_what_has_not_begun_can_be_dropped(bench: Bench) -> None:
    bench.queue.submit(job(100))
    bench.queue.submit(job(100))
    bench.queue.drop_waiting()
    bench.finish(100)
    assert bench.queue.busy == 0


@pytest.mark.parametrize("error", [ActionFailed("it went wrong"), ZeroDivisionError("a bug")], ids=["error", "bug"])
def test_a_job_that_breaks_off_has_no_result(bench: Bench, error: Exception) -> None:
    def broken(_: Job) -> Result:
        raise error

    bench.result = broken
    bench.queue.submit(job(100))
    (end,) = bench.finish(100)
    assert end.result is None and end.error is error


# -- what concerns all ------------------------------------------------------------------------------------------------


def test_a_known_cause_stops_all_until_it_is_over(bench: Bench) -> None:
    assert bench.queue.pause_all("no quorum", trials=False) and not bench.queue.pause_all("no quorum", trials=False)
    for vmid in range(100, 103):
        bench.queue.submit(job(vmid))
    assert bench.queue.busy == 0 and bench.queue.waiting == 3 and bench.queue.next() == float("inf")
    assert not bench.queue.pause_all("Permission denied", trials=True), "what a job found that ran then is the same cause"
    assert bench.queue.next() == float("inf") and bench.queue.stopped == "no quorum"
    assert bench.queue.resume_all() and not bench.queue.resume_all()
    assert sorted(bench.wait_for_begun(3)) == [100, 101, 102]


def test_one_at_a_time_tries_whether_it_is_over(bench: Bench) -> None:
    clock = bench.clock
    bench.queue.pause_all("no space", trials=True)
    for vmid in range(100, 103):
        bench.queue.submit(job(vmid))
    assert bench.queue.next() == RETRY_PAUSES[0] and bench.queue.run_due_trial() and bench.queue.busy == 0, "it is not due"
    clock.now = RETRY_PAUSES[0]
    assert bench.queue.run_due_trial() and bench.wait_for_begun(1) == [100]
    assert bench.queue.run_due_trial() and bench.queue.busy == 1 and bench.queue.next() == float("inf"), "not before its result is known"
    (end,) = bench.finish(100)
    bench.queue.pause_all("no space", trials=True)
    bench.queue.submit(end.job)
    assert bench.queue.next() == RETRY_PAUSES[0] + RETRY_PAUSES[1] and bench.queue.busy == 0
    bench.queue.resume_all()
    assert sorted(bench.wait_for_begun(4)[1:]) == [100, 101, 102]


def test_nothing_is_left_to_try_it_with(bench: Bench) -> None:
    clock = bench.clock
    bench.queue.pause_all("no space", trials=True)
    clock.now = RETRY_PAUSES[0]
    assert not bench.queue.run_due_trial()


def test_only_a_job_that_began_since_shows_that_the_cause_is_over(bench: Bench) -> None:
    """One that ran already may have made its backup before the disk was full."""
    bench.queue.submit(job(100))
    bench.wait_for_begun(1)
    bench.queue.pause_all("no space", trials=True)
    bench.queue.submit(job(101))
    bench.finish(100)
    assert not bench.queue.is_trial(100)
    bench.clock.now = RETRY_PAUSES[0]
    assert bench.queue.run_due_trial() and bench.wait_for_begun(2) == [100, 101]
    bench.finish(101)
    assert bench.queue.is_trial(101)
    bench.queue.resume_all()
    assert not bench.queue.is_trial(101), "nothing is stopped"
