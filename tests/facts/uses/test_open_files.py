"""Open files of this machine's processes: other users can have millions, and must neither hide a use nor keep us."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pvehooks.facts.uses import processes
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import Host
from tests.beds.namespace import mount
from tests.beds.process import kill_on_failure

NOBODY, WWW_DATA = 65534, 33
# Has no other processes, whose files would count.
LONER = 64123
# /dev/full; what other tests have open at the same time is /dev/null or /dev/zero.
NUMBER = (1, 7)
_PR_SET_DUMPABLE = 4


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with fewer files."""
    monkeypatch.setattr(processes, "_BUDGET", 200)


@pytest.fixture
def node() -> Iterator[Path]:
    """A device node below /dev that only root and its group may open."""
    path = Path(f"/dev/pvehooks-test-{os.getpid()}")
    os.mknod(path, 0o600 | 0o020000, os.makedev(*NUMBER))
    path.chmod(0o660)
    yield path
    path.unlink()


@contextmanager
def user(uid: int, then: Callable[[], object], dumpable: bool = True, processes: int = 1) -> Iterator[int]:
    """A process of a user that has done that, and waits; so have as many `processes` as it has become."""
    ready, done = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)
            then()
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    try:
        for _ in range(processes):
            assert os.read(ready, 1) == b"1"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def fill(number: int = 900) -> None:
    """Opens as many files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    descriptor = os.open("/", os.O_RDONLY)
    for _ in range(number):
        os.dup(descriptor)


@pytest.mark.parametrize("dumpable", [True, False])
def test_a_user_with_many_open_files_hides_nothing_and_makes_nothing_unread(node: Path, dumpable: bool) -> None:
    """Whose files are not all looked at may not open the node: nothing of it is unknown. Its process may look like root's."""
    with (
        user(NOBODY, fill, dumpable),
        node.open("rb") as opened,
        kill_on_failure(subprocess.Popen(["sleep", "600"], stdin=opened)) as process,
    ):
        files = OpenFiles(Host())
        assert files.of(str(node)) == (f"sleep (pid {process.pid})",)
        assert files.unread == ""
        process.kill()


def test_what_another_user_has_open_is_seen_beside(node: Path) -> None:
    node.chmod(0o666)
    with user(NOBODY, fill), user(WWW_DATA, lambda: os.open(node, os.O_RDONLY)) as holder:
        assert str(holder) in OpenFiles(Host()).pids(str(node))


@pytest.mark.parametrize(("mode", "owner"), [(0o666, 0), (0o600, NOBODY), (0o060, 0)])
def test_a_user_who_may_open_the_node_and_has_too_many_files_makes_it_unread(node: Path, mode: int, owner: int) -> None:
    node.chmod(mode)
    os.chown(node, owner, NOBODY if mode == 0o060 else 0)
    with user(NOBODY, fill):
        files = OpenFiles(Host())
        assert files.pids(str(node)) == ()
        assert files.unread == f"whether user {NOBODY} has {node} open (more than 200 files of that user are open)"


def test_many_processes_count_too(node: Path) -> None:
    def multiply() -> None:
        for _ in range(60):
            if not os.fork():
                ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
                signal.pause()

    with user(NOBODY, multiply), node.open("rb") as opened, kill_on_failure(subprocess.Popen(["sleep", "600"], stdin=opened)) as process:
        files = OpenFiles(Host())
        looked: list[str] = []
        former = files._nodes
        files._nodes = lambda pid, *rest: (looked.append(pid), former(pid, *rest))[1]  # type: ignore[method-assign]
        assert files.of(str(node)) == (f"sleep (pid {process.pid})",)
        theirs = [pid for pid in looked if Host().exists(f"/proc/{pid}") and Host().owner_and_mode(f"/proc/{pid}")[0] == NOBODY]
        assert len(theirs) <= 200 // processes._PER_PROCESS + 1
        process.kill()


def test_files_on_a_fuse_are_not_looked_at(node: Path) -> None:
    """A FUSE that does not answer is mounted below /dev in a mount namespace of a user; stat(2) of its files would hang."""
    place = Path("/dev/pvehooks-fuse")
    place.mkdir()
    mount("tmpfs", str(place), "tmpfs")
    (place / "file").touch(0o644)
    place.chmod(0o755)
    try:
        with user(WWW_DATA, lambda: os.open(place / "file", os.O_RDONLY)) as pid:
            asked: list[str] = []

            class Watched(Host):
                def device_number(self, path: str, only_block: bool = False) -> tuple[int, int] | None:
                    asked.append(path)
                    return super().device_number(path, only_block)

                def read(self, path: str, limit: int = 1 << 20) -> bytes:
                    raw = super().read(path, limit)
                    return raw.replace(b" - tmpfs ", b" - fuse.hangs ") if path == f"/proc/{pid}/mountinfo" else raw

            OpenFiles(Watched()).pids(str(node))
            assert [path for path in asked if path.startswith(f"/proc/{pid}/")] == []
            OpenFiles(Host()).pids(str(node))
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


