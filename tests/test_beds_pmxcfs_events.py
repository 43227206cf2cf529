"""What an inotify watcher sees of the stand-in for pmxcfs: the tables of what was observed on the real one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.beds.inotify import recorded
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.process import kill_on_failure
from tests.daemon.bed import wait_until

CONFIG = "bios: ovmf\nmemory: 512\n"
GUEST = "nodes/pve1/qemu-server/100.conf"
TEMPORARY = f"100.conf.tmp.{os.getpid()}"


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Pmxcfs]:
    files = {GUEST: CONFIG, "nodes/pve2/qemu-server/200.conf": CONFIG}
    with Pmxcfs(tmp_path / "pve", db_dir=tmp_path / "db", files=files) as running:
        yield running


def write_plainly(pve: Pmxcfs) -> None:
    with pve.config(100).open("r+") as file:
        file.write("cores")


@pytest.mark.parametrize(
    "change, events",
    [
        pytest.param(
            lambda pve: pve.local_write(GUEST, "cores: 1\n"),
            [
                ("IN_CREATE", TEMPORARY),
                ("IN_MODIFY", TEMPORARY),
                ("IN_CLOSE_WRITE", TEMPORARY),
                ("IN_MOVED_FROM", TEMPORARY),
                ("IN_MOVED_TO", "100.conf"),
            ],
            id="how PVE writes",
        ),
        pytest.param(write_plainly, [("IN_MODIFY", "100.conf"), ("IN_CLOSE_WRITE", "100.conf")], id="plain write"),
        pytest.param(lambda pve: pve.config(100).rename(pve.config(100, "pve2")), [("IN_MOVED_FROM", "100.conf")], id="away"),
        pytest.param(lambda pve: pve.config(200, "pve2").rename(pve.config(200)), [("IN_MOVED_TO", "200.conf")], id="in"),
        pytest.param(lambda pve: pve.config(100).unlink(), [("IN_DELETE", "100.conf")], id="delete"),
        pytest.param(lambda pve: os.utime(pve.config(100)), [("IN_ATTRIB", "100.conf")], id="utime"),
        pytest.param(lambda pve: pve.path("qemu-server/sub").mkdir(), [("IN_CREATE", "sub")], id="mkdir"),
    ],
)
def test_own_changes(pve: Pmxcfs, change: Callable[[Pmxcfs], Any], events: list[tuple[str, str]]) -> None:
    with recorded(pve.path("nodes/pve1/qemu-server")) as recorder:
        change(pve)
        assert recorder.seen() == events


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pve: pve.remote_write(GUEST, "cores: 1\n"), id="edit"),
        pytest.param(lambda pve: pve.remote_write("nodes/pve1/qemu-server/101.conf", CONFIG), id="create"),
        pytest.param(lambda pve: pve.remote_rename("nodes/pve2/qemu-server/200.conf", GUEST[:-8] + "200.conf"), id="in"),
        pytest.param(lambda pve: pve.remote_delete(GUEST), id="delete"),
        pytest.param(lambda pve: pve.remote_mkdir("nodes/pve1/qemu-server/sub"), id="mkdir"),
    ],
)
def test_changes_by_another_node_touch_the_database_only(pve: Pmxcfs, change: Callable[[Pmxcfs], Any]) -> None:
    with recorded(pve.path("nodes/pve1/qemu-server"), pve.path()) as tree, recorded(pve.db_dir) as doorbell:
        change(pve)
        assert {("IN_MODIFY", "config.db-wal")} <= set(doorbell.seen())
        assert tree.seen() == []


def test_a_migration_has_one_cookie(pve: Pmxcfs) -> None:
    with recorded(pve.path("nodes/pve1/qemu-server"), pve.path("nodes/pve2/qemu-server")) as recorder:
        pve.config(100).rename(pve.config(100, "pve2"))
        away, arrived = recorder.events()
        assert (away.mask, arrived.mask) == ("IN_MOVED_FROM", "IN_MOVED_TO")
        assert away.cookie == arrived.cookie != 0


def test_a_watch_through_the_link_watches_the_directory(pve: Pmxcfs) -> None:
    with recorded(pve.path("qemu-server")) as recorder:
        pve.path("nodes/pve1/qemu-server/101.conf").touch()
        assert recorder.seen() == [("IN_CREATE", "101.conf"), ("IN_CLOSE_WRITE", "101.conf")]


def test_a_watch_on_a_config_dies_when_it_is_replaced(pve: Pmxcfs) -> None:
    with recorded(pve.config(100)) as recorder:
        pve.local_write(GUEST, "cores: 1\n")
        assert ("IN_IGNORED", "") in recorder.seen()
        pve.local_write(GUEST, "cores: 2\n")
        assert recorder.seen() == []


def test_the_database_is_still_when_nothing_changes(pve: Pmxcfs) -> None:
    with recorded(pve.db_dir) as doorbell:
        pve.config(100).read_text()
        pve.path(".version").read_text()
        os.listdir(pve.path("qemu-server"))
        assert doorbell.seen() == []


def test_an_event_without_quorum_proves_no_change(pve: Pmxcfs) -> None:
    pve.set_quorum(False)
    with recorded(pve.path("qemu-server")) as recorder:
        with pytest.raises(PermissionError):
            pve.config(100).open("r+b", buffering=0).write(b"x")
        with pytest.raises(PermissionError):
            os.utime(pve.config(100))
        assert ("IN_CLOSE_WRITE", "100.conf") in recorder.seen()
    assert pve.config(100).read_text() == CONFIG


# --- restarts and faults ---


@contextmanager
def held_open(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield
    finally:
        with suppress(OSError):  # the file system behind it may be gone
            os.close(descriptor)


def test_a_clean_stop(pve: Pmxcfs) -> None:
    with recorded(pve.path("qemu-server")) as recorder:
        pve.stop()
        assert recorder.seen() == [("IN_UNMOUNT", ""), ("IN_IGNORED", "")]
    assert list(pve.mountpoint.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        pve.config(100).read_text()


def test_a_clean_stop_while_a_file_is_held_open_gives_no_event(pve: Pmxcfs) -> None:
    with recorded(pve.path("qemu-server")) as recorder, held_open(pve.config(100)):
        pve.stop()
        assert recorder.seen() == []
        pve.start()
        pve.local_write(GUEST, "cores: 1\n")
        assert recorder.seen() == []  # the old watch is dead while the new mount lives
    assert pve.config(100).read_text() == "cores: 1\n"


def test_a_stop_blocks_accesses_for_a_while(tmp_path: Path) -> None:
    with Pmxcfs(tmp_path / "pve", db_dir=tmp_path / "db", files={GUEST: CONFIG}, stop_delay=0.4) as pve:
        stopper = threading.Thread(target=pve.stop)
        stopper.start()
        took, code = 0.0, 0
        while not code:
            began = time.monotonic()
            try:
                pve.config(100).read_text()
            except OSError as error:
                code = error.errno or 0
            took = time.monotonic() - began
        stopper.join()
        assert took > 0.2
        assert code in (errno.ECONNABORTED, errno.ENOTCONN)


def test_a_kill_gives_no_event_and_every_access_fails(pve: Pmxcfs) -> None:
    with recorded(pve.path("qemu-server")) as recorder, recorded(pve.db_dir) as doorbell:
        pve.kill()
        assert recorder.seen() == []
        time.sleep(1.0)  # the kernel keeps attributes for a second, even those of the dead
        accesses: list[Callable[[], Any]] = [pve.config(100).read_text, pve.mountpoint.stat]
        for access in [*accesses, lambda: os.listdir(pve.mountpoint)]:
            with pytest.raises(OSError) as caught:
                access()
            assert caught.value.errno == errno.ENOTCONN
        assert not os.path.exists(pve.mountpoint)
        assert not os.path.ismount(pve.mountpoint)
        pve.restart()
        assert pve.config(100).read_text() == CONFIG
        pve.local_write(GUEST, "cores: 1\n")
        # The doorbell is an ordinary directory: its watch survives.
        assert ("IN_MODIFY", "config.db-wal") in doorbell.seen()


def test_a_restart_fails_while_a_file_of_the_dead_mount_is_held(pve: Pmxcfs) -> None:
    with held_open(pve.config(100)):
        pve.kill()
        with pytest.raises(RuntimeError, match="fuse"):
            pve.restart()
    pve.restart()
    assert pve.config(100).read_text() == CONFIG


def test_files_survive_a_kill_in_the_middle_of_writing(pve: Pmxcfs) -> None:
    texts = [f"cores: {number}\n" for number in range(400)]

    def write() -> None:
        try:
            for text in texts:
                pve.local_write(GUEST, text)
        except OSError:
            pass

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    pve.kill()
    writer.join()
    pve.restart()
    assert pve.config(100).read_text() in [CONFIG, *texts]


def test_a_hang_blocks_every_access_until_it_ends(pve: Pmxcfs) -> None:
    began = time.monotonic()
    pve.hang(0.3)
    assert pve.config(100).read_text() == CONFIG
    assert time.monotonic() - began >= 0.3
    pve.hang()
    threading.Timer(0.2, pve.resume).start()
    assert pve.config(100).read_text() == CONFIG


def test_a_hung_one_can_be_killed(pve: Pmxcfs) -> None:
    pve.hang()
    threading.Timer(0.2, pve.kill).start()
    with pytest.raises(OSError) as caught:
        os.listdir(pve.path("qemu-server"))
    assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)


def test_who_asks_a_frozen_one_can_be_killed(pve: Pmxcfs) -> None:
    """A request that it had taken would keep the asking process from ending."""
    ask = f"import os, time\nwhile True:\n    os.listdir({str(pve.path('nodes'))!r})\n    time.sleep(0.0002)"
    for _ in range(10):
        with kill_on_failure(subprocess.Popen([sys.executable, "-c", ask])) as asking:
            wait_until(pve.requests, "it asks")
            with pve.frozen():
                wait_until(pve.requests, "it hangs")
                asking.kill()
                assert asking.wait(60) == -signal.SIGKILL
    assert os.listdir(pve.path("nodes"))


def test_it_ends_with_its_driver(tmp_path: Path) -> None:
    """A test run that is killed must leave no process and no mount behind."""
    pve = Pmxcfs(tmp_path / "pve", db_dir=tmp_path / "db", files={GUEST: CONFIG})
    pve.start()
    process = pve._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 0
    assert not os.path.ismount(pve.mountpoint)
    pve.close()
