"""What another user can put where we open, write or lock something: links, FIFOs, files and directories of theirs."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.cli.main import main
from pvehooks.errors import PmxcfsAway
from pvehooks.host import LOCKS, Host
from pvehooks.records import guests as records
from tests.beds.forked import forked
from tests.beds.namespace import mount
from tests.beds.tree import make_fake_tree

NOBODY, WWW_DATA = 65534, 33
OWN = records.Identity("b3247ab1-1fe6-428e-965b-08a1b64a8746", 1700000000)


def as_user(uid: int, action: Callable[[], object]) -> bool:
    """Does it as that user, in a process of its own; whether it could."""

    def as_that_one() -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        action()

    return forked(as_that_one) == 0


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory in which everybody may make files, as /tmp and /run/lock are, below directories that are root's."""
    place = Path("/run/attacked")
    place.mkdir(exist_ok=True)
    mount("tmpfs", str(place), "tmpfs", options="mode=1777")
    return place


@pytest.fixture
def root_only(tmp_path: Path) -> Path:
    """A file that only root may read."""
    path = Path("/run/secret")
    path.write_text("root's own")
    path.chmod(0o600)
    return path


# -- locks ------------------------------------------------------------------------------------------------------------


def test_locks_lie_where_only_root_may_write() -> None:
    with Host().lock(f"{LOCKS}/100.lock", 1):
        found = os.stat(LOCKS)
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
    for uid in (NOBODY, WWW_DATA):
        assert not as_user(uid, lambda: os.open(f"{LOCKS}/100.lock", os.O_RDONLY))
        assert not as_user(uid, lambda: os.mkdir(f"{LOCKS}/mine"))
        assert not as_user(uid, lambda: os.symlink("/run/secret", f"{LOCKS}/101.lock"))


def test_a_lock_of_an_earlier_version_is_closed_to_others() -> None:
    """Whoever can open it can hold it."""
    path = Path("/run/pvehooks/pvehooksd.lock")
    path.touch(0o644)
    path.chmod(0o644)
    with Host().lock(str(path), 1):
        assert not as_user(NOBODY, lambda: os.open(path, os.O_RDONLY))


@pytest.mark.parametrize("uid", [NOBODY, WWW_DATA])
def test_a_directory_of_another_user_holds_no_lock(uid: int, shared: Path, root_only: Path) -> None:
    place = shared / f"locks{uid}"
    assert as_user(uid, place.mkdir)
    assert as_user(uid, lambda: (place / "100.lock").symlink_to("/run/made-by-root"))
    with pytest.raises(PermissionError), Host().lock(f"{place}/100.lock", 0.1):
        pass
    assert not Path("/run/made-by-root").exists()


def test_a_link_in_place_of_the_directory(shared: Path) -> None:
    target = Path("/run/target")
    target.mkdir(exist_ok=True)
    assert as_user(NOBODY, lambda: (shared / "link").symlink_to(target))
    with pytest.raises(PermissionError, match="belongs to uid 65534"), Host().lock(f"{shared}/link/100.lock", 0.1):
        pass
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", ["fifo", "link", "device", "directory", "another user's"])
def test_what_is_no_file_of_ours_is_no_lock(kind: str) -> None:
    place = Path("/run/pvehooks-lock-test")
    place.mkdir(exist_ok=True)
    path = place / f"{kind}.lock"
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("/run/made-by-root"),
        "device": lambda: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
        "directory": path.mkdir,
        "another user's": lambda: (path.touch(), os.chown(path, NOBODY, NOBODY)),
    }
    make[kind]()
    with pytest.raises(OSError), Host().lock(str(path), 0.1):
        pass
    assert not Path("/run/made-by-root").exists()


def test_no_process_keeps_an_override_from_being_used_up(shared: Path) -> None:
    """What worked while the locks lay in /run/lock: another user made the directory, and held the lock."""
    Path("/run/lock").chmod(0o1777)
    place = Path("/run/lock/pvehooks")

    def hold() -> None:
        place.mkdir()
        fcntl.flock(os.open(place / "100.lock", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        os.link(place / "100.lock", place / "101.lock")

    assert as_user(NOBODY, hold)
    Path("/etc/pve/nodes/pve1").mkdir(parents=True, exist_ok=True)
    try:
        assert records.update(Host(), 100, OWN, lambda record: record.with_rng0(None)) is False
    except PmxcfsAway as error:
        pytest.fail(error.message)
    finally:
        # The tests that follow in this process mount pmxcfs there.
        shutil.rmtree("/etc/pve/nodes")
        shutil.rmtree(place)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "fifo", "file", "hard link"])
