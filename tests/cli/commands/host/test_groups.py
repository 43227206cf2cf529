"""pvehooks host groups: golden output, what counts as free, and captures of real kernels."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.beds import pci, uses
from tests.beds.tree import Link, make_fake_tree
from tests.cli.test_cli import on_a_terminal, pvehooks
from tests.facts import captures

Golden = Callable[[str, str], None]
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
BUS = """
0000:00:00.0 class=060000 id=8086:3e0f group=0
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge
0000:00:1f.0 class=060100 id=8086:a305 group=10
0000:00:1f.4 class=0c0500 id=8086:a323 driver=i801_smbus group=10
0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=2
0000:01:00.1 class=040300 id=10de:1aef driver=snd_hda_intel group=2
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=16 net=eno1
0000:04:00.0 class=0c0330 id=1912:0014 driver=xhci_hcd group=16 reset=-
0000:05:00.0 class=020000 id=8086:10c9 group=17 dead
0000:06:00.0 class=020000 id=8086:10c9 driver=igb group=18
0000:06:10.0 class=020000 id=8086:10ca driver=vfio-pci group=19 pf=0000:06:00.0
0000:07:00.0 class=030000 id=1002:164e driver=amdgpu group=20 boot_vga=1
"""
GUESTS = {
    f"{CONFIGS}/100.conf": "hostpci0: 01:00,pcie=1\nhostpci1: 09:00.0\nmachine: q35\nname: gpu\n",
    f"{CONFIGS}/101.conf": "hostpci2: 06:10.0\nname: router\n",
    f"{CONFIGS}/102.conf": "name: plain\n",
    "run/qemu-server/101.pid": "4711\n",
    "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:06:10.0,id=hostpci2\0",
}


def planted(directory: Path, table: str = BUS) -> Path:
    files = uses.idle() | pci.plant(table) | GUESTS | {"etc/pve/local": Link("nodes/pve1")}
    uses.mounted_partition(files, "0000:02:00.0")
    return make_fake_tree(directory, files)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path / "tree")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("all", []),
        ("free", ["--free"]),
        ("guest", ["--guest", "100"]),
        ("guest-running", ["--guest", "101"]),
        ("guest-without", ["--guest", "102"]),
        ("json", ["--guest", "101", "--json"]),
    ],
)
def test_golden(name: str, arguments: list[str], tree: Path, golden: Golden) -> None:
    golden(f"cli/host-groups-{name}.txt", pvehooks(tree, "host", "groups", *arguments))


def test_on_a_terminal(tree: Path, golden: Golden) -> None:
    shown = on_a_terminal(tree, "host", "groups")
    assert "\x1b[1;32m+ group 2: clean, free" in shown and "\x1b[1;33m! group 16: shared" in shown
    plain = on_a_terminal(tree, "host", "groups", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    golden("cli/host-groups-terminal.txt", re.sub(r"\x1b\[[0-9;]*m", "", shown))


def test_without_an_iommu(tmp_path: Path, golden: Golden) -> None:
    tree = planted(tmp_path / "tree", re.sub(r" group=\d+", "", BUS))
    (tree / "proc/cmdline").write_text("BOOT_IMAGE=/boot/vmlinuz intel_iommu=off\n")
    golden("cli/host-groups-no-iommu.txt", pvehooks(tree, "host", "groups"))
    found = json.loads(pvehooks(tree, "host", "groups", "--json"))
    assert found["iommu"] == {"active": False, "why": "the kernel command line has intel_iommu=off", "acs_override": None}
    assert len(found["groups"]) == 1 and found["groups"][0]["group"] is None and len(found["groups"][0]["devices"]) == 13
    assert json.loads(pvehooks(tree, "host", "groups", "--free", "--json"))["groups"] == []


def test_an_override_is_reported(tree: Path) -> None:
    (tree / "proc/cmdline").write_text("pcie_acs_override=downstream,multifunction\n")
    assert "attention: these groups exist only because of pcie_acs_override=downstream,multifunction" in pvehooks(tree, "host", "groups")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["host", "groups", "--guest", "999"], 3, "there is no VM 999"),
        (["host", "groups", "--guest", "gpu"], 2, "'gpu' is not a VMID"),
        (["host", "check", "--free"], 2, "there is no option '--free'"),
        (["host", "groups", "--node", "pve9"], 3, "there is no node 'pve9'"),
    ],
)
def test_wrong_use(arguments: list[str], status: int, words: str, tree: Path) -> None:
    assert words in pvehooks(tree, *arguments, status=status)


def test_no_devices_can_be_read(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", {f"{CONFIGS}/100.conf": "name: a\n"})
    assert "the PCI devices of pve1 cannot be read" in pvehooks(tree, "host", "groups", status=3)


def test_what_is_unknown_is_not_free(tree: Path) -> None:
    (tree / "proc/net/route").unlink()
    (tree / "proc/net/fib_trie").unlink()
    groups = {each["group"]: each for each in json.loads(pvehooks(tree, "host", "groups", "--json"))["groups"]}
    assert not groups["16"]["free"] and groups["2"]["free"]
    assert "not examined of 0000:03:00.0" in pvehooks(tree, "host", "groups")


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_captures(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every device of a captured host is in exactly one place, and what holds the root file system is never free."""
    tree = captures.materialise(name, tmp_path_factory)
    (tree / CONFIGS).mkdir(parents=True, exist_ok=True)
    groups: list[dict[str, Any]] = json.loads(pvehooks(tree, "host", "groups", "--json"))["groups"]
    addresses = [device["address"] for group in groups for device in group["devices"]]
    assert sorted(addresses) == sorted(path.name for path in (tree / "sys/bus/pci/devices").iterdir())
    assert [group["free"] for group in groups for device in group["devices"] if device["address"] == "0000:00:03.0"] == [False]


def test_two_hundred_devices(tmp_path: Path) -> None:
    lines = [f"0000:{bus:02x}:00.0 class=020000 id=8086:1533 driver=igb group={bus} net=eno{bus}" for bus in range(1, 201)]
    tree = planted(tmp_path / "tree", BUS + "\n".join(lines).replace("group=", "group=1000"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pvehooks(tree, "host", "groups")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
