"""Where snippets lie, what is wrong with a hookscript, and where a stub of ours may be put."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pvehooks.facts.guests import configs as guests
from pvehooks.facts.storage import images, storages
from pvehooks.host import Host
from pvehooks.values import Hookscript, Unread
from tests.beds.tree import Content, Link, make_fake_tree

CONFIG = """\
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl

dir: tank
\tpath /tank/pve/
\tcontent images,snippets
\tcontent-dirs iso=isos,snippets=hooks/of-mine

dir: off
\tpath /off
\tdisable 1

nfs: nas
\tserver 192.0.2.1
\texport /srv
\tcontent-dirs snippets=scripts

cifs: share
\tpath /mnt/elsewhere
\tserver 192.0.2.1

cephfs: ceph
\tcontent snippets

glusterfs: gluster
\tcontent-dirs snippets=other

btrfs: butter
\tpath /butter
\tcontent-dirs snippets=other

zfspool: zfs
\tpool rpool

acme: third
\tpath /acme

"""


def tree(path: Path, files: dict[str, Content] | None = None, config: Content = CONFIG) -> Host:
    return Host(str(make_fake_tree(path, {"etc/pve/storage.cfg": config, "var/lib/vz": None, **(files or {})})))


@pytest.mark.parametrize(
    "volid, path",
    [
        ("local:snippets/a.sh", "/var/lib/vz/snippets/a.sh"),
        ("tank:snippets/a b", "/tank/pve/hooks/of-mine/a b"),
        ("off:snippets/a", "/off/snippets/a"),
        ("nas:snippets/a", "/mnt/pve/nas/scripts/a"),
        ("share:snippets/a", "/mnt/elsewhere/snippets/a"),
        ("ceph:snippets/a", "/mnt/pve/ceph/snippets/a"),
        ("gluster:snippets/a", "/mnt/pve/gluster/snippets/a"),
        ("butter:snippets/a", "/butter/snippets/a"),
        ("zfs:snippets/a", Unread("the storage 'zfs' (zfspool) cannot hold snippets")),
        ("third:snippets/a", Unread("where the storage 'third' (acme) keeps snippets is not known")),
        ("none:snippets/a", Unread("the storage 'none' does not exist")),
        ("local:iso/a.iso", Unread("'local:iso/a.iso' is no snippet (STORAGE:snippets/NAME)")),
        ("local:snippets/", Unread("'local:snippets/' is no snippet (STORAGE:snippets/NAME)")),
        ("local:snippets/a/b", Unread("'local:snippets/a/b' is no snippet (STORAGE:snippets/NAME)")),
        ("local:snippets/../../../etc/passwd", Unread("'local:snippets/../../../etc/passwd' is no snippet (STORAGE:snippets/NAME)")),
        ("/var/lib/vz/snippets/a", Unread("'/var/lib/vz/snippets/a' is no volume ID")),
    ],
)
def test_path_of(tmp_path: Path, volid: str, path: str | Unread) -> None:
    assert storages.path_of(tree(tmp_path), volid) == path


def test_local_is_always_there(tmp_path: Path) -> None:
    assert storages.path_of(Host(str(tmp_path)), "local:snippets/a") == "/var/lib/vz/snippets/a"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert storages.path_of(tree(tmp_path, config=None), "local:snippets/a") == Unread("/etc/pve/storage.cfg: Is a directory")
    assert storages.local_snippets(tree(tmp_path / "b", config=None)) == ()


# -- hookscripts ------------------------------------------------------------------------------------------------------


def hookscript(host: Host, volid: str) -> Hookscript | None:
    make_fake_tree(host.root, {"etc/pve/nodes/pve1/qemu-server/100.conf": f"hookscript: {volid}\n"})
    return guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None)).hookscript


@pytest.mark.parametrize(
    "volid, path, trouble",
    [
        ("local:snippets/good", "/var/lib/vz/snippets/good", ""),
        ("local:snippets/linked", "/var/lib/vz/snippets/linked", ""),
        (
            "local:snippets/plain",
            "/var/lib/vz/snippets/plain",
            "the script /var/lib/vz/snippets/plain is not executable",
        ),
        ("local:snippets/gone", "/var/lib/vz/snippets/gone", "the script /var/lib/vz/snippets/gone does not exist"),
        ("local:snippets/dir", "/var/lib/vz/snippets/dir", "the script /var/lib/vz/snippets/dir is no file"),
        ("local:snippets/loop", "/var/lib/vz/snippets/loop", "the script /var/lib/vz/snippets/loop: Too many levels of symbolic links"),
        ("off:snippets/good", "/off/snippets/good", ""),
        ("nas:snippets/gone", "/mnt/pve/nas/scripts/gone", ""),
        ("none:snippets/good", "", "the storage 'none' does not exist"),
        ("local:iso/good.iso", "", "'local:iso/good.iso' is no snippet (STORAGE:snippets/NAME)"),
        ("zfs:vm-100-disk-0", "", "'zfs:vm-100-disk-0' is no snippet (STORAGE:snippets/NAME)"),
        ("third:snippets/good", "", ""),
    ],
)
def test_hookscript(tmp_path: Path, volid: str, path: str, trouble: str) -> None:
    """PVE does not mind that the storage is disabled; of network and foreign storage nothing is known."""
    snippets = "var/lib/vz/snippets"
    files: dict[str, Content] = {f"{snippets}/{name}": "#!/bin/sh\n" for name in ("good", "plain")}
    files |= {"off/snippets/good": "", f"{snippets}/linked": Link("good"), f"{snippets}/dir": None, f"{snippets}/loop": Link("loop")}
    host = tree(tmp_path, files)
    for name in (f"{snippets}/good", "off/snippets/good"):
        (tmp_path / name).chmod(0o755)
    assert hookscript(host, volid) == Hookscript(volid, path, trouble)


def test_no_hookscript(tmp_path: Path) -> None:
    host = tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": "name: a\n"})
    assert guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None)).hookscript is None


def test_a_hookscript_where_the_storages_cannot_be_read(tmp_path: Path) -> None:
    assert hookscript(tree(tmp_path, config=None), "local:snippets/a") == Hookscript("local:snippets/a", "", "")


# -- where a stub may lie ---------------------------------------------------------------------------------------------


def one(option: str = "", name: str = "tank", path: str = "/tank") -> str:
    return f"dir: {name}\n\tpath {path}\n\tcontent images\n{option}\n"


LOCAL = ("local", "/var/lib/vz/snippets")
TANK = ("tank", "/tank/snippets")


@pytest.mark.parametrize(
    "config, found",
    [
        pytest.param("", [LOCAL], id="nothing configured"),
        pytest.param(one(), [LOCAL, TANK], id="one more"),
        pytest.param(one(name="fast") + one(name="local", path="/var/lib/vz"), [LOCAL, ("fast", "/tank/snippets")], id="local comes first"),
        pytest.param(one("\tdisable 1\n"), [LOCAL, TANK], id="disabled: PVE runs hookscripts from it"),
        pytest.param(one("\tdisable 1\n") + one(name="zz"), [LOCAL, ("zz", "/tank/snippets"), TANK], id="disabled comes last"),
        pytest.param(one("\tdisable 1\n", "local", "/var/lib/vz") + one(), [LOCAL, TANK], id="local is disabled"),
        pytest.param(one("\tnodes pve2\n", "local", "/var/lib/vz") + one(), [LOCAL, TANK], id="local is for another node"),
        pytest.param(one("\tshared 1\n"), [LOCAL], id="shared"),
        pytest.param(one("\tshared 0\n"), [LOCAL, TANK], id="not shared"),
        pytest.param(one("\tnodes pve1,pve2\n"), [LOCAL, TANK], id="for this node"),
        pytest.param(one("\tnodes pve2\n"), [LOCAL], id="for another node"),
        pytest.param(one("\tis_mountpoint 1\n"), [LOCAL], id="not mounted"),
        pytest.param(one("\tis_mountpoint /mounted\n"), [LOCAL, TANK], id="something else is mounted"),
        pytest.param(one("\tis_mountpoint no\n"), [LOCAL, TANK], id="need not be mounted"),
        pytest.param(one("\tis_mountpoint yes\n", path="/mounted here"), [LOCAL, ("tank", "/mounted here/snippets")], id="mounted"),
        pytest.param(one("\tcontent-dirs snippets=x/y\n"), [LOCAL, ("tank", "/tank/x/y")], id="content-dirs"),
        pytest.param(one(path="/missing"), [LOCAL], id="directory missing"),
        pytest.param(one(path="/net/below"), [LOCAL], id="on NFS"),
        pytest.param(one(path="/fuse"), [LOCAL], id="on FUSE"),
        pytest.param(one(path="/net/local"), [LOCAL], id="something local mounted below NFS: the walk there asks the server"),
        pytest.param(one(path="/auto"), [LOCAL], id="an automount, whose server may be away"),
        pytest.param(one(path="/auto/below"), [LOCAL], id="below an automount"),
        pytest.param(one(path="/unknown"), [LOCAL], id="a file system that nobody has heard of"),
        pytest.param(one("\tis_mountpoint /auto\n"), [LOCAL], id="an automount has to be mounted"),
        pytest.param(one(path="/by/auto"), [LOCAL], id="a link to an automount"),
        pytest.param(one(path="/to-net"), [LOCAL], id="a link to NFS"),
        pytest.param(one(path="/loop"), [LOCAL], id="a loop of links"),
        pytest.param(one(path="/open/tank"), [LOCAL], id="a parent that others may write"),
        pytest.param(one(path="/to-open/tank"), [LOCAL], id="by a link"),
        pytest.param(one(path="/by/way"), [LOCAL], id="a link that leads through one"),
        pytest.param(one(path="/group"), [LOCAL], id="a directory that a group may write"),
        pytest.param(one(path="/users"), [LOCAL], id="a directory of another user"),
        pytest.param(one("\tcontent-dirs snippets=open\n"), [LOCAL], id="the directory of snippets itself"),
        pytest.param("nfs: nas\n\tserver 192.0.2.1\n\texport /srv\n\n", [LOCAL], id="network storage"),
        pytest.param("btrfs: b\n\tpath /tank\n\n", [LOCAL], id="other kinds"),
    ],
)
def test_local_snippets(tmp_path: Path, config: str, found: list[tuple[str, str]]) -> None:
    folders: dict[str, Content] = dict.fromkeys(
        (
            "tank/open",
            "mounted",
            "mounted here",
            "net/below",
            "net/local",
            "fuse",
            "auto/below",
            "unknown",
            "open/tank",
            "by",
            "group",
            "users",
            "real",
        )
    )
    links: dict[str, Content] = {
        "to-net": Link("/net/below"),
        "by/auto": Link("../auto"),
        "loop": Link("loop"),
        "to-open": Link("open"),
        "by/way": Link("../open/back"),
        "open/back": Link("/real"),
    }
    mounts = "x / ext4 rw 0 0\nx /mounted xfs rw 0 0\nx /mounted\\040here xfs rw 0 0\n"
    mounts += "a:/b /net nfs4 rw 0 0\nx /net/local ext4 rw 0 0\nx /fuse fuse.sshfs rw 0 0\nshort\n"
    mounts += "systemd-1 /auto autofs rw 0 0\nx /unknown futurefs rw 0 0\n"
    host = tree(tmp_path, {**folders, **links, "proc/mounts": mounts}, config)
    for name, mode in (("open", 0o777), ("group", 0o775), ("tank/open", 0o1777)):
        (tmp_path / name).chmod(mode)
    os.chown(tmp_path / "users", 1000, 1000)
    assert list(storages.local_snippets(host, "pve1")) == found


class _Watched(Host):
    """Notes which paths the operating system is asked about."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def locate(self, path: str, follow: bool = True) -> str:
        self.asked.append(path)
        return super().locate(path, follow)


