"""PCI devices in a booted node: what tests/beds/pci.py plants takes the place of the machine's own in sysfs, and one device is in use."""

from __future__ import annotations

import os
import stat

from tests.beds import uses
from tests.beds.pci import plant
from tests.beds.tree import make_fake_tree
from tests.node.machine import Machine, wait_until

# Two cards with a device node each, of which the second is open; a network card beside one that is a bridge's port; an idle disk.
BUS = """\
0000:02:00.0 class=048000 id=14f1:8210 driver=cx23885 group=2
0000:02:01.0 class=048000 id=14f1:8210 driver=cx23885 group=5
0000:03:00.0 class=020000 id=8086:1533 driver=igb group=3 net=eno1
0000:03:00.1 class=020000 id=8086:1533 driver=vfio-pci group=3
0000:04:00.0 class=010802 id=144d:a808 driver=nvme group=4 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
"""
IDLE, OPEN, PORT, DISK = 100, 101, 102, 103
DEVICES = {IDLE: "0000:02:00.0", OPEN: "0000:02:01.0", PORT: "0000:03:00.1", DISK: "0000:04:00.0"}
HARMLESS = frozenset((IDLE, DISK))
# Their nodes have the numbers of /dev/full and /dev/random, which anybody may make work.
NODES = {"0000:02:00.0": ("video0", 7), "0000:02:01.0": ("video1", 8)}
PLACES = ("bus/pci", "devices/pci0000:00", "kernel/iommu_groups", "class/iommu", "class/net", "class/block", "dev/block")
SETTINGS = "[guard]\nunbound = leave\n"
REMAPPING = "  24: 0 IR-PCI-MSI-0000:00:01.0\n"


def furnish(node: Machine) -> None:
    """Puts the devices into the node; the guests of DEVICES get one each. The guard's own settings leave drivers as they are."""
    files = plant(BUS)
    uses.bridge_port(files, "0000:03:00.0")
    for address, (name, minor) in NODES.items():
        place = f"sys/devices/pci0000:00/{address}/video4linux/{name}"
        files |= {f"{place}/dev": f"1:{minor}\n", f"{place}/uevent": f"DEVNAME={name}\n"}
        os.mknod(node.job / name, 0o600 | stat.S_IFCHR, os.makedev(1, minor))
        node.sh(f"touch /dev/{name} && mount --bind /job/{name} /dev/{name}")
    make_fake_tree(node.root / "srv/bus", {**files, "interrupts": REMAPPING})
    node.sh("\n".join(f"mount --bind /srv/bus/sys/{place} /sys/{place}" for place in PLACES))
    node.sh("mount --bind /srv/bus/interrupts /proc/interrupts")
    node.run("sh", "-c", "cat >/etc/pvehooks/pvehooks.conf; systemctl reload pvehooks", stdin=SETTINGS)
    node.sh("systemd-run --quiet --unit=holder sh -c 'exec 7</dev/video1; exec sleep infinity'")
    wait_until(
        lambda: "video1" in node.sh("ls -l /proc/$(systemctl show --value -p MainPID holder)/fd", check=False), "it is open", node.state
    )
    for vmid, address in DEVICES.items():
        uuid = f"b3247ab1-1fe6-428e-965b-08a1b64a{vmid:04d}"
        node.write(
            vmid,
            f"name: g{vmid}\nmemory: 512\nhostpci0: {address}\nmeta: creation-qemu=9.2.0,ctime=18000{vmid:05d}\nsmbios1: uuid={uuid}\n",
        )
