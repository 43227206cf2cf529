"""Writing by ourselves, in a tree: PVE's lock, the digest under it, and every other byte as it is."""

from __future__ import annotations

import errno
import fcntl
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from pvehooks.actions import writer
from pvehooks.actions.result import Outcome, Result
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.values import Guest
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"
VALUE = RNG0.removeprefix("rng0: ").strip()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {CONFIG: uefi()})))


def guest_of(host: Host) -> Guest:
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))


def write(host: Host) -> Result:
    return writer.FileWriter(host).write(guest_of(host), {"rng0": VALUE})


def text(host: Host) -> str:
    return Path(host.root, CONFIG).read_text()


def test_changed_under_the_lock(host: Host) -> None:
    guest = guest_of(host)
    Path(host.root, CONFIG).write_text(uefi("other"))
    assert writer.FileWriter(host).write(guest, {"rng0": VALUE}).outcome is Outcome.CHANGED
    assert text(host) == uefi("other")


def test_trouble_with_the_lock_names_the_lock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who made /run/lock/qemu-server before PVE did keeps all changes off: the admin has to know where."""
    place = "/var/lock/qemu-server"

    def lock(self: Host, path: str, timeout: float) -> NoReturn:
        raise OSError(errno.EACCES, "others than root can write to this directory", place)

    monkeypatch.setattr(Host, "lock", lock)
    assert write(host).words == f"{place}: others than root can write to this directory"


def test_locked_by_another_process(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is PVE's: an flock on /var/lock/qemu-server/lock-VMID.conf below the root."""
    monkeypatch.setattr(writer, "LOCK_TIMEOUT", 0.2)
    lock = Path(host.root, "var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert write(host).outcome is Outcome.LOCKED
    assert write(host).outcome is Outcome.DONE


def test_waits_for_the_lock(host: Host) -> None:
    lock = Path(host.root, "var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(parents=True)
    stream = lock.open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    threading.Timer(0.3, stream.close).start()
    assert write(host).outcome is Outcome.DONE


def test_what_a_running_guest_uses_is_not_deleted(host: Host) -> None:
    """Neither is anything else of the same update then."""
    Path(host.root, CONFIG).write_text(uefi(more=RNG0 + "hookscript: local:snippets/x\n"))
    make_fake_tree(host.root, {"run/qemu-server/100.pid": "42\n", "proc/42/cmdline": "kvm\0-id\x00100\0"})
    answer = writer.FileWriter(host).write(guest_of(host), {"hookscript": None, "rng0": None})
    assert answer[:2] == (Outcome.REFUSED, "the running VM uses rng0; stop it first")
    assert text(host) == uefi(more=RNG0 + "hookscript: local:snippets/x\n")


def test_qm_does_not_wait_for_a_lock_that_another_process_holds(host: Host) -> None:
    """Any user can hold it: the guests that are due behind this one would wait ten seconds for each."""
    guest, by_qm = guest_of(host), writer.QmWriter(host)
    lock = Path(host.root, "var/lock/qemu-server/lock-100.conf")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert by_qm.write(guest, {"rng0": VALUE}) == Result(Outcome.LOCKED, "another process holds the lock of VM 100")
    assert "qm is not run for a tree" in by_qm.write(guest, {"rng0": VALUE}).words, "it is asked"
