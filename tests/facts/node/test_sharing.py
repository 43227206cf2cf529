"""What guests share with the node: directories, memory, and the card that renders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.node import qemu, sharing
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.sharing import DirectoryMapping
from tests.beds.tree import Content, Link, make_fake_tree

FILE = "etc/pve/mapping/directory.cfg"


def tree(path: Path, files: dict[str, Content]) -> Host:
    return Host(str(make_fake_tree(path, files)))


def mapped(path: str) -> dict[str, Content]:
    return {FILE: f"share\n\tmap node=pve1,path={path}\n\n"}


def test_mappings_of_directories(tmp_path: Path) -> None:
    text = "share\n\tmap node=pve1,path=/srv/a\n\tmap node=pve2,path=/srv/b\n\nother\n\tmap node=pve2,path=/srv/b\n\n"
    files: dict[str, Content] = {FILE: text, "srv/a": None}
    assert sharing.directories(tree(tmp_path, files), "pve1") == {
        "share": DirectoryMapping("share", ("/srv/a",), frozenset({"pve1", "pve2"}), ""),
        "other": DirectoryMapping("other", (), frozenset({"pve2"}), ""),
    }


def test_mappings_that_cannot_be_read(tmp_path: Path) -> None:
    assert sharing.directories(Host(str(tmp_path)), "pve1") == {}
    assert sharing.directories(tree(tmp_path, {FILE: None}), "pve1") == Unread(f"/{FILE}: Is a directory")


@pytest.mark.parametrize(
    ("files", "trouble"),
    [
        pytest.param({"srv/share": None}, "", id="there"),
        pytest.param({}, "does not exist", id="gone"),
        pytest.param({"srv": "text"}, "does not exist", id="a file above it"),
        pytest.param({"srv/share": "text"}, "is not a directory", id="file"),
        pytest.param({"srv/share": Link("/mnt"), "mnt": None}, "", id="link"),
        pytest.param({"srv/share": Link("/mnt")}, "does not exist", id="link to nothing"),
        pytest.param({"proc/mounts": "nas:/x /srv nfs4 rw 0 0\n"}, "", id="network storage"),
        pytest.param({"proc/mounts": "nas:/x /mnt nfs4 rw 0 0\n", "srv/share": Link("/mnt/x")}, "", id="link to network storage"),
        pytest.param({"proc/mounts": "s3 /srv fuse.s3fs rw 0 0\n"}, "", id="FUSE"),
        pytest.param({"proc/mounts": "/dev/sda1 /srv ext4 rw 0 0\n"}, "does not exist", id="local disk"),
    ],
)
def test_what_is_wrong_with_a_directory(files: dict[str, Content], trouble: str, tmp_path: Path) -> None:
    found = sharing.directories(tree(tmp_path, {**mapped("/srv/share"), **files}), "pve1")
    assert not isinstance(found, Unread)
    assert found["share"].trouble == trouble


def test_a_loop_of_links(tmp_path: Path) -> None:
    found = sharing.directories(tree(tmp_path, {**mapped("/srv/share"), "srv/share": Link("share")}), "pve1")
    assert not isinstance(found, Unread)
    assert found["share"].trouble == Unread("/srv/share: Too many levels of symbolic links")


class Secluded(Host):
    """A node with a mount namespace of its own, where /root is empty: as systemd's ProtectHome= makes it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.is_node = True

    def locate(self, path: str, follow: bool = True) -> str:
        return self.root + path

    def real(self, path: str) -> str:
        return path


@pytest.mark.parametrize(
    ("path", "own", "trouble"),
    [
        pytest.param("/root/share", "mnt:[2]", Unread("the daemon is kept away from /root/share"), id="the daemon"),
        pytest.param("/root/share", "mnt:[1]", "does not exist", id="a person"),
        pytest.param("/srv/share", "mnt:[2]", "does not exist", id="the daemon sees that"),
    ],
)
def test_homes_are_hidden_from_the_daemon(path: str, own: str, trouble: str | Unread, tmp_path: Path) -> None:
    """On the real node the links of namespaces tell whether it is the daemon that looks."""
    files: dict[str, Content] = {**mapped(path), "proc/self/ns/mnt": Link(own), "proc/1/ns/mnt": Link("mnt:[1]"), "root": None}
    make_fake_tree(tmp_path, files)
    found = sharing.directories(Secluded(str(tmp_path)), "pve1")
    assert not isinstance(found, Unread)
    assert found["share"].trouble == trouble


def test_virtiofsd(tmp_path: Path) -> None:
    assert not sharing.virtiofsd(Host(str(tmp_path)))
    assert not sharing.virtiofsd(tree(tmp_path / "folder", {"usr/libexec/virtiofsd": None}))
    assert sharing.virtiofsd(tree(tmp_path / "file", {"usr/libexec/virtiofsd": ""}))


def test_shared_memory(tmp_path: Path) -> None:
    host = tree(tmp_path, {"dev/shm/pve-shm-a": "", "dev/shm/pve-shm-gone": Link("away"), "dev/shm/other": "text"})
    os.truncate(tmp_path / "dev/shm/pve-shm-a", 1 << 25)
    assert sharing.memory_files(host) == {"a": 1 << 25}
    assert sharing.memory_files(Host(str(tmp_path / "etc"))) == {}
    assert sharing.memory_files(tree(tmp_path / "file", {"dev/shm": "text"})) == Unread("/dev/shm: Not a directory")


def test_what_rendering_takes(tmp_path: Path) -> None:
    assert qemu.lacks_for_gl(Host(str(tmp_path))) == ("libgl1", "libegl1", "render node")
    there: dict[str, Content] = {
        "usr/lib/x86_64-linux-gnu/libGL.so.1": "",
        "usr/lib/aarch64-linux-gnu/libEGL.so.1": "",
        "dev/dri/renderD129": "",
    }
    assert qemu.lacks_for_gl(tree(tmp_path / "all", there)) == ()
    assert qemu.lacks_for_gl(tree(tmp_path / "file", {"dev/dri": "text"})) == Unread("/dev/dri: Not a directory")


def test_another_node(tmp_path: Path) -> None:
    """The cluster's files tell its mappings, not what is plugged in there."""
    host = tree(tmp_path, {**mapped("/srv/share"), "etc/pve/mapping/usb.cfg": "key\n\tmap node=pve1,id=1050:0407\n\n"})
    node = hardware.OtherNode(host, "pve1")
    assert node.directories == {
        "share": DirectoryMapping("share", ("/srv/share",), frozenset({"pve1"}), Unread("it is a directory of pve1, ask there"))
    }
    assert not isinstance(node.usb_mappings, Unread)
    assert list(node.usb_mappings) == ["key"]
    elsewhere = (node.usb, node.usb_claims, node.virtiofsd, node.memory_files, node.memory_shares, node.gl_lacks)
    assert {type(fact) for fact in elsewhere} == {Unread}
