"""Writing by ourselves, reading back, backups."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from pvehooks import firstlook, settings
from pvehooks.actions import backups, rng0, writer
from pvehooks.actions.qm import Answer, Outcome
from pvehooks.errors import ActionFailed
from pvehooks.facts import guests
from pvehooks.host import Host
from pvehooks.text import guestconfig
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
VALUE = RNG0.removeprefix("rng0: ").strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {CONFIG: uefi()})))


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.surroundings(host, "pve1", firstlook.read(host, "pve1")))


def inject(host: Host, guest: Guest) -> rng0.Result:
    return rng0.inject(host, guest, settings.load(host).rng(100))


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def test_one_line_and_nothing_else(host: Host) -> None:
    os.chmod(Path(host.root, CONFIG), 0o600)
    assert inject(host, guest_of(host)).done
    assert text(host).replace(RNG0, "") == uefi()
    assert Path(host.root, CONFIG).stat().st_mode & 0o777 == 0o600
    assert os.listdir(Path(host.root, CONFIG).parent) == ["100.conf"]


def test_changed_before_and_under_the_lock(host: Host) -> None:
    guest = guest_of(host)
    Path(host.root, CONFIG).write_text(uefi("other"))
    assert inject(host, guest).outcome is Outcome.CHANGED
    assert writer.FileWriter(host).set(guest, "rng0", VALUE).outcome is Outcome.CHANGED
    assert text(host) == uefi("other")


def test_locked_by_the_config(host: Host) -> None:
    Path(host.root, CONFIG).write_text(uefi(more="lock: migrate\n"))
    result = inject(host, guest_of(host))
    assert (result.outcome, result.words) == (Outcome.LOCKED, "VM is locked (migrate)")


def test_locked_by_another_process(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is PVE's: an flock on /var/lock/qemu-server/lock-VMID.conf below the root."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 0.2)
    lock = Path(host.root, "var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert inject(host, guest_of(host)).outcome is Outcome.LOCKED
    assert backups.of_guest(host, 100) == []
    assert inject(host, guest_of(host)).done
    assert len(backups.of_guest(host, 100)) == 1


def test_waits_for_the_lock(host: Host) -> None:
    lock = Path(host.root, "var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(parents=True)
    stream = lock.open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    threading.Timer(0.3, stream.close).start()
    assert inject(host, guest_of(host)).done


def test_a_source_that_the_node_does_not_have(host: Host) -> None:
    """No guest is made one that does not start."""
    wanted = settings.load(host).rng(100)._replace(source="/dev/hwrng")
    result = rng0.inject(host, guest_of(host), wanted)
    assert (result.outcome, text(host)) == (Outcome.REFUSED, uefi())
    assert "[rng] source = /dev/hwrng, but pve1 has none" in result.words
    make_fake_tree(host.root, {"dev/hwrng": "", "sys/devices/virtual/misc/hw_random/rng_current": "tpm-rng-0\n"})
    assert rng0.inject(host, guest_of(host), wanted).done


def test_undo_keeps_what_is_not_ours_alone(host: Host) -> None:
    """What else it would change: a pending rng0 of somebody else's, pending options of a stopped guest, lines that PVE would lose."""
    assert inject(host, guest_of(host)).done
    for more, why in (
        ("\n[PENDING]\nrng0: source=/dev/random\n", "another rng0 is pending"),
        ("\n[PENDING]\nmemory: 4096\n", "other changes are pending (memory)"),
        ("onbot: 1\n", "PVE would lose line"),
    ):
        before = text(host)
        Path(host.root, CONFIG).write_text(before + more)
        result = rng0.undo(host, guest_of(host), settings.load(host).rng(100))
        assert result.outcome is Outcome.REFUSED
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


def test_gone(host: Host) -> None:
    guest = guest_of(host)
    Path(host.root, CONFIG).unlink()
    assert inject(host, guest).outcome is Outcome.GONE


def test_no_backup_no_write(host: Host) -> None:
    make_fake_tree(host.root, {"var/lib/pvehooks": "a file where a directory should be\n"})
    result = inject(host, guest_of(host))
    assert result.outcome is Outcome.BROKEN
    assert "could not be backed up" in result.words
    assert text(host) == uefi()


def test_the_last_twenty_backups_are_kept(host: Host) -> None:
    for number in range(25):
        kept = backups.save(host, 100, f"number: {number}\n".encode())
        os.utime(host.locate(kept.path), (number, number))
        backups.settle(host, kept, Outcome.DONE)
    backups.save(host, 101, b"another guest\n")
    contents = [host.read(each.path) for each in backups.of_guest(host, 100)]
    assert len(contents) == backups.KEPT
    assert b"number: 24\n" in contents
    assert b"number: 4\n" not in contents
    assert len(backups.of_guest(host, 101)) == 1
    # Tries at what somebody else changes at the same time push none of them out.
    for number in range(25):
        backups.settle(host, backups.save(host, 100, f"try: {number}\n".encode()), Outcome.CHANGED)
    assert {host.read(each.path) for each in backups.of_guest(host, 100)} == set(contents)
    backups.settle(host, backups.save(host, 100, contents[0]), Outcome.CHANGED)
    assert len(backups.of_guest(host, 100)) == backups.KEPT


def test_backups_that_one_may_not_see(host: Host) -> None:
    backups.settle(host, backups.save(host, 100, b"memory: 512\n"), Outcome.DONE)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            backups.of_guest(host, 100)
    finally:
        os.seteuid(0)


class Meddler(writer.FileWriter):
    """Writes the rng0, and something else with it."""

    def set(self, guest: Guest, option: str, value: str, along: Mapping[str, str] = writer.NOTHING_ELSE) -> Answer:
        answer = super().set(guest, option, value, along)
        path = Path(self.host.root, CONFIG)
        path.write_text(path.read_text().replace("memory: 2048", "memory: 4096"))
        return answer


def test_something_else_changed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng0, "writer", lambda host, settings: Meddler(host))
    with pytest.raises(ActionFailed, match=r"VM 100 \(web\): rng0 was written, but something else changed at the same moment") as caught:
        inject(host, guest_of(host))
    assert "pvehooks backups 100 --diff" in caught.value.hint


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("memory: 512\n", "memory: 512\nrng0: /dev/urandom\n", []),
        ("memory: 512\n", "memory: 1024\n", ["memory"]),
        ("# a  \nmemory: 512\n", "# a\nmemory: 512\n", []),
        ("memory: 512\n\n[PENDING]\nmemory: 1024\n", "memory: 512\n", ["[PENDING] memory"]),
        ("memory: 512\n\n[PENDING]\ndelete: cores\n", "memory: 512\n", ["[PENDING] delete cores"]),
        ("memory: 512\n\n[s1]\nmemory: 1024\n", "memory: 512\n", ["[s1] memory"]),
        ("memory: 512\n\n[s1]\nrng0: /dev/urandom\n", "memory: 512\n\n[s1]\nmemory: 512\n", ["[s1] memory", "[s1] rng0"]),
        ("memory: 512\n\n[special:cloudinit]\nname: a\n", "memory: 512\n\n[special:cloudinit]\nname: b\n", ["[special:cloudinit] name"]),
    ],
)
def test_differences(before: str, after: str, found: list[str]) -> None:
    assert rng0.differences(guestconfig.parse(before.encode()), guestconfig.parse(after.encode())) == found
