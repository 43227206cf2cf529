"""The index of what guests have in common, kept between looks: it tells what all configs tell, and reads only those that changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import index as guestindex
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds.tree import Content, make_fake_tree

GUESTS = "etc/pve/nodes/pve1/qemu-server"
CONFIGS = {
    100: "name: web\nonboot: 1\nusb0: host=1-2\n",
    101: "name: nas\nivshmem: size=64,name=one\n",
    102: "name: usb-less\nmemory: 512\n",
    103: "template: 1\nusb0: host=1-2\n",
}


class Node:
    """A tree, what was read of its guests since the last question, and pmxcfs' counters where it has them."""

    def __init__(self, directory: Path, counters: bool) -> None:
        files: dict[str, Content] = {f"{GUESTS}/{vmid}.conf": text for vmid, text in CONFIGS.items()}
        self.root = make_fake_tree(directory, files)
        self.counters = dict.fromkeys(CONFIGS, 1) if counters else None
        self.started = 1
        self.read: list[int] = []
        node = self

        class Noting(Host):
            def read(self, path: str, limit: int = 1 << 20) -> bytes:
                if path.startswith(f"/{GUESTS}/"):
                    node.read.append(int(Path(path).stem))
                return super().read(path, limit)

        self.host = Noting(str(self.root))
        self.index = guestindex.GuestIndex("pve1")
        self.count()

    def count(self) -> None:
        if self.counters is None:
            return
        version = {"starttime": self.started, "vmlist": sum(self.counters.values()), "clinfo": 1}
        (self.root / "etc/pve/.version").write_text(json.dumps(version))
        ids = {str(vmid): {"node": "pve1", "type": "qemu", "version": version} for vmid, version in self.counters.items()}
        ids |= {"200": {"node": "pve2", "type": "qemu", "version": 1}, "201": {"node": "pve1", "type": "lxc", "version": 1}}
        (self.root / "etc/pve/.vmlist").write_text(json.dumps({"version": 1, "ids": ids}))

    def write(self, vmid: int, text: str | None) -> None:
        path = self.root / GUESTS / f"{vmid}.conf"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        if self.counters is not None:
            if text is None:
                del self.counters[vmid]
            else:
                self.counters[vmid] = self.counters.get(vmid, 0) + 1
        self.count()

    def read_shared(self) -> tuple[object, object]:
        """What the index tells, which has to be what all configs tell."""
        self.read.clear()
        node = hardware.gather(self.host, "pve1", self.index)
        found = (node.usb_claims, node.memory_shares)
        read = sorted(self.read)
        plain = hardware.gather(self.host, "pve1")
        assert found == (plain.usb_claims, plain.memory_shares)
        self.read = read
        return found


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    node = Node(tmp_path, counters=True)
    node.read_shared()
    assert node.read == [100, 101, 102, 103]
    before = node.read_shared()
    assert node.read == []
    node.write(102, "name: usb\nonboot: 1\nusb3: host=1-2\n")
    assert node.read_shared() != before
    assert node.read == [102]
    node.write(100, None)
    node.write(104, "ivshmem: size=32,name=one\n")
    node.read_shared()
    assert node.read == [104]


def test_counters_of_another_start_of_pmxcfs_mean_nothing(tmp_path: Path) -> None:
    node = Node(tmp_path, counters=True)
    node.read_shared()
    (node.root / GUESTS / "101.conf").write_text("ivshmem: size=16,name=two\n")
    node.started = 2
    node.count()
    node.read_shared()
    assert node.read == [100, 101, 102, 103]


@pytest.mark.parametrize("counters", [True, False])
def test_a_guest_that_starts(counters: bool, tmp_path: Path) -> None:
    """Its config stays as it is; what it shares it has now."""
    node = Node(tmp_path, counters)
    before = node.read_shared()
    make_fake_tree(node.root, {"run/qemu-server/101.pid": "4711\n", "proc/4711/cmdline": "kvm\0-id\x00101\0"})
    assert node.read_shared() != before


def test_a_tree_without_counters(tmp_path: Path) -> None:
    node = Node(tmp_path, counters=False)
    node.read_shared()
    node.write(102, "onboot: 1\nusb3: host=1-2\n")
    node.write(101, None)
    claims, shares = node.read_shared()
    assert (list(map(str, claims)), shares) == (["1-2"], {})  # type: ignore[call-overload]


def test_a_config_that_cannot_be_read_is_read_again(tmp_path: Path) -> None:
    node = Node(tmp_path, counters=True)
    path = node.root / GUESTS / "101.conf"
    path.unlink()
    path.mkdir()
    node.read_shared()
    path.rmdir()
    path.write_text(CONFIGS[101])
    assert node.read_shared()[1]


def test_pmxcfs_that_does_not_answer(tmp_path: Path) -> None:
    node = Node(tmp_path, counters=True)
    (node.root / "etc/pve/.vmlist").unlink()
    found = node.index.entries(node.host)
    assert isinstance(found, Unread) and ".vmlist" in found.why
    os.rename(node.root / GUESTS, node.root / "elsewhere")
    assert isinstance(guestindex.GuestIndex("pve1").entries(Host(str(tmp_path / "none"))), Unread)


def test_little_is_kept_of_guests_that_name_nothing(tmp_path: Path) -> None:
    """The word alone is no option."""
    node = Node(tmp_path, counters=True)
    guest_context = guests.start_context(node.host, "pve1", 102)
    assert guestindex.entry(guests.read(node.host, "pve1", 102, guest_context)) is None
    found = node.index.entries(node.host)
    assert not isinstance(found, Unread) and [each.vmid for each in found] == [100, 101]