@pytest.mark.parametrize("kind", ["autofs", "nfs4", "fuse.glusterfs", "futurefs"])
@pytest.mark.parametrize("path", ["/away", "/away/below", "/link"])
def test_what_may_hang_is_not_asked(kind: str, path: str, tmp_path: Path) -> None:
    """Neither the mount point itself: lstat(2) of it asks the server."""
    more = one("\tis_mountpoint 1\n", path=path) + one("", "bb", path) + one("\tis_mountpoint /away\n", "cc")
    made = tree(
        tmp_path, {"away/below/snippets/x": "", "link": Link("away"), "proc/mounts": f"x / ext4 rw 0 0\nx /away {kind} rw 0 0\n"}, more
    )
    host = _Watched(made.root)
    assert list(storages.local_snippets(host, "pve1")) == [LOCAL]
    assert storages.StorageSections(host).hookscript("bb:snippets/x").trouble == ""
    assert [each for each in host.asked if each.startswith("/away")] == []


def test_local_needs_no_directory_yet(tmp_path: Path) -> None:
    """It is made when something is put there."""
    make_fake_tree(tmp_path, {"etc/pve/storage.cfg": ""})
    assert storages.local_snippets(Host(str(tmp_path))) == (LOCAL,)


def test_local_that_others_may_write_to(tmp_path: Path) -> None:
    host = tree(tmp_path, config=one())
    (tmp_path / "tank").mkdir()
    (tmp_path / "var/lib/vz").chmod(0o757)
    assert storages.local_snippets(host) == (TANK,)


class _Silent(Host):
    """A file system that never answers."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.end = threading.Event()

    def attributes(self, path: str) -> tuple[int, int, int, int]:
        self.end.wait(60)
        return super().attributes(path)


@pytest.mark.parametrize("kind", ["autofs", "fuse.sshfs", "nfs4"])
def test_a_firmware_image_that_no_server_gives(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_PATIENCE", 0.05)
    config = one(path="/away")
    host = _Silent(tree(tmp_path, {"away/efi-firmware/a.fd": "x", "proc/mounts": f"x /away {kind} rw 0 0\n"}, config).root)
    found = images.look(host, "tank:efi-firmware/a.fd")
    host.end.set()
    assert found.trouble == "/away/efi-firmware/a.fd cannot be read: its file system has not answered for 0 s"
