"""Which job a verdict asks for, none that was refused, and growing pauses."""

from __future__ import annotations

import pytest

from pvehooks.daemon.jobs import NOT_DUE, RETRY_PAUSES, Job, JobPolicy
from pvehooks.daemon.state import States
from pvehooks.formats import guestconfig
from pvehooks.values import Guest, Rng0Decision, Verdict

DUE = Rng0Decision(True, None, "it boots from the network", "some-rule")


def guest(vmid: int, text: bytes = b"name: web\n") -> Guest:
    return Guest(vmid, "pve1", guestconfig.parse(text), (), running=False)


def job(vmid: int, attach: bool = False) -> Job:
    return Job(guest(vmid), DUE, attach)


def verdict(of: Guest, due: bool = True, attach: bool = False) -> Verdict:
    return Verdict(of, False, (), DUE if due else NOT_DUE, attach)


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
def clock() -> list[float]:
    """What the time is."""
    return [1000.0]


@pytest.fixture
def policy(states: States, clock: list[float]) -> JobPolicy:
    return JobPolicy(states, lambda: clock[0])


def test_nothing_is_wanted(policy: JobPolicy) -> None:
    assert policy.wanted(verdict(guest(100), due=False), may_attach=True) is None


def test_the_guard_only_where_all_nodes_can_run_it(policy: JobPolicy) -> None:
    found = verdict(guest(100), due=False, attach=True)
    assert policy.wanted(found, may_attach=False) is None
    wanted = policy.wanted(found, may_attach=True)
    assert wanted is not None and wanted.attach and not wanted.rng0_decision.due


def test_both_in_one_job(policy: JobPolicy) -> None:
    wanted = policy.wanted(verdict(guest(100), attach=True), may_attach=True)
    assert wanted is not None and wanted.attach and wanted.rng0_decision == DUE


def test_a_refused_job_is_wanted_again_when_the_config_changes(policy: JobPolicy) -> None:
    policy.refused(job(100))
    assert policy.wanted(verdict(guest(100)), may_attach=True) is None
    assert policy.wanted(verdict(guest(100, b"name: edited\n")), may_attach=True) is not None
    assert policy.wanted(verdict(guest(101)), may_attach=True) is not None


def test_a_refused_rng0_does_not_refuse_the_guard(policy: JobPolicy) -> None:
    policy.refused(job(100))
    wanted = policy.wanted(verdict(guest(100), attach=True), may_attach=True)
    assert wanted is not None and wanted.attach and not wanted.rng0_decision.due


def test_a_refused_job_is_wanted_again_with_new_settings(policy: JobPolicy, states: States) -> None:
    policy.refused(job(100, attach=True))
    assert policy.wanted(verdict(guest(100), attach=True), may_attach=True) is None
    states.reconsider()
    assert policy.wanted(verdict(guest(100), attach=True), may_attach=True) is not None


def test_after_a_failed_write_nothing_is_wanted_for_what_stands_there_now(policy: JobPolicy) -> None:
    policy.failed(100, guest(100, b"name: edited\n").digest)
    assert policy.wanted(verdict(guest(100, b"name: edited\n"), attach=True), may_attach=True) is None
    assert policy.wanted(verdict(guest(100), attach=True), may_attach=True) is not None


def test_the_pauses_grow_and_a_reason_is_new_once(policy: JobPolicy, states: States) -> None:
    found = [policy.retry(100, "LOCKED VM is locked") for _ in range(9)]
    assert [pause for pause, _ in found] == [*RETRY_PAUSES, RETRY_PAUSES[-1], RETRY_PAUSES[-1]]
    assert [new for _, new in found] == [True] + [False] * 8
    assert policy.retry(100, "WAITING no quorum") == (RETRY_PAUSES[-1], True)
    assert policy.retry(101, "LOCKED VM is locked") == (RETRY_PAUSES[0], True), "each guest has its own"
    assert states.waiting() == [100, 101]
    states.of(100).job_finished()
    assert policy.retry(100, "LOCKED VM is locked") == (RETRY_PAUSES[0], True)


def test_the_guard_leaves_only_after_a_time_without_devices(policy: JobPolicy, clock: list[float]) -> None:
    superfluous = verdict(guest(100), due=False)._replace(detach=True)
    assert policy.seconds_until_detach(superfluous, 600) == 600
    clock[0] += 400
    assert policy.seconds_until_detach(superfluous, 600) == 200
    assert policy.wanted(superfluous, may_attach=True, may_detach=False) is None
    assert policy.seconds_until_detach(verdict(guest(100), due=False), 600) is None, "it has a device again"
    clock[0] += 400
    assert policy.seconds_until_detach(superfluous, 600) == 600
    clock[0] += 600
    assert policy.seconds_until_detach(superfluous, 600) == 0
    wanted = policy.wanted(superfluous, may_attach=True)
    assert wanted is not None and wanted.detach
