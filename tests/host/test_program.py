"""A program that answers lines: all that it may do wrong, and that it is not left behind."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from pvehooks.host import CommandTrouble, Host
from pvehooks.host.program import Program
from tests.daemon.bed import wait_until

SECONDS = 20.0


def program(script: str) -> Program:
    return Host().start(["/bin/sh", "-c", script])


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_answers_line_by_line() -> None:
    each = program('while read -r line; do echo "<$line>"; done')
    assert each.ask(b"one\n", SECONDS) == b"<one>"
    assert each.ask(b"two\n", SECONDS) == b"<two>"
    assert not each.has_ended()
    each.end()
    wait_until(each.has_ended, "it ends with its standard input")


def test_an_answer_in_parts() -> None:
    each = program("read -r _; printf 'a'; sleep 0.1; printf 'b'; sleep 0.1; printf 'c\\nrest'; read -r _; echo ' of it'")
    assert each.ask(b"?\n", SECONDS) == b"abc"
    assert each.ask(b"?\n", SECONDS) == b"rest of it"


def test_two_lines_at_once() -> None:
    each = program("printf 'ready\\nsecond\\n'; sleep 60")
    assert each.read_line(SECONDS) == b"ready"
    assert each.read_line(SECONDS) == b"second"
    each.kill()


def test_an_answer_of_a_megabyte() -> None:
    each = program("head -c 1000000 /dev/zero | tr '\\0' x; echo")
    assert len(each.read_line(SECONDS)) == 1000000


def test_a_request_of_a_megabyte_to_one_who_does_not_read() -> None:
    each = program("sleep 60")
    with pytest.raises(CommandTrouble, match="sh did not answer in time and was killed"):
        each.ask(b"x" * 1000000, 0.3)
    assert each.has_ended()


def test_ends_without_an_answer() -> None:
    each = program("read -r _; echo 'no memory' >&2; exit 1")
    with pytest.raises(CommandTrouble, match=r"^sh ended without an answer: no memory$"):
        each.ask(b"?\n", SECONDS)
    with pytest.raises(CommandTrouble, match=r"^sh has ended$"):
        each.ask(b"?\n", SECONDS)


def test_ended_before_it_is_asked() -> None:
    each = program("exit 0")
    wait_until(lambda: is_gone(each.pid), "it ends")
    with pytest.raises(CommandTrouble, match="sh ended without an answer"):
        each.ask(b"?\n", SECONDS)


def test_killed_with_what_it_has_started(tmp_path: Path) -> None:
    each = program(f"sleep 1000 & echo $! >{tmp_path}/child; trap '' TERM; read -r _; wait")
    wait_until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "it has started one")
    with pytest.raises(CommandTrouble, match="did not answer in time"):
        each.ask(b"?\n", 0.2)
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: is_gone(child), "what it has started is killed as well")


def test_sends_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvehooks.host.program._LONGEST", 100000)
    each = program("exec cat /dev/zero")
    with pytest.raises(CommandTrouble, match="sends without an end"):
        each.read_line(SECONDS)
    assert each.has_ended()


def test_much_on_standard_error() -> None:
    """More than a pipe holds, and it goes on when that is closed."""
    each = program("head -c 1000000 /dev/zero >&2; exec 2>&-; read -r _; echo yes")
    assert each.ask(b"?\n", SECONDS) == b"yes"


def test_obeys_signals_whatever_its_starter_blocks() -> None:
    """PVE's code waits for locks with an alarm, and writes into pipes whose reader is gone."""
    found: list[str] = []

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM})
        each = program("grep -E 'SigBlk|SigIgn' /proc/self/status | tr -d '\\n'; echo")
        found.append(each.read_line(SECONDS).decode())

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    blocked, ignored = (int(part.split("Sig")[0], 16) for part in found[0].split(":")[1:])
    assert blocked & (1 << (signal.SIGALRM - 1) | 1 << (signal.SIGTERM - 1)) == 0
    assert ignored & 1 << (signal.SIGPIPE - 1) == 0


def test_what_cannot_be_started() -> None:
    with pytest.raises(CommandTrouble, match=r"^/nowhere/x cannot be run: No such file or directory$"):
        Host().start(["/nowhere/x"])


def test_nothing_for_a_tree(tmp_path: Path) -> None:
    with pytest.raises(CommandTrouble, match="not run for a tree"):
        Host(str(tmp_path)).start(["/bin/true"])


def test_leaves_no_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        each = program("echo x; sleep 60")
        each.read_line(SECONDS)
        each.kill()
    with pytest.raises(CommandTrouble):
        Host().start(["/nowhere/x"])
    assert len(os.listdir("/proc/self/fd")) == before
