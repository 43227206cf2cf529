"""The work queue: one job a guest at a time, few in all, no refused one twice, growing pauses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import MOST, NOT_DUE, PAUSES, Job, JobResult, Jobs
from pvehooks.daemon.state import States
from pvehooks.errors import ActionFailed
from pvehooks.formats import guestconfig
from pvehooks.values import Guest, Injection, Verdict

DUE = Injection(True, None, "it boots from the network", "some-rule")
DONE = Result(Outcome.DONE, "")


def guest(vmid: int, text: bytes = b"name: web\n") -> Guest:
    return Guest(vmid, "pve1", guestconfig.parse(text), (), running=False)


def job(vmid: int, attach: bool = False) -> Job:
    return Job(guest(vmid), DUE, attach)


def verdict(of: Guest, due: bool = True, attach: bool = False) -> Verdict:
    return Verdict(of, False, (), DUE if due else NOT_DUE, attach)


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A queue whose jobs end when the test lets them; `begun` are the VMIDs in the order of their beginning."""

    def __init__(self) -> None:
        self.states = States()
        self.begun: list[int] = []
        self.result: Callable[[Job], Result] = lambda job: DONE
        self._changed = threading.Condition()
        self._free: set[int] = set()
        self._woken = 0
        self.jobs = Jobs(self.states, self._work, self._wake, Clock())

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

    def finish(self, vmid: int) -> list[JobResult]:
        """Lets the guest's job end, and collects it."""
        with self._changed:
            before = self._woken
            self._free.add(vmid)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._woken > before, 20)
        return self.jobs.collect_finished()

    def finish_all(self) -> None:
        self.jobs.drop_waiting()
        while self.jobs.busy:
            self.finish(next(iter(self.jobs.running())))


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.finish_all()


# -- the queue --------------------------------------------------------------------------------------------------------


def test_a_job_runs_and_is_collected_once(bench: Bench) -> None:
    bench.jobs.submit(job(100))
    assert bench.jobs.running() == {100} and bench.jobs.busy == 1
    (end,) = bench.finish(100)
    assert (end.job.guest.vmid, end.result, end.error) == (100, DONE, None)
    assert bench.jobs.busy == 0 and bench.jobs.collect_finished() == []


def test_one_at_a_time_for_a_guest(bench: Bench) -> None:
    bench.jobs.submit(job(100))
    bench.wait_for_begun(1)
    bench.jobs.submit(job(100))
    bench.jobs.submit(job(101))
    assert bench.wait_for_begun(2) == [100, 101], "another guest does not wait for it"
    assert bench.jobs.busy == 2
    bench.finish(100)
    assert bench.wait_for_begun(3) == [100, 101, 100]


def test_a_job_replaces_one_that_waits_for_the_same_guest(bench: Bench) -> None:
    bench.jobs.submit(job(100))
    for attach in (False, False, True):
        bench.jobs.submit(job(100, attach))
    bench.finish(100)
    bench.wait_for_begun(2)
    (end,) = bench.finish(100)
    assert end.job.attach
    assert bench.jobs.busy == 0 and bench.begun == [100, 100]


def test_few_in_all(bench: Bench) -> None:
    for vmid in range(100, 100 + MOST + 2):
        bench.jobs.submit(job(vmid))
    bench.jobs.submit(job(200), first=True)
    assert sorted(bench.wait_for_begun(MOST)) == list(range(100, 100 + MOST)) and bench.jobs.busy == MOST
    bench.finish(100)
    assert bench.wait_for_begun(MOST + 1)[-1] == 200, "before those that wait longer"
    bench.finish(101)
    assert bench.wait_for_begun(MOST + 2)[-1] == 100 + MOST, "then the one that waits longest"


def test_what_has_not_begun_can_be_dropped(bench: Bench) -> None:
    bench.jobs.submit(job(100))
    bench.jobs.submit(job(100))
    bench.jobs.drop_waiting()
    bench.finish(100)
    assert bench.jobs.busy == 0


@pytest.mark.parametrize("error", [ActionFailed("it went wrong"), ZeroDivisionError("a bug")], ids=["error", "bug"])
def test_a_job_that_breaks_off_has_no_result(bench: Bench, error: Exception) -> None:
    def broken(_: Job) -> Result:
        raise error

    bench.result = broken
    bench.jobs.submit(job(100))
    (end,) = bench.finish(100)
    assert end.result is None and end.error is error


# -- what is wanted ---------------------------------------------------------------------------------------------------


def test_nothing_is_wanted(bench: Bench) -> None:
    assert bench.jobs.wanted(verdict(guest(100), due=False), may_attach=True) is None


def test_the_guard_only_where_all_nodes_can_run_it(bench: Bench) -> None:
    found = verdict(guest(100), due=False, attach=True)
    assert bench.jobs.wanted(found, may_attach=False) is None
    wanted = bench.jobs.wanted(found, may_attach=True)
    assert wanted is not None and wanted.attach and not wanted.injection.due


def test_both_in_one_job(bench: Bench) -> None:
    wanted = bench.jobs.wanted(verdict(guest(100), attach=True), may_attach=True)
    assert wanted is not None and wanted.attach and wanted.injection == DUE


