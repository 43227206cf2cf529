"""The stand-in for pmxcfs against what was observed on the real one: layout, refusals, counters, quorum."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.beds.pmxcfs import Pmxcfs

CONFIG = "bios: ovmf\nmemory: 512\n"
GUEST = "nodes/pve1/qemu-server/100.conf"


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Pmxcfs]:
    files = {GUEST: CONFIG, "nodes/pve2/qemu-server/200.conf": CONFIG, "storage.cfg": "dir: local\n"}
    with Pmxcfs(tmp_path / "pve", db_dir=tmp_path / "db", files=files) as running:
        yield running


def refused(action: Callable[[], Any]) -> str:
    """The name of the errno an action fails with."""
    with pytest.raises(OSError) as caught:
        action()
    return errno.errorcode[caught.value.errno or 0]


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


def test_mounted_at_the_real_place() -> None:
    with Pmxcfs(files={GUEST: CONFIG}) as pve:
        assert pve.config(100) == Path("/etc/pve/nodes/pve1/qemu-server/100.conf")
        assert Path("/etc/pve/qemu-server/100.conf").read_text() == CONFIG
        assert os.path.ismount("/etc/pve")
        assert Path("/var/lib/pve-cluster/config.db-wal").exists()
    assert not os.path.ismount("/etc/pve")


def test_links_lead_to_the_own_node(pve: Pmxcfs) -> None:
    assert os.readlink(pve.path("local")) == "nodes/pve1"
    assert os.readlink(pve.path("qemu-server")) == "nodes/pve1/qemu-server"


def test_owner_and_modes(pve: Pmxcfs) -> None:
    status = pve.config(100).stat()
    assert (status.st_uid, status.st_gid) == (0, 33)
    assert mode(pve.config(100)) == "0o640"
    assert mode(pve.path("nodes")) == "0o755"
    assert mode(pve.path("priv")) == "0o700"
    assert mode(pve.path(".version")) == "0o440"


def test_chmod_links_and_times(pve: Pmxcfs) -> None:
    config = pve.config(100)
    assert refused(lambda: config.chmod(0o755)) == "EPERM"
    config.chmod(0o640)
    # pmxcfs has neither operation; which errno that becomes is the kernel's choice
    assert refused(lambda: os.link(config, pve.path("hard"))) in ("ENOSYS", "EPERM")
    assert refused(lambda: os.symlink("x", pve.path("soft"))) in ("ENOSYS", "EPERM")
    os.utime(config, (1, 1_000_000))
    assert config.stat().st_mtime == 1_000_000


def test_a_file_over_a_mebibyte_is_cut(pve: Pmxcfs) -> None:
    big = pve.path("big")
    assert refused(lambda: big.write_bytes(b"x" * (1024 * 1024 + 1))) == "EFBIG"
    assert big.stat().st_size <= 1024 * 1024
    big.write_bytes(b"x" * 1024 * 1024)
    assert big.stat().st_size == 1024 * 1024


def test_a_vmid_exists_once_in_the_cluster(pve: Pmxcfs) -> None:
    assert refused(lambda: pve.config(200).write_text(CONFIG)) == "EEXIST"
    assert refused(lambda: pve.path("nodes/pve1/lxc/100.conf").write_text("")) == "EEXIST"
    pve.path("draft").write_text(CONFIG)
    assert refused(lambda: pve.path("draft").rename(pve.config(200))) == "EEXIST"


def test_generated_files_and_links_cannot_be_changed(pve: Pmxcfs) -> None:
    pve.path("draft").touch()
    assert refused(lambda: pve.path(".version").write_text("")) == "EIO"
    assert refused(pve.path(".version").unlink) == "EACCES"
    assert refused(pve.path("local").unlink) == "EACCES"
    assert refused(lambda: pve.path("draft").rename(pve.path(".vmlist"))) == "EACCES"


def test_names_may_be_any_bytes(pve: Pmxcfs) -> None:
    name = os.fsencode(pve.path("qemu-server")) + b"/\xff\xc3\xbc"
    with open(name, "wb") as file:
        file.write(b"x")
    pve.restart()
    assert b"\xff\xc3\xbc" in os.listdir(os.fsencode(pve.path("qemu-server")))
    os.unlink(name)


def test_extending_an_empty_file_and_reading_it_crashes_it(pve: Pmxcfs) -> None:
    """Observed on 9.1.6: pmxcfs dies of it. Whoever does this to the stand-in shall notice."""
    empty = pve.path("empty")
    empty.touch()
    os.truncate(empty, 100)
    assert refused(empty.read_bytes) in ("ENOTCONN", "ECONNABORTED")


def test_extending_a_filled_file_is_fine(pve: Pmxcfs) -> None:
    os.truncate(pve.config(100), 30)
    assert pve.config(100).read_bytes() == CONFIG.encode().ljust(30, b"\0")


def test_replacing_an_open_file_leaves_a_hidden_one(pve: Pmxcfs) -> None:
    with pve.config(100).open() as held:
        pve.local_write(GUEST, "memory: 1024\n")
        names = os.listdir(pve.path("qemu-server"))
        assert [name for name in names if name.startswith(".fuse_hidden")]
        assert held.read() == CONFIG
    assert os.listdir(pve.path("qemu-server")) == ["100.conf"]


# --- counters ---


def seen(pve: Pmxcfs) -> tuple[int, int, int, int]:
    """clinfo, vmlist, storage.cfg's counter, and guest 100's, as a program reads them."""
    version = json.loads(pve.path(".version").read_text())
    guests = json.loads(pve.path(".vmlist").read_text()).get("ids", {})
    own = guests.get("100", {"version": 0})["version"]
    return version["clinfo"], version["vmlist"], version["storage.cfg"], own


@pytest.mark.parametrize(
    "change, steps",
    [
        pytest.param(lambda pve: pve.local_write(GUEST, "cores: 1\n"), 1, id="rename onto it"),
        pytest.param(lambda pve: pve.config(100).open("r+").write("x"), 1, id="one write"),
        pytest.param(lambda pve: pve.config(100).write_text("cores: 2\n"), 2, id="truncate and write"),
        pytest.param(lambda pve: os.truncate(pve.config(100), 3), 1, id="truncate"),
        pytest.param(lambda pve: os.utime(pve.config(100)), 0, id="utime"),
        pytest.param(lambda pve: pve.config(100).unlink(), 1, id="delete"),
        pytest.param(lambda pve: pve.config(100).rename(pve.config(100, "pve2")), 2, id="migration"),
        pytest.param(lambda pve: pve.remote_write(GUEST, "cores: 1\n"), 1, id="rename onto it by another node"),
        pytest.param(lambda pve: pve.remote("write", GUEST, b"x", 0), 1, id="one write by another node"),
        pytest.param(lambda pve: pve.remote_delete(GUEST), 1, id="delete by another node"),
        pytest.param(lambda pve: pve.remote_rename(GUEST, "nodes/pve2/qemu-server/100.conf"), 2, id="migration by another node"),
        pytest.param(lambda pve: pve.path("qemu-server/100.conf.tmp.1").touch(), 0, id="a temporary file"),
    ],
)
def test_what_moves_vmlist(pve: Pmxcfs, change: Callable[[Pmxcfs], Any], steps: int) -> None:
    before = seen(pve)
    change(pve)
    after = seen(pve)
    assert after[1] - before[1] == steps
    assert (after[3] != before[3]) == (steps > 0)
    assert after[2] == before[2]


def test_a_well_known_file_has_its_own_counter(pve: Pmxcfs) -> None:
    before = seen(pve)
    pve.local_write("storage.cfg", "dir: other\n")
    after = seen(pve)
    assert (after[1] - before[1], after[2] - before[2]) == (0, 1)
    pve.remote_write("storage.cfg", "dir: third\n")
    assert seen(pve)[2] - after[2] == 1


def test_vmlist_shows_where_every_guest_is(pve: Pmxcfs) -> None:
    pve.path("nodes/pve1/lxc/300.conf").write_text("")
    ids = json.loads(pve.path(".vmlist").read_text())["ids"]
    places = {vmid: (entry["node"], entry["type"]) for vmid, entry in ids.items()}
    assert places == {"100": ("pve1", "qemu"), "200": ("pve2", "qemu"), "300": ("pve1", "lxc")}
    for vmid in (100, 200):
        pve.remote_delete(f"nodes/{places[str(vmid)][0]}/qemu-server/{vmid}.conf")
    pve.remote_delete("nodes/pve1/lxc/300.conf")
    assert "ids" not in json.loads(pve.path(".vmlist").read_text())


def test_members_of_a_single_node_have_no_cluster(pve: Pmxcfs) -> None:
    assert json.loads(pve.path(".members").read_text()).keys() == {"nodename", "version"}


def test_reads_of_configs_are_always_fresh(pve: Pmxcfs) -> None:
    for number in range(50):
        pve.remote_write(GUEST, f"cores: {number}\n")
        assert pve.config(100).read_text() == f"cores: {number}\n"


def vmlist_counter(text: bytes) -> int:
    return int(json.loads(text)["vmlist"])


def read_alone(path: Path) -> bytes:
    """open and read, without the fstat that Python's open makes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def read_surely(path: Path) -> bytes:
    """A read lets the kernel's attributes expire, so that the fstat reaches pmxcfs and has the text made anew."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.read(descriptor, 1)
        os.fstat(descriptor)
        return os.pread(descriptor, 65536, 0)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "read, before, fresh",
    [
        pytest.param(Path.read_bytes, Path.read_bytes, True, id="open after a read"),
        pytest.param(Path.read_bytes, Path.stat, False, id="open after a stat"),
        pytest.param(read_alone, Path.read_bytes, False, id="read alone after a read"),
        pytest.param(read_surely, Path.read_bytes, True, id="read, fstat, read after a read"),
        pytest.param(read_surely, Path.stat, True, id="read, fstat, read after a stat"),
    ],
)
def test_version_is_made_when_it_is_looked_at(
    pve: Pmxcfs, read: Callable[[Path], bytes], before: Callable[[Path], Any], fresh: bool
) -> None:
    """pmxcfs makes the text at getattr (cfs-plug-func.c), which the kernel leaves out for a second after another.

    Seen on the real one just so: after anybody's stat, an open shows the old counters for up to a second.
    """
    version = pve.path(".version")
    version.read_bytes()
    before(version)
    pve.remote_write(GUEST, "cores: 1\n")
    assert (vmlist_counter(read(version)) == pve.counters()["vmlist"]) is fresh


def test_an_open_descriptor_of_version_never_sees_new_contents(pve: Pmxcfs) -> None:
    held = os.open(pve.path(".version"), os.O_RDONLY)
    first = os.pread(held, 65536, 0)
    pve.remote_write(GUEST, "cores: 1\n")
    assert os.pread(held, 65536, 0) == first
    os.close(held)


# --- restarts ---


def test_a_restart_keeps_files_and_numbers_anew(pve: Pmxcfs) -> None:
    for number in range(20):
        pve.local_write(GUEST, f"cores: {number}\n")
    before = pve.counters()
    pve.restart()
    after = pve.counters()
    assert pve.config(100).read_text() == "cores: 19\n"
    assert after["starttime"] != before["starttime"]
    assert after["vmlist"] == 1 < before["vmlist"]
    assert set(after["guests"].values()) == {1, 2}


def test_a_rejoin_renumbers_all_guests(pve: Pmxcfs) -> None:
    before = pve.counters()["guests"]
    pve.renumber()
    after = pve.counters()["guests"]
    assert all(after[vmid] != before[vmid] for vmid in before)


# --- quorum ---


def test_without_quorum_nothing_can_be_written(pve: Pmxcfs) -> None:
    before = seen(pve)
    pve.set_quorum(False)
    config = pve.config(100)
    assert seen(pve)[0] != before[0]
    assert json.loads(pve.path(".members").read_text())["cluster"]["quorate"] == 0
    assert config.read_text() == CONFIG
    descriptor = os.open(config, os.O_WRONLY)
    assert refused(lambda: os.write(descriptor, b"x")) == "EACCES"
    os.close(descriptor)
    assert refused(lambda: pve.path("qemu-server/100.conf.tmp.1").touch()) == "EACCES"
    assert refused(lambda: config.rename(pve.config(100, "pve2"))) == "EACCES"
    assert refused(config.unlink) == "EACCES"
    assert refused(pve.path("new").mkdir) == "EACCES"
    assert os.access(config, os.W_OK)
    assert not os.statvfs(config).f_flag & os.ST_RDONLY
    time.sleep(1.1)  # the kernel keeps attributes for a second
    assert mode(config) == "0o440"
    assert mode(pve.path("nodes")) == "0o555"
    assert seen(pve)[1:] == before[1:]


def test_quorum_comes_back(pve: Pmxcfs) -> None:
    pve.set_quorum(False)
    before = pve.counters()
    pve.set_quorum(True)
    after = pve.counters()
    pve.local_write(GUEST, "cores: 1\n")
    assert after["clinfo"] != before["clinfo"]
    assert after["guests"] != before["guests"]
    assert pve.config(100).read_text() == "cores: 1\n"


# --- size ---


def test_thousands_of_guests(tmp_path: Path) -> None:
    files = {f"nodes/pve1/qemu-server/{vmid}.conf": CONFIG for vmid in range(100, 3100)}
    with Pmxcfs(tmp_path / "pve", db_dir=tmp_path / "db", files=files) as pve:
        assert len(os.listdir(pve.path("qemu-server"))) == 3000
        assert len(json.loads(pve.path(".vmlist").read_text())["ids"]) == 3000
