"""A verb that only shows something asks the node each thing once, whatever shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.cli.main import main
from tests.beds import boot, pci
from tests.beds.tree import Content, make_fake_tree
from tests.daemon.test_reads import counted

DEVICES = """\
0000:00:02.0 class=030000 id=8086:46a6 driver=i915 group=0
0000:01:00.0 class=020000 id=8086:1533 driver=igb group=1 net=eno1
0000:01:00.1 class=020000 id=8086:1533 driver=igb group=1 net=eno2
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=2 disk=nvme0n1/259:0
0000:03:00.0 class=030000 id=10de:2204 driver=nvidia group=3
0000:04:00.0 class=030000 id=10de:2204 driver=vfio-pci group=4
"""
FILES: dict[str, Content] = {
    **boot.with_translation(boot.plant("")),
    **pci.plant(DEVICES),
    "etc/modprobe.d/local.conf": "options vfio_iommu_type1 allow_unsafe_interrupts=1\n",
    "etc/network/interfaces": "iface eno1 inet manual\n\nauto vmbr0\niface vmbr0 inet static\n\tbridge-ports eno1\n",
    "etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 0000:03:00,pcie=1\nname: gpu\n",
    "etc/pve/nodes/pve1/qemu-server/101.conf": "hostpci0: 0000:01:00.1\nname: router\n",
    "proc/driver/nvidia/gpus/0000:03:00.0/information": "Device Minor: \t 0\n",
    "sys/kernel/config/netconsole": None,
}
# Before anything is kept.
WHICH_NODE = {"/etc/pve/local", "/etc/pve/nodes", "/etc/pve/nodes/pve1"}


@pytest.mark.parametrize("verb", ["host check", "host groups", "devices", "check", "report"])
def test_nothing_is_asked_twice(verb: str, tmp_path: Path) -> None:
    root = make_fake_tree(tmp_path, FILES)
    with counted() as found:
        assert main([*verb.split(), "--root", str(root)]) in (0, 1)
    assert {asked: count for asked, count in found.items() if count > 1 and asked[1] not in WHICH_NODE} == {}
    assert found["_read", "/sys/bus/pci/devices/0000:01:00.0/class"] == 1


def test_of_each_device_little_is_asked(tmp_path: Path) -> None:
    """What is of the node and what is of a card of another kind is not asked anew for each device."""

    def asked(devices: int) -> int:
        lines = (f"0000:{bus:02x}:00.0 class=020000 id=8086:1533 driver=igb group={bus} net=en{bus}" for bus in range(1, devices + 1))
        root = make_fake_tree(tmp_path / str(devices), {**boot.with_translation(boot.plant("")), **pci.plant("\n".join(lines))})
        with counted() as found:
            main(["host", "check", "--root", str(root)])
        return sum(found.values())

    few, more, many = asked(1), asked(11), asked(21)
    assert many - more == more - few
    assert (more - few) // 10 <= 25
