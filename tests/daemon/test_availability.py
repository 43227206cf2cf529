"""How pmxcfs is waited for, and when the daemon takes its own mount for dead. No clock but the given one."""

from __future__ import annotations

import pytest

from pvehooks.daemon.availability import POLL_PAUSES, Availability, StuckError


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pauses_grow() -> None:
    found = Availability(Clock())
    assert [found.failed() for _ in range(8)] == [*POLL_PAUSES, POLL_PAUSES[-1], POLL_PAUSES[-1]]
    assert found.away and found.answered() and not found.away
    assert not found.answered(), "it was back already"
    assert found.failed() == POLL_PAUSES[0]


def test_a_change_of_the_database_shortens_them() -> None:
    found = Availability(Clock())
    for _ in range(4):
        found.failed()
    found.database_changed()
    assert found.failed() == POLL_PAUSES[0]


def test_a_mount_that_stays_dead_while_pmxcfs_works() -> None:
    clock = Clock()
    found = Availability(clock)
    found.failed()
    clock.now = 10.0
    found.database_changed()
    clock.now = 35.0
    found.database_changed()
    clock.now = 40.0
    found.failed()
    clock.now = 41.0
    with pytest.raises(StuckError):
        found.failed()


def test_a_silent_pmxcfs_is_waited_for_for_ever() -> None:
    clock = Clock()
    found = Availability(clock)
    found.database_changed()
    for hour in range(24):
        clock.now = 3600.0 * hour
        found.failed()


def test_quorum() -> None:
    found = Availability(Clock())
    assert found.quorate and not found.quorum(True)
    assert found.quorum(False) and not found.quorate
    assert not found.quorum(False)
    assert found.quorum(True)


def test_quorum_that_is_waited_for_after_a_boot() -> None:
    """A node that boots has none until others are up: that is worth a warning only when it takes long, and once."""
    clock = Clock()
    found = Availability(clock)
    assert found.quorum(False) and found.awaits_quorum and not found.quorum_becomes_overdue()
    clock.now = 301.0
    assert found.quorum_becomes_overdue() and not found.quorum_becomes_overdue() and not found.awaits_quorum
    assert found.quorum(True) and not found.awaits_quorum
    assert found.quorum(False) and not found.awaits_quorum, "it is lost now"
