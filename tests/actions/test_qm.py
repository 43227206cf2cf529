"""qm's answers, in its own words (qemu-server 8.0 to 9.2), and what they mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvehooks.actions import qm
from pvehooks.actions.result import Outcome
from pvehooks.host import Completed, Host
from tests.daemon.bed import wait_until

ANSWERS = [
    (0, "", Outcome.DONE),
    (255, "checksum mismatch (file change by other user?)\n", Outcome.CHANGED),
    (255, "checksum missmatch (file change by other user?)\n", Outcome.CHANGED),
    (255, "VM is locked (backup)\n", Outcome.LOCKED),
    (255, "VM is locked (snapshot-delete)\n", Outcome.LOCKED),
    (4, "trying to acquire lock...\ncan't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout\n", Outcome.LOCKED),
    (2, "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist\n", Outcome.GONE),
    (2, "400 Parameter verification failed.\nrng0: invalid format - format error\n\nqm set <vmid> [OPTIONS]\n", Outcome.REFUSED),
    (2, "Unknown option: rngx\n400 unable to parse option\nqm set <vmid> [OPTIONS]\n", Outcome.REFUSED),
    (111, "ipcc_send_rec[1] failed: Connection refused\nUnable to load access control list: Connection refused\n", Outcome.WAITING),
    (2, "unable to open file '/etc/pve/nodes/pve1/qemu-server/100.conf.tmp.123' - Permission denied\n", Outcome.WAITING),
    (13, "Can't locate PVE/CLI/qm.pm in @INC\n", Outcome.BROKEN),
    (1, "", Outcome.BROKEN),
    (-9, "", Outcome.BROKEN),
]


@pytest.mark.parametrize(
    ("status", "stderr", "outcome"), ANSWERS, ids=[f"{outcome.name}-{number}" for number, (_, _, outcome) in enumerate(ANSWERS)]
)
def test_classify(status: int, stderr: str, outcome: Outcome) -> None:
    answer = qm.classify(Completed(status, "", stderr))
    assert answer.outcome is outcome
    assert "\n" not in answer.words
    if status < 0:
        assert "killed by signal 9" in answer.words
    if status and not stderr:
        assert "without a message" in answer.words


@pytest.mark.parametrize("digest", ["", "abc", "A" * 40, "0" * 41])
def test_a_digest_that_checks_nothing_is_never_given(digest: str) -> None:
    with pytest.raises(ValueError, match="no digest"):
        qm.change(Host(), 100, ["--rng0", "source=/dev/urandom"], digest)


def test_a_hanging_qm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all it started: nobody is left holding the guest's lock."""
    program = tmp_path / "qm"
    program.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/child\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(qm, "TIMEOUT", 0.5)
    answer = qm.change(Host(), 100, ["--rng0", "source=/dev/urandom"], "0" * 40)
    assert answer.outcome is Outcome.BROKEN
    assert "did not end within" in answer.words
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: _is_dead(child), "the child is dead")


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_no_command_is_run_for_a_tree(tmp_path: Path) -> None:
    answer = qm.change(Host(str(tmp_path)), 100, ["--rng0", "source=/dev/urandom"], "0" * 40)
    assert answer.outcome is Outcome.BROKEN
    assert "not run for a tree" in answer.words
