"""Entries at a real journald: what it takes, and what becomes of them while it takes nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from types import FrameType

import pytest

from pvehooks.journal import output
from pvehooks.journal.entries import Entry, message_id
from pvehooks.journal.kind import INFO
from pvehooks.values.guests import guest_label
from tests.beds.journald import Journald


def entry(text: str, more: str = "") -> Entry:
    return Entry(text, message_id("event/started"), INFO, {"PVEHOOKS_FINDINGS": more} if more else {})


@pytest.fixture
def journald() -> Iterator[Journald]:
    with Journald() as one:
        yield one


@pytest.fixture
def no_hanging() -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError("it waits for journald")

    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def flooded(journald: Journald) -> list[socket.socket]:
    """journald is stopped, and another user's datagrams fill its socket."""
    assert journald._process is not None
    journald._process.send_signal(signal.SIGSTOP)
    senders = []
    for _ in range(2000):
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        senders.append(sender)
        try:
            sender.sendto(b"MESSAGE=x\n", output.SOCKET)
        except BlockingIOError:
            return senders
    raise AssertionError("the queue has no end")


def test_a_journald_that_takes_nothing_keeps_no_one(journald: Journald, no_hanging: None) -> None:
    """sd_journal_sendv(3) waits for ever: a start that was refused did not end, and the daemon cared for no guest."""
    log = output.Journal()
    log.write(entry("before"))
    senders = flooded(journald)
    for _ in range(100):
        log.write(entry("lost"))
    assert journald._process is not None
    journald._process.send_signal(signal.SIGCONT)
    for sender in senders:
        sender.close()
    journald.wait_for("SYSLOG_IDENTIFIER=pvehooksd", where=lambda each: each["MESSAGE"] == "before")
    journald.entries()
    log.write(entry("after"))
    journald.wait_for("SYSLOG_IDENTIFIER=pvehooksd", where=lambda each: each["MESSAGE"] == "after")


@pytest.mark.parametrize("size", [0, 1000, 100_000, 700_000], ids="{} lines".format)
def test_what_was_written_is_read(size: int, journald: Journald) -> None:
    """Lines, texts with an equals sign, and what is too large for a datagram."""
    more = "\n".join(["a=b", *("x\tü" for _ in range(size))])
    output.Journal("test").write(entry("c=d", more))
    (found,) = journald.wait_for("SYSLOG_IDENTIFIER=test")
    assert (found["MESSAGE"], found["PVEHOOKS_FINDINGS"]) == ("c=d", more.replace("\t", "\\t"))
    assert (found["PRIORITY"], found["_PID"]) == ("6", str(os.getpid()))


def test_what_a_tenant_wrote_fills_no_journal(journald: Journald) -> None:
    """A name, a bridge or a storage may have 60,000 characters: of a message both ends stay."""
    long = Entry(f"VM 100: {'a' * 60_000}: do this", message_id("event/started"), INFO, {"PVEHOOKS_DEVICE": "b" * 60_000})
    output.Journal("test").write(long)
    (found,) = journald.wait_for("SYSLOG_IDENTIFIER=test")
    assert len(found["MESSAGE"]) < 4010 and found["MESSAGE"].startswith("VM 100: aaa") and found["MESSAGE"].endswith("aaa: do this")
    assert len(found["PVEHOOKS_DEVICE"]) < 4010
    assert guest_label(100, "a" * 60_000) == f"VM 100 ({'a' * 100}[...])"
