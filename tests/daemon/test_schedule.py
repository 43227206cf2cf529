"""When a guest is due: changes settle, bursts do not put it off for ever, retries keep their time. No clock but the given one."""

from __future__ import annotations

import pytest

from pvehooks.daemon.schedule import EVERYTHING, Due, Schedule


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    return Schedule(clock, settling_seconds=2.0)


def test_nothing_is_due(schedule: Schedule) -> None:
    assert schedule.take() == Due({}) and schedule.next() == float("inf")


def test_a_change_settles(schedule: Schedule, clock: Clock) -> None:
    schedule.changed(100)
    assert schedule.next() == 102.0
    clock.now = 101.9
    assert schedule.take() == Due({})
    clock.now = 102.0
    assert schedule.take() == Due({100: False})
    assert schedule.take() == Due({}), "it was taken"


def test_each_change_puts_it_off(schedule: Schedule, clock: Clock) -> None:
    schedule.changed(100)
    clock.now = 101.5
    schedule.changed(100)
    assert schedule.next() == 103.5


def test_guests_that_one_command_changes_are_reviewed_together(schedule: Schedule, clock: Clock) -> None:
    for number in range(5):
        clock.now = 100.0 + number / 50
        schedule.changed(100 + number)
    schedule.changed(200)
    clock.now = 100.5
    schedule.changed(300)
    clock.now = 102.0
    assert schedule.take(busy=[104]).guests == dict.fromkeys((100, 101, 102, 103, 200), False)
    assert schedule.next() == 102.5, "one that changed later waits, and one for which a job runs"
    clock.now = 102.5
    assert schedule.take().guests == {300: False}
    assert schedule.next() > 103.5


def test_a_burst_puts_it_off_for_five_settling_times_at_most(schedule: Schedule, clock: Clock) -> None:
    for tenth in range(200):
        clock.now = 100.0 + tenth / 10
        schedule.changed(100)
        if schedule.take().guests:
            break
    assert clock.now == 110.0


def test_guests_settle_apart(schedule: Schedule, clock: Clock) -> None:
    schedule.changed(100)
    clock.now = 101.0
    schedule.changed(101)
    clock.now = 102.5
    assert schedule.take() == Due({100: False})
    assert schedule.next() == 103.0


def test_a_forced_review_stays_forced(schedule: Schedule, clock: Clock) -> None:
    schedule.changed(100, forced=True)
    schedule.changed(100)
    schedule.after(101, 1.0, forced=True)
    schedule.after(101, 0.5)
    clock.now = 110.0
    assert schedule.take() == Due({100: True, 101: True})


def test_a_retry_has_its_time(schedule: Schedule, clock: Clock) -> None:
    schedule.after(100, 30.0, forced=True)
    assert schedule.next() == 130.0
    schedule.after(100, 60.0)
    assert schedule.next() == 130.0, "what is due earlier stays so"
    schedule.after(100, 5.0)
    assert schedule.next() == 105.0


def test_a_change_takes_the_place_of_a_retry(schedule: Schedule, clock: Clock) -> None:
    """The guest that had to wait was edited: it is reviewed as soon as that has settled."""
    schedule.after(100, 300.0, forced=True)
    clock.now = 110.0
    schedule.changed(100)
    assert schedule.next() == 112.0
    clock.now = 112.0
    assert schedule.take() == Due({100: True})


def test_a_busy_guest_is_put_off(schedule: Schedule, clock: Clock) -> None:
    schedule.changed(100, forced=True)
    schedule.changed(101)
    clock.now = 105.0
    assert schedule.take(busy={100, 999}) == Due({101: False})
    assert schedule.next() == 107.0
    clock.now = 107.0
    assert schedule.take() == Due({100: True})


def test_everything_is_distinguished(schedule: Schedule, clock: Clock) -> None:
    schedule.after(EVERYTHING, 0.0, forced=True)
    schedule.after(100, 0.0)
    assert schedule.take() == Due({100: True}, everything=True)
    schedule.changed(EVERYTHING)
    clock.now = 102.0
    assert schedule.take() == Due({}, everything=False)


def test_what_has_all_reviewed_leaves_no_changed_guest_out(schedule: Schedule, clock: Clock) -> None:
    """A guest's own change is due within the same moment as all guests: it is reviewed although its config is as it was at the last look."""
    schedule.changed(100)
    clock.now += schedule.settling_seconds - 0.05
    schedule.after(EVERYTHING, 0.0, forced=True)
    assert schedule.take() == Due({100: True}, everything=True)


def test_the_first_review_takes_what_has_not_settled(schedule: Schedule) -> None:
    schedule.changed(100)
    assert schedule.take(until=float("inf")) == Due({100: False})


def test_a_guest_that_went_is_forgotten(schedule: Schedule) -> None:
    schedule.changed(100)
    schedule.forget(100)
    schedule.forget(101)
    assert schedule.next() == float("inf")


def test_new_settings_change_the_settling_time(schedule: Schedule) -> None:
    schedule.settling_seconds = 10.0
    schedule.changed(100)
    assert schedule.next() == 110.0
