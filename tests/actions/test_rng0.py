"""Giving a guest its rng0 and taking it back, in a tree."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pvehooks.actions import rng0, writer
from pvehooks.actions.result import Outcome, Result
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.settings import load as settings
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
VALUE = RNG0.removeprefix("rng0: ").strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {CONFIG: uefi()})))


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", baseline.read(host, "pve1")))


def inject(host: Host, guest: Guest) -> Result:
    return rng0.inject(host, guest, settings.load(host).rng(100))


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def test_one_line_and_nothing_else(host: Host) -> None:
    os.chmod(Path(host.root, CONFIG), 0o600)
    assert inject(host, guest_of(host)).done
    assert text(host).replace(RNG0, "") == uefi()
    assert Path(host.root, CONFIG).stat().st_mode & 0o777 == 0o600
    assert os.listdir(Path(host.root, CONFIG).parent) == ["100.conf"]


def test_a_source_that_the_node_does_not_have(host: Host) -> None:
    """No guest is made one that does not start."""
    wanted = settings.load(host).rng(100)._replace(source="/dev/hwrng")
    result = rng0.inject(host, guest_of(host), wanted)
    assert (result.outcome, text(host)) == (Outcome.DECLINED, uefi())
    assert "[rng] source = /dev/hwrng, but pve1 has none" in result.words
    make_fake_tree(host.root, {"dev/hwrng": "", "sys/devices/virtual/misc/hw_random/rng_current": "tpm-rng-0\n"})
    assert rng0.inject(host, guest_of(host), wanted).done


def test_undo_keeps_what_is_not_ours_alone(host: Host) -> None:
    """What else it would change: a pending rng0 that is not ours, pending options of a stopped guest, lines that PVE would drop."""
    assert inject(host, guest_of(host)).done
    for more, outcome, why in (
        ("\n[PENDING]\nrng0: source=/dev/random\n", Outcome.DECLINED, "another rng0 is pending"),
        ("\n[PENDING]\nmemory: 4096\n", Outcome.DECLINED, "other changes are pending (memory)"),
        ("onbot: 1\n", Outcome.LOSSY, "PVE would drop line"),
    ):
        before = text(host)
        Path(host.root, CONFIG).write_text(before + more)
        result = rng0.undo(host, guest_of(host), settings.load(host).rng(100))
        assert result.outcome is outcome
        assert why in result.words
        assert text(host) == before + more
        Path(host.root, CONFIG).write_text(before)


def test_a_failed_try_leaves_the_record_as_it_was(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin removed our rng0; asked for again, it could not be given: that it was removed is not forgotten."""
    assert inject(host, guest_of(host)).done
    Path(host.root, CONFIG).write_text(text(host).replace(RNG0, ""))
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 0.1)
    with Path(host.root, "var/lock/qemu-server/lock-100.conf").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert inject(host, guest_of(host)).outcome is Outcome.LOCKED
    known = guest_of(host).recorded_rng
    assert known is not None
    assert known.done
