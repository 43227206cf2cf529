"""The receiver of sd_notify messages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from systemd import daemon

from tests.beds.notify import NotifySocket


@pytest.fixture
def notify(monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    with NotifySocket() as receiver:
        monkeypatch.setenv("NOTIFY_SOCKET", receiver.environment["NOTIFY_SOCKET"])
        yield receiver


def test_messages_with_their_sender_and_time(notify: NotifySocket) -> None:
    before = time.monotonic()
    assert daemon.notify("READY=1\nSTATUS=3 guests, a=b")
    message = notify.wait_for("READY", "1")
    assert message.fields == {"READY": "1", "STATUS": "3 guests, a=b"}
    assert message.pid == os.getpid()
    assert before < message.time < time.monotonic()


def test_values_in_order_and_after_a_time(notify: NotifySocket) -> None:
    for number in range(3):
        daemon.notify(f"STATUS={number}")
    last = notify.wait_for("STATUS", "2")
    assert notify.values("STATUS") == ["0", "1", "2"]
    with pytest.raises(AssertionError, match="STATUS=2"):
        notify.wait_for("STATUS", after=last.time, timeout=0.05)


def test_a_missing_message_is_reported_with_what_came(notify: NotifySocket) -> None:
    daemon.notify("STATUS=starting")
    notify.wait_for("STATUS")
    with pytest.raises(AssertionError, match=r"no READY=1 came, only.*STATUS=starting"):
        notify.wait_for("READY", "1", timeout=0.05)


def test_it_leaves_no_socket() -> None:
    receiver = NotifySocket()
    receiver.close()
    assert not receiver.path.parent.exists()
