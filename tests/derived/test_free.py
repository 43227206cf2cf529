"""What is free: one meaning for `host check`, `host groups --free` and the reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived.candidates import candidates, described
from pvehooks.derived.groups import groups
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.report import tree
from tests.beds import pci
from tests.beds.tree import Content, make_fake_tree

TABLE = """\
0000:01:00.0 class=030000 id=10de:2684 driver=vfio-pci group=14
0000:01:00.1 class=040300 id=10de:22ba driver=vfio-pci group=14 reset=-
0000:02:00.0 class=010802 id=144d:a80a driver=vfio-pci group=15
0000:03:00.0 class=020000 id=8086:1572 driver=i40e group=16
0000:03:02.0 class=020000 id=8086:154c driver=vfio-pci group=17 pf=0000:03:00.0
0000:04:00.0 class=030000 id=1002:164e driver=amdgpu group=18 boot_vga=1
0000:05:00.0 class=020000 id=14e4:1657 driver=vfio-pci group=19
0000:06:00.0 class=0c0330 id=1912:0014 group=20 dead=1
0000:07:00.0 class=0c0330 id=1912:0014 driver=vfio-pci group=21
0000:08:00.0 class=010700 id=1000:0097 driver=vfio-pci group=21
"""
FILES: dict[str, Content] = {
    "run/qemu-server/101.pid": "4711\n",
    "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-name\0mail\0-device\0vfio-pci,host=0000:02:00.0,id=hostpci0\0",
    "etc/pve/nodes/pve1/qemu-server/101.conf": "name: mail\nhostpci0: 0000:02:00.0\n",
    "sys/kernel/iommu_groups/19/reserved_regions": "0x00000000bdf83000 0x00000000bdf84fff direct\n",
    "proc/net/route": "",
    "proc/net/fib_trie": "",
}


def test_one_meaning(tmp_path: Path) -> None:
    """Free are the idle graphics card with its sound, and two idle devices of one group; nothing else."""
    node = hardware.gather(Host(str(make_fake_tree(tmp_path, {**pci.plant(TABLE), **FILES}))), "pve1")
    verdicts = {candidate.device.address: described(candidate, node)[0] for candidate in candidates(node)}
    assert verdicts == {
        "0000:01:00.0": "free",
        "0000:01:00.1": "free",
        "0000:02:00.0": "in use",
        "0000:03:00.0": "in use",
        "0000:04:00.0": "needed at the node",
        "0000:05:00.0": "not for passthrough",
        "0000:06:00.0": "dead",
        "0000:07:00.0": "free",
        "0000:08:00.0": "free",
    }
    shown = {group.name: tree.headline(group) for group in groups(node)}
    free = {member.device.address for group in groups(node) if group.free for member in group.devices if not member.device.physfn}
    assert free == {address for address, verdict in verdicts.items() if verdict == "free"}
    assert (
        shown["19"] == "group 19: clean, not free: 0000:05:00.0 has memory reserved by the firmware (RMRR), the kernel refuses it to vfio"
    )
    assert "virtual function" in shown["16"] and "console" in shown["18"] and "VM 101 (mail)" in shown["15"]


def test_a_function_that_is_reset_with_its_card(tmp_path: Path) -> None:
    table = "0000:01:00.1 class=040300 id=10de:22ba group=14 reset=-\n0000:01:00.0 class=030000 id=10de:2684 group=14\n"
    table += "0000:00:17.0 class=010601 id=8086:7ae2 group=9 reset=-\n"
    node = hardware.gather(Host(str(make_fake_tree(tmp_path, pci.plant(table)))), "pve1")
    words = {candidate.device.address: described(candidate, node)[1] for candidate in candidates(node)}
    assert "reset: with its whole card" in words["0000:01:00.1"]
    assert "cannot be reset" in words["0000:00:17.0"]


PERIPHERALS = """\
0000:00:1f.4 class=0c0500 id=8086:7aa3 driver=i801_smbus group=9
0000:00:14.2 class=050000 id=8086:7aa7 group=9
0000:00:15.0 class=088000 id=8086:7acc group=10
0000:01:00.0 class=088000 id=1ac1:089a driver=vfio-pci group=14
0000:02:00.0 class=0b4000 id=8086:4940 driver=vfio-pci group=15
0000:03:00.0 class=118000 id=11fe:0001 driver=vfio-pci group=16
0000:04:00.0 class=130000 id=1022:145a driver=vfio-pci group=17
0000:05:00.0 class=120000 id=1e60:2864 driver=vfio-pci group=18
0000:06:00.0 class=058000 id=10ee:903f driver=vfio-pci group=19
0000:07:00.0 class=ff0000 id=10ec:5229 driver=vfio-pci group=20
0000:08:00.0 class=060400 id=8086:7ab0 driver=pcieport group=21 bridge=1
"""


def listed(directory: Path, config: str = "", mapping: str = "") -> dict[str, str]:
    files: dict[str, Content] = {
        **pci.plant(PERIPHERALS),
        "proc/net/route": "",
        "proc/net/fib_trie": "",
        "etc/pve/nodes/pve1/qemu-server/102.conf": config,
        "etc/pve/mapping/pci.cfg": mapping,
        "etc/pve/corosync.conf": "",
    }
    node = hardware.gather(Host(str(make_fake_tree(directory, files))), "pve1")
    return {candidate.device.address: described(candidate, node)[0] for candidate in candidates(node)}


def test_accelerators_are_cards_of_any_class(tmp_path: Path) -> None:
    """A Coral TPU says of itself that it is a system peripheral; the board's are on the root bus."""
    assert listed(tmp_path) == {"0000:01:00.0": "free", "0000:05:00.0": "free"}


@pytest.mark.parametrize("address", ["0000:00:15.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0", "0000:06:00.0", "0000:07:00.0"])
def test_what_is_named_is_listed_whatever_its_class(address: str, tmp_path: Path) -> None:
    by_guest = listed(tmp_path / "guest", f"hostpci0: {address[5:]}\n")
    by_slot = listed(tmp_path / "slot", f"hostpci0: {address[:-2]}\n")
    mapped = listed(tmp_path / "mapping", mapping=f"card\n\tmap node=pve1,path={address},id=8086:4940\n\tmap node=pve2,path=0000:00:1f.4\n")
    assert set(by_guest) == set(by_slot) == set(mapped) == {"0000:01:00.0", "0000:05:00.0", address}
    assert set(listed(tmp_path / "template", f"hostpci0: {address}\ntemplate: 1\n")) == {"0000:01:00.0", "0000:05:00.0"}


def test_a_bridge_is_no_candidate(tmp_path: Path) -> None:
    assert "0000:08:00.0" not in listed(tmp_path, "hostpci0: 08:00.0\n")