def test_a_refused_job_is_wanted_again_when_the_config_changes(bench: Bench) -> None:
    bench.jobs.refused(job(100))
    assert bench.jobs.wanted(verdict(guest(100)), may_attach=True) is None
    assert bench.jobs.wanted(verdict(guest(100, b"name: edited\n")), may_attach=True) is not None
    assert bench.jobs.wanted(verdict(guest(101)), may_attach=True) is not None


def test_a_refused_rng0_does_not_refuse_the_guard(bench: Bench) -> None:
    bench.jobs.refused(job(100))
    wanted = bench.jobs.wanted(verdict(guest(100), attach=True), may_attach=True)
    assert wanted is not None and wanted.attach and not wanted.injection.due


def test_a_refused_job_is_wanted_again_with_new_settings(bench: Bench) -> None:
    bench.jobs.refused(job(100, attach=True))
    assert bench.jobs.wanted(verdict(guest(100), attach=True), may_attach=True) is None
    bench.states.reconsider()
    assert bench.jobs.wanted(verdict(guest(100), attach=True), may_attach=True) is not None


def test_after_a_failed_write_nothing_is_wanted_for_what_stands_there_now(bench: Bench) -> None:
    bench.jobs.failed(100, guest(100, b"name: edited\n").digest)
    assert bench.jobs.wanted(verdict(guest(100, b"name: edited\n"), attach=True), may_attach=True) is None
    assert bench.jobs.wanted(verdict(guest(100), attach=True), may_attach=True) is not None


def test_the_pauses_grow_and_a_reason_is_new_once(bench: Bench) -> None:
    found = [bench.jobs.retry(100, "LOCKED VM is locked") for _ in range(9)]
    assert [pause for pause, _ in found] == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    assert [new for _, new in found] == [True] + [False] * 8
    assert bench.jobs.retry(100, "WAITING no quorum") == (PAUSES[-1], True)
    assert bench.jobs.retry(101, "LOCKED VM is locked") == (PAUSES[0], True), "each guest has its own"
    assert bench.states.waiting() == [100, 101]
    bench.states.of(100).job_finished()
    assert bench.jobs.retry(100, "LOCKED VM is locked") == (PAUSES[0], True)


# -- what concerns all ------------------------------------------------------------------------------------------------


def test_a_known_cause_stops_all_until_it_is_over(bench: Bench) -> None:
    assert bench.jobs.stop("no quorum", trials=False) and not bench.jobs.stop("no quorum", trials=False)
    for vmid in range(100, 103):
        bench.jobs.submit(job(vmid))
    assert bench.jobs.busy == 0 and bench.jobs.waiting == 3 and bench.jobs.next() == float("inf")
    assert not bench.jobs.stop("Permission denied", trials=True), "what a job found that ran then is the same cause"
    assert bench.jobs.next() == float("inf") and bench.jobs.stopped == "no quorum"
    assert bench.jobs.go_on() and not bench.jobs.go_on()
    assert sorted(bench.wait_for_begun(3)) == [100, 101, 102]


def test_one_at_a_time_tries_whether_it_is_over(bench: Bench) -> None:
    clock = bench.jobs._clock = Clock()
    bench.jobs.stop("no space", trials=True)
    for vmid in range(100, 103):
        bench.jobs.submit(job(vmid))
    assert bench.jobs.next() == PAUSES[0] and bench.jobs.try_one() and bench.jobs.busy == 0, "it is not due"
    clock.now = PAUSES[0]
    assert bench.jobs.try_one() and bench.wait_for_begun(1) == [100]
    assert bench.jobs.try_one() and bench.jobs.busy == 1 and bench.jobs.next() == float("inf"), "not before its result is known"
    (end,) = bench.finish(100)
    bench.jobs.stop("no space", trials=True)
    bench.jobs.submit(end.job)
    assert bench.jobs.next() == PAUSES[0] + PAUSES[1] and bench.jobs.busy == 0
    bench.jobs.go_on()
    assert sorted(bench.wait_for_begun(4)[1:]) == [100, 101, 102]


def test_nothing_is_left_to_try_it_with(bench: Bench) -> None:
    clock = bench.jobs._clock = Clock()
    bench.jobs.stop("no space", trials=True)
    clock.now = PAUSES[0]
    assert not bench.jobs.try_one()


def test_only_a_job_that_began_since_shows_that_the_cause_is_over(bench: Bench) -> None:
    """One that ran already may have made its backup before the disk was full."""
    clock = bench.jobs._clock = Clock()
    bench.jobs.submit(job(100))
    bench.wait_for_begun(1)
    bench.jobs.stop("no space", trials=True)
    bench.jobs.submit(job(101))
    bench.finish(100)
    assert not bench.jobs.is_trial(100)
    clock.now = PAUSES[0]
    assert bench.jobs.try_one() and bench.wait_for_begun(2) == [100, 101]
    bench.finish(101)
    assert bench.jobs.is_trial(101)
    bench.jobs.go_on()
    assert not bench.jobs.is_trial(101), "nothing is stopped"