def test_what_lies_in_the_way_of_a_temporary_name_is_not_opened(kind: str, shared: Path, root_only: Path) -> None:
    """NAME.tmp.PID can be guessed."""
    beside = shared / f"c.tar.xz.tmp.{os.getpid()}"
    make: dict[str, Callable[[], object]] = {
        "link": lambda: beside.symlink_to("/run/secret"),
        "fifo": lambda: os.mkfifo(beside),
        "file": lambda: beside.write_text("mine"),
        "hard link": lambda: (beside.write_text("mine"), os.link(beside, shared / "kept")),
    }
    assert as_user(NOBODY, make[kind])
    Host().replace(f"{shared}/c.tar.xz", b"content", mode=0o600)
    written = shared / "c.tar.xz"
    assert written.read_bytes() == b"content"
    assert (written.stat().st_uid, stat.S_IMODE(written.stat().st_mode)) == (0, 0o600)
    assert root_only.read_text() == "root's own"
    assert not beside.exists()
    if kind == "hard link":
        assert (shared / "kept").read_text() == "mine"


def test_the_mode_of_another_users_file_is_not_kept(shared: Path) -> None:
    assert as_user(NOBODY, lambda: (shared / "report").touch(0o666))
    Host().replace(f"{shared}/report", b"content", mode=0o600)
    assert stat.S_IMODE((shared / "report").stat().st_mode) == 0o600


def test_a_directory_that_others_lead_elsewhere_is_not_written(shared: Path) -> None:
    """The owner of /var/lib/prometheus puts a link to /etc/cron.d in place of node-exporter."""
    theirs = shared / "prometheus"
    target = Path("/run/cron.d")
    target.mkdir(exist_ok=True)
    assert as_user(NOBODY, theirs.mkdir)
    assert as_user(NOBODY, lambda: (theirs / "node-exporter").symlink_to(target))
    for write in (
        lambda: Host().replace(f"{theirs}/node-exporter/pvehooks.prom", b"x"),
        lambda: Host().append(f"{theirs}/node-exporter/pvehooks.prom", b"x"),
        lambda: Host().make_dir(f"{theirs}/node-exporter/below"),
    ):
        with pytest.raises(PermissionError):
            write()
    assert list(target.iterdir()) == []


def test_roots_own_links_are_followed(shared: Path) -> None:
    """/etc/pve/local, /var/lock, a storage that was moved."""
    (shared / "real").mkdir()
    (shared / "link").symlink_to("./real")
    Host().make_dir(f"{shared}/link/below")
    Host().replace(f"{shared}/link/below/../file", b"x")
    assert (shared / "real/file").read_bytes() == b"x"
    assert (shared / "real/below").is_dir()
    (shared / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        Host().replace(f"{shared}/loop/file", b"x")


@pytest.mark.parametrize("kind", ["fifo", "link", "another user's"])
def test_nothing_is_added_to_what_is_not_ours(kind: str, shared: Path, root_only: Path) -> None:
    path = shared / "count"
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("/run/secret"),
        "another user's": lambda: path.touch(0o666),
    }
    assert as_user(NOBODY, make[kind])
    with pytest.raises(OSError):
        Host().append(str(path), b".")
    assert root_only.read_text() == "root's own"


@pytest.mark.parametrize("command", [("report", "--html"), ("report", "--markdown"), ("capture",)], ids=" ".join)
@pytest.mark.parametrize("link", ["file", "file of a file", "directory"])
def test_what_is_asked_for_in_tmp_stays_there(command: tuple[str, ...], link: str, shared: Path, root_only: Path, tmp_path: Path) -> None:
    """The kernel refuses such links in /tmp (protected_symlinks), whoever resolves them beforehand does not notice."""
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": "memory: 512\n"})
    output = shared / "pve1.out"
    if link == "directory":
        assert as_user(NOBODY, lambda: (shared / "d").symlink_to(root_only.parent))
        output = shared / "d" / root_only.name
    elif link == "file":
        assert as_user(NOBODY, lambda: output.symlink_to(root_only))
    else:
        assert as_user(NOBODY, lambda: (shared / "second").symlink_to(root_only))
        output.symlink_to("second")
    assert main([*command, str(output), "--root", str(tree), "--node", "pve1"]) == 3
    assert root_only.read_text() == "root's own"

    output = shared / "own"
    output.symlink_to(tmp_path / "new")
    assert main([*command, str(output), "--root", str(tree), "--node", "pve1"]) == 0
    assert (tmp_path / "new").is_file() and output.is_symlink()


# -- texts that are no path -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dev/a\0b", "/dev/\ud800", "\0"])
@pytest.mark.parametrize("tree", [False, True])
def test_what_is_no_path_is_an_error_of_the_system(path: str, tree: bool, tmp_path: Path) -> None:
    """Paths come from configs, and Python's ValueError would be a bug of ours."""
    host = Host(str(tmp_path)) if tree else Host()
    assert (host.exists(path), host.is_dir(path), host.device_number(path)) == (False, False, None)
    questions: tuple[Callable[[], object], ...] = (
        lambda: host.read(path),
        lambda: host.names(path),
        lambda: host.folders(path),
        lambda: host.real(path),
        lambda: host.real_output(path),
        lambda: host.link_text(path),
        lambda: host.link_texts(path),
        lambda: host.attributes(path),
        lambda: host.modified(path),
        lambda: host.replace(path, b""),
        lambda: host.append(path, b""),
        lambda: host.make_dir(path),
        lambda: host.remove(path),
    )
    for ask in questions:
        with pytest.raises(OSError, match="Invalid argument"):
            ask()
