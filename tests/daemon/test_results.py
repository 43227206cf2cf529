"""What follows from a finished job: the entry, the next try, the refusal, and what concerns all guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.jobs import NOT_DUE, RETRY_PAUSES, Job, JobResult
from pvehooks.errors import ActionFailed
from pvehooks.values import Rng0Decision
from pvehooks.values.base import sha1
from tests.daemon.bed import RNG0, uefi
from tests.daemon.parts import Parts

DUE = Rng0Decision(True, None, "it boots from the network", "some-rule")
DIGEST = sha1(uefi(more=RNG0).encode()).hex()
DONE = Result(Outcome.DONE, "", "source=/dev/urandom", DIGEST, "/backup")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    """A node whose guests 100 and 101 have a job each."""
    found = Parts(tmp_path, {100: uefi(), 101: uefi("mail")})
    found.review.review([100, 101])
    found.events()
    return found


def end(
    parts: Parts, *results: tuple[int, Result | Exception], injection: Rng0Decision = DUE, attach: bool = False
) -> tuple[list[int], bool]:
    """These jobs have ended so."""
    guests = {job.guest.vmid: job.guest for job in parts.jobs.kept}
    for vmid, result in results:
        job = Job(guests[vmid], injection, attach)
        failed = isinstance(result, Exception)
        parts.jobs.ended.append(JobResult(job, None if failed else result, result if failed else None))  # type: ignore[arg-type]
    return parts.results.collect()


def test_nothing_ended(parts: Parts) -> None:
    assert parts.results.collect() == ([], False) and parts.events() == []


def test_a_done_job_is_reported_and_its_guest_reviewed(parts: Parts) -> None:
    parts.states.of(100).waits = "LOCKED VM is locked"
    assert end(parts, (100, DONE)) == ([100], False)
    assert parts.messages() == [
        "VM 100 (web): given rng0 source=/dev/urandom, because: it boots from the network. Take it back: pvehooks undo 100"
    ]
    assert parts.states.of(100).last_seen.hex() == DIGEST and parts.states.waiting() == []
    assert parts.results.last_change == "VM 100 given rng0" and parts.stats.events["injected"] == 1


def test_the_guard_has_an_entry_of_its_own(parts: Parts) -> None:
    end(parts, (100, DONE._replace(volid="local:snippets/pvehooks-guard")), attach=True)
    assert parts.events() == ["injected 100", "attached 100"]


def test_a_config_that_changed_meanwhile_is_reviewed_at_once(parts: Parts) -> None:
    assert end(parts, (100, Result(Outcome.CHANGED, "changed"))) == ([], False)
    assert parts.scheduled == [(100, 0.0)] and parts.events() == []


def test_a_guest_that_moved_away_is_forgotten(parts: Parts) -> None:
    parts.remove(100)
    end(parts, (100, Result(Outcome.GONE, "gone")), (101, Result(Outcome.GONE, "gone")))
    assert parts.scheduled == [(101, RETRY_PAUSES[0])], "a rename under way looks like that"
    assert 100 not in parts.stats.guests and 101 in parts.stats.guests


@pytest.mark.parametrize(
    ("outcome", "rule"), [(Outcome.REFUSED, "some-rule"), (Outcome.LOSSY, "rng-held-lines-dropped")], ids=["value", "lines"]
)
def test_a_refused_job_is_reported_once_and_not_tried_again(parts: Parts, outcome: Outcome, rule: str) -> None:
    parts.gate.wait_for(parts.jobs.kept[0].guest)
    end(parts, (100, Result(outcome, "no")), attach=True)
    entries = parts.output.entries
    assert [(entry.fields["PVEHOOKS_EVENT"], entry.fields["PVEHOOKS_RULE"]) for entry in entries] == [
        ("not-attached", "guard-not-attached"),
        ("not-injected", rule),
    ]
    state = parts.states.of(100)
    assert parts.scheduled == [] and state.rng0_refused == state.attach_refused != "" and state.awaited_at_boot == ""


def test_a_locked_guest_is_tried_again_with_growing_pauses(parts: Parts) -> None:
    for _ in range(3):
        assert end(parts, (100, Result(Outcome.LOCKED, "VM is locked (backup)"))) == ([], False)
    assert parts.scheduled == [(100, pause) for pause in RETRY_PAUSES[:3]]
    assert parts.messages() == ["VM 100 (web): rng0 has to wait: VM is locked (backup). It is tried again automatically"]


def test_a_pmxcfs_without_quorum_concerns_all_guests(parts: Parts) -> None:
    waiting = Result(Outcome.WAITING, "no quorum")
    assert end(parts, (100, DONE), (101, waiting)) == ([100], True)
    assert end(parts, (101, waiting)) == ([], False), "it was doubted for this already"
    assert parts.events() == ["injected 100"], "what pmxcfs is found to be is logged once, not with each guest"
    assert parts.states.waiting() == [101] and parts.jobs.stopped == "no quorum"
    assert [job.guest.vmid for job in parts.jobs.kept[-2:]] == [101, 101], "it is tried again"


@pytest.mark.parametrize("outcome", [Outcome.WAITING, Outcome.UNSAVED])
def test_a_cause_that_is_not_pmxcfs_is_reported_once(parts: Parts, outcome: Outcome) -> None:
    stopped = Result(outcome, "no space")
    assert end(parts, (100, stopped), (101, stopped)) == ([], True)
    parts.results.report_cause()
    assert end(parts, (100, stopped)) == ([], False)
    assert parts.messages() == ["VMs can be given nothing now, so all that is due waits: no space. It is tried again automatically"]
    assert end(parts, (100, DONE)) == ([100], False)
    assert parts.jobs.stopped == ""
    assert parts.events() == ["injected 100", "changes-resumed"]


def test_what_is_wrong_with_the_one_that_tries_is_not_reported_of_the_others(parts: Parts) -> None:
    end(parts, (100, Result(Outcome.UNSAVED, "no space")))
    parts.results.report_cause()
    for each in (Result(Outcome.LOCKED, "VM is locked (backup)"), ZeroDivisionError("a bug")):
        end(parts, (101, each))
        assert parts.jobs.stopped == "no space" and parts.jobs.next() < float("inf")


def test_a_qm_without_an_answer_is_an_error(parts: Parts) -> None:
    broken = Result(Outcome.BROKEN, "qm was killed by signal 9")
    end(parts, (100, broken))
    end(parts, (101, broken), injection=NOT_DUE, attach=True)
    assert parts.events() == ["not-injected 100", "not-attached 101"] and len(parts.scheduled) == 2


def test_a_write_that_is_not_as_it_should_be_is_not_tried_again(parts: Parts) -> None:
    parts.write(100, uefi("half"))
    end(parts, (100, ActionFailed("VM 100 (web): rng0 was written, but the config does not show it", "Compare them")))
    assert parts.messages() == ["VM 100 (web): rng0 was written, but the config does not show it. Compare them"]
    assert parts.states.of(100).rng0_refused == sha1(uefi("half").encode()).hex() and parts.scheduled == []


def test_a_bug_is_reported(parts: Parts) -> None:
    end(parts, (100, ZeroDivisionError("oops")))
    assert parts.events() == ["bug 100"]
