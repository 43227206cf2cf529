"""What is remembered of a guest, and when it is forgotten."""

from __future__ import annotations

from pvehooks.daemon.state import States


def test_a_state_is_made_once() -> None:
    states = States()
    states.of(100).tries = 3
    assert states.of(100).tries == 3 and states.of(101).tries == 0
    assert sorted(vmid for vmid, _ in states) == [100, 101]


def test_a_guest_that_went_is_forgotten() -> None:
    states = States()
    states.of(100).rng0_refused = "digest"
    states.forget(100)
    states.forget(101)
    assert states.of(100).rng0_refused == ""


def test_who_waits() -> None:
    states = States()
    states.of(100).waits = "LOCKED VM is locked"
    states.of(101)
    assert states.waiting() == [100]
    states.of(100).job_finished()
    assert states.waiting() == []


def test_a_settled_guest_keeps_its_refusals() -> None:
    state = States().of(100)
    state.last_seen, state.tries, state.waits, state.awaited_at_boot, state.attach_refused = b"mark", 2, "LOCKED", "VM 100", "digest"
    state.job_finished()
    assert (state.last_seen, state.tries, state.waits, state.awaited_at_boot, state.attach_refused) == (b"mark", 0, "", "", "digest")


def test_new_settings_allow_another_try() -> None:
    states = States()
    state = states.of(100)
    state.last_seen, state.rng0_refused, state.attach_refused, state.tries, state.waits = b"mark", "one", "two", 4, "LOCKED"
    states.reconsider()
    assert (state.last_seen, state.rng0_refused, state.attach_refused, state.tries, state.waits) == (b"mark", "", "", 0, "")
