"""The review of guests on a fake node: what is left out, what is reported once, what is queued, and that it is safe to repeat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks import judge as judging
from pvehooks.daemon import review
from pvehooks.daemon.review import Why
from pvehooks.facts import hardware
from pvehooks.values.base import sha1
from tests.daemon.bed import RNG0, uefi
from tests.daemon.parts import NODE, Parts

BROKEN = "boot: order=scsi0\nmemory: 512\nonbot: 1\nscsi0: local:100/vm-100-disk-0.qcow2,size=8G\n"
PASSED = f"boot: order=scsi0\nhostpci0: 0000:01:00.0\nmemory: 512\nonboot: 1\n{RNG0}scsi0: local:100/vm-100-disk-0.qcow2,size=8G\n"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The VMIDs that were judged."""
    found: list[int] = []
    judge = judging.judge

    def noted(guest: object, *rest: object) -> object:
        found.append(guest.vmid)  # type: ignore[attr-defined]
        return judge(guest, *rest)

    monkeypatch.setattr(review, "judge", noted)
    return found


def test_a_guest_is_reviewed_when_its_config_changes(tmp_path: Path, judged: list[int]) -> None:
    parts = Parts(tmp_path, {100: uefi(), 101: uefi("mail")})
    parts.review.review([100, 101])
    parts.review.review([100, 101])
    assert judged == [100, 101]
    parts.write(101, uefi("mail", "cores: 4\n"))
    parts.review.review([100, 101])
    assert judged == [100, 101, 101]


def test_a_forced_review_leaves_no_guest_out(tmp_path: Path, judged: list[int]) -> None:
    parts = Parts(tmp_path, {100: uefi()})
    for _ in range(2):
        parts.review.review([100], Why.FORCED)
    assert judged == [100, 100]


def test_after_a_job_only_what_it_left_is_reviewed(tmp_path: Path, judged: list[int]) -> None:
    """Another's change meanwhile has a review of its own, as a change."""
    parts = Parts(tmp_path, {100: uefi()})
    parts.review.review([100])
    parts.write(100, uefi(more=RNG0))
    parts.states.of(100).last_seen = sha1(uefi(more=RNG0).encode())
    parts.review.review([100], Why.AFTER_JOB)
    assert judged == [100, 100]
    parts.review.review([100])
    assert judged == [100, 100], "our own change is no change"
    parts.write(100, uefi(more=f"{RNG0}cores: 4\n"))
    parts.review.review([100], Why.AFTER_JOB)
    assert judged == [100, 100]
    parts.review.review([100])
    assert judged == [100, 100, 100]


def test_a_finding_is_reported_once_and_when_it_is_gone(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: BROKEN})
    parts.review.review([100])
    assert "finding 100" in parts.events()
    parts.review.review([100], Why.FORCED)
    assert parts.events() == []
    parts.write(100, BROKEN.replace("onbot", "onboot"))
    parts.review.review([100])
    assert parts.messages() == ["VM 100: no longer: config-lines-dropped (onbot)"]


def test_what_a_job_has_cured_is_not_reported_as_gone(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: BROKEN})
    parts.review.review([100])
    parts.events()
    fixed = BROKEN.replace("onbot", "onboot")
    parts.write(100, fixed)
    parts.states.of(100).last_seen = sha1(fixed.encode())
    parts.review.review([100], Why.AFTER_JOB)
    parts.review.review([100], Why.FORCED)
    assert parts.events() == []


def test_a_guest_that_lacks_an_rng0_is_queued(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: uefi(), 101: uefi("mail", RNG0)})
    parts.review.review([100, 101])
    assert parts.wanted() == [(100, True, False)]
    assert "finding 100" not in parts.events(), "the job reports"


def test_a_refused_one_is_reported_instead_of_queued(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: uefi()})
    parts.review.review([100])
    (job,) = parts.jobs.kept
    parts.policy.refused(job)
    parts.wanted()
    parts.review.review([100], Why.FORCED)
    assert parts.wanted() == [] and parts.events() == ["finding 100"]
    parts.write(100, uefi("edited"))
    parts.review.review([100])
    assert parts.wanted() == [(100, True, False)]


def test_the_guard_waits_until_all_nodes_are_known_to_have_it(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: PASSED})
    parts.review.review([100])
    assert parts.wanted() == []
    parts.membership.poll()
    parts.review.review([100], Why.FORCED)
    assert parts.wanted() == [(100, False, True)]


def test_a_guest_that_starts_at_boot_comes_first_and_is_held(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: PASSED, 101: PASSED.replace("onboot: 1\n", "")})
    parts.membership.poll()
    parts.review.review([100, 101])
    assert parts.jobs.first == [100] and parts.gate.waits()
    parts.gate.open("it took too long")
    assert parts.messages()[-1] == (
        "VM 100: starts at boot without the guard, so nothing looks what it takes from the host: it took too long"
    )
    parts.jobs.first.clear()
    parts.review.review([100, 101], Why.FORCED)
    assert parts.jobs.first == [] and not parts.gate.waits()


def test_a_guest_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    parts = Parts(tmp_path, {100: BROKEN})
    parts.review.review([100])
    assert parts.reporter.count() > 0 and 100 in parts.stats.guests
    parts.remove(100)
    parts.review.review([100])
    assert (parts.reporter.count(), parts.stats.guests, dict(parts.states)) == (0, {}, {})


def test_a_bug_with_one_guest_does_not_end_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path, {100: BROKEN, 101: BROKEN})
    judge = judging.judge

    def fails(guest: object, *rest: object) -> object:
        if guest.vmid == 100:  # type: ignore[attr-defined]
            raise ZeroDivisionError
        return judge(guest, *rest)

    monkeypatch.setattr(review, "judge", fails)
    parts.review.review([100, 101])
    events = parts.events()
    assert "bug 100" in events and "finding 101" in events and parts.stats.events["bug"] == 1


def test_a_look_ends_when_the_daemon_is_to_stop(tmp_path: Path, judged: list[int]) -> None:
    parts = Parts(tmp_path, dict.fromkeys(range(100, 110), BROKEN))
    left = iter((True, True, False))
    parts.review.review(range(100, 110), keep_alive=lambda: next(left))
    assert judged == [100, 101]


def test_the_node_is_gathered_once_for_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path, dict.fromkeys(range(100, 110), BROKEN))
    gathered: list[str] = []
    gather = hardware.gather

    def noted(host: object, node: str, *rest: object) -> object:
        gathered.append(node)
        return gather(host, node, *rest)

    monkeypatch.setattr(hardware, "gather", noted)
    parts.review.review(range(100, 110))
    assert gathered == [NODE]
    parts.review.review(range(100, 110))
    assert gathered == [NODE], "and not at all where nothing changed"