# -- descriptors that open nothing ------------------------------------------------------------------------------------


def test_a_name_is_held_by_no_one_who_only_points_at_it(node: Path) -> None:
    """O_PATH needs no permission on the node (open(2)), so that every user could keep every guest from starting."""
    with user(LONER, lambda: os.open(node, os.O_PATH)):
        assert OpenFiles(Host()).pids(str(node)) == ()

    def both() -> None:
        os.open(node, os.O_PATH)
        os.open(node, os.O_RDONLY)
        os.open(node, os.O_PATH)

    with user(0, both) as pid:
        assert OpenFiles(Host()).pids(str(node)) == (str(pid),)


@pytest.fixture
def stick() -> Iterator[Path]:
    """The node of a USB device, which everybody may read."""
    path = Path("/dev/bus/usb/001/099")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, 0o600 | 0o020000, os.makedev(*NUMBER))
    path.chmod(0o664)
    yield path
    path.unlink()


def test_a_usb_device_is_used_by_who_may_write_it(stick: Path) -> None:
    with user(LONER, lambda: os.open(stick, os.O_RDONLY)):
        assert OpenFiles(Host()).pids(str(stick)) == ()
    with user(LONER, fill):
        files = OpenFiles(Host())
        assert (files.pids(str(stick)), files.unread) == ((), "")
    stick.chmod(0o666)
    with user(LONER, lambda: os.open(stick, os.O_RDWR)) as pid:
        assert OpenFiles(Host()).pids(str(stick)) == (str(pid),)
    with user(LONER, fill):
        files = OpenFiles(Host())
        assert (files.pids(str(stick)), bool(files.unread)) == ((), True)


def test_a_file_with_the_name_of_a_device_is_none() -> None:
    """Any user can have one, in a /dev of its own; where the node itself is not there, the name was all that was compared."""
    path = Path(f"/dev/pvehooks-test-{os.getpid()}-file")
    path.touch()
    path.chmod(0o644)
    try:
        with user(LONER, lambda: os.open(path, os.O_RDONLY)):
            assert OpenFiles(Host()).pids(str(path)) == ()
    finally:
        path.unlink()


# -- mounts, of which any user can have thousands in namespaces of their own -------------------------------------------

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


def fork(number: int) -> None:
    """As many processes more, which end with this one; each goes on."""
    for _ in range(number):
        if not os.fork():
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
            return


def mounting(namespaces: int, processes_each: int) -> Callable[[], None]:
    """Processes with a file below /dev open, and 200 mounts in each of their namespaces."""

    def do() -> None:
        for _ in range(namespaces):
            ready, done = os.pipe()
            if not os.fork():
                libc = ctypes.CDLL(None)
                assert libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0
                libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
                for _ in range(200):
                    assert libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None) == 0
                fork(processes_each - 1)
                os.open("/dev/shm", os.O_RDONLY)
                os.write(done, b"1")
                signal.pause()
            os.close(done)
            for _ in range(processes_each):
                assert os.read(ready, 1) == b"1"

    return do


class Counting(Host):
    """Counts what is read of the mount tables of a user's processes, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[int] = []

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        raw = super().read(path, limit)
        if path.endswith("/mountinfo") and f"Uid:\t{NOBODY}\t".encode() in super().read(path.replace("mountinfo", "status")):
            self.tables.append(len(raw))
        return raw


def test_tables_of_mounts_count_as_files(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_BUDGET", 1000)
    with user(NOBODY, mounting(5, 1)):
        host = Counting()
        OpenFiles(host).pids(str(node))
        assert 0 < sum(host.tables) <= 1000 * processes._BYTES_A_FILE + 5


def test_a_table_is_read_once_for_all_who_see_it(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_BUDGET", 1 << 15)
    with user(NOBODY, mounting(1, 6)):
        host = Counting()
        OpenFiles(host).pids(str(node))
        assert len(host.tables) == 1


def test_not_all_processes_of_a_user_are_asked_for_their_groups(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_MOST_LEFT", 3)
    with user(NOBODY, lambda: fork(60), processes=61):
        files = OpenFiles(Host())
        asked: list[str] = []
        files._leave = lambda pid, owner: asked.append(pid)  # type: ignore[method-assign]
        files.pids(str(node))
        assert len(asked) == 3
