"""What is free: one meaning for `host check`, `host groups --free` and the reports."""

from __future__ import annotations

from pathlib import Path

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
