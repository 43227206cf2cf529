"""Guests that ended without their post-stop: what is due for them is requested, once they had time, and again with longer pauses."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.daemon.ended import REQUESTS, EndedGuests
from pvehooks.facts.pci.devices import STARTED
from pvehooks.host import Host
from tests.beds.tree import make_fake_tree


class Clock(Host):
    """A tree with a clock that only the test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def host(tmp_path: Path) -> Clock:
    files = {f"{STARTED[1:]}/{vmid}": "{}" for vmid in (100, 101)}
    files |= {"run/qemu-server/101.pid": "4711\n", "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0"}
    return Clock(str(make_fake_tree(tmp_path, files)))


def requested(host: Clock) -> list[str]:
    """What is requested; the unit takes it."""
    try:
        names = host.names(REQUESTS)
    except FileNotFoundError:
        return []
    for name in names:
        host.remove(f"{REQUESTS}/{name}")
    return names


def after(host: Clock, ended: EndedGuests, seconds: float) -> list[str]:
    host.seconds += seconds
    ended.look()
    return requested(host)


def test_a_guest_that_ended_is_requested(host: Clock) -> None:
    ended = EndedGuests(host)
    assert ended.next() == float("inf")
    assert after(host, ended, 0) == []
    assert ended.next() == 1030.0
    assert after(host, ended, 29) == []
    assert after(host, ended, 1) == ["100"], "the other one runs"
    assert [after(host, ended, seconds) for seconds in (59, 1, 119, 1)] == [[], ["100"], [], ["100"]]
    host.remove(f"{STARTED}/100")
    assert after(host, ended, 9999) == [] and ended.next() == float("inf")


def test_one_that_starts_meanwhile_is_not(host: Clock) -> None:
    ended = EndedGuests(host)
    after(host, ended, 0)
    make_fake_tree(Path(host.root), {"run/qemu-server/100.pid": "4712\n", "proc/4712/cmdline": "/usr/bin/kvm\0-id\x00100\0"})
    assert after(host, ended, 60) == []
    host.remove("/run/qemu-server/100.pid")
    assert [after(host, ended, 29), after(host, ended, 30)] == [[], ["100"]], "it has its time anew"


def test_where_nothing_can_be_written_it_is_tried_again(host: Clock) -> None:
    ended = EndedGuests(host)
    after(host, ended, 0)
    make_fake_tree(Path(host.root), {REQUESTS[1:]: ""})
    host.seconds += 30
    ended.look()
    host.remove(REQUESTS)
    assert after(host, ended, 60) == ["100"]
