"""Whatever others than root write where the guard reads: no exception, soon, and no use of the node's is lost.

`make fuzz MINUTES=60` runs these for as long, with other examples each time.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.guard import fallback
from pvehooks.host import Host
from pvehooks.rules import engine
from pvehooks.values import Severity, Unread
from tests.beds import uses
from tests.beds.tree import Content
from tests.guard import bed

EXAMPLES = int(os.environ.get("PVEHOOKS_FUZZ_EXAMPLES", "150"))
NODE = "etc/pve/nodes/pve1"
# The guest takes 0000:05:00.0, and with its group 0000:04:00.0; and a disk that holds a mounted file system.
DISK = bed.IDLE_DISK
PLANTED = "holds /srv (ext4 on nvme0n1p1)"
# What others can write, or fill, or choose: guests' configs and command lines, containers, processes, sockets, device strings.
FILES: dict[str, Content] = {
    f"{NODE}/qemu-server/101.conf": "hostpci0: 0000:07:00.0\nscsi0: /dev/disk/by-id/x,size=1G\nusb0: host=1-2\nname: web\nargs: -device vfio-pci,host=08:00.0\n",
    f"{NODE}/lxc/105.conf": "hostname: media\ndev0: /dev/dri/renderD128\nmp0: /dev/x,mp=/y\nlxc.cgroup2.devices.allow: c 226:128 rwm\nlxc.net.0.type: phys\nlxc.net.0.link: eno9\n",
    "etc/pve/mapping/pci.cfg": "gpu\n\tmap id=10de:2204,iommugroup=1,node=pve1,path=0000:01:00.0\n",
    "etc/pve/pvehooks/guests/101.json": '{"version": 1, "uuid": null, "ctime": 1700000000, "accepted": {}}',
    "run/qemu-server/101.pid": "4711\n",
    "run/qemu-server/pci-id-reservations": "0000:07:00.0 101 pid:4711\n",
    "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:07:00.0,id=hostpci0\0-drive\0file=/dev/sdz\0",
    "proc/4711/comm": "kvm\n",
    "proc/4711/cgroup": "0::/qemu.slice/101.scope\n",
    "proc/4712/comm": "x\n",
    "proc/4712/stat": "4712 (x) S 1 1\n",
    "proc/net/unix": "0: 2 0 0 1 01 2 @/var/lib/lxc/105/command\n",
    "proc/net/fib_trie": "Main:\n  |-- 192.0.2.10\n     /32 host LOCAL\n",
    "proc/net/if_inet6": "20010db8000000000000000000000010 02 40 00 80     eno1\n",
    "proc/net/ipv6_route": f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000003 eno1\n",
    "proc/net/pppoe": "Id Address Device\n1 00:11:22:33:44:55 eno1\n",
    "proc/bus/input/devices": "I: Bus=0003\nH: Handlers=kbd\nB: KEY=3ff0000\nS: Sysfs=/devices/pci0000:00/0000:04:00.0/usb1\n\n",
    "run/udev/data/b259:1": "S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=12\nE:ID_FS_UUID_SUB=99\n",
    "run/udev/data/n2": "E:ID_NET_NAME_PATH=enp3s0\n",
    "sys/class/net/eno1/ifindex": "2\n",
    "sys/class/net/eno1/uevent": "INTERFACE=eno1\nDEVTYPE=wlan\n",
    f"sys/devices/pci0000:00/{DISK}/nvme/nvme0/serial": "S1\n",
    "etc/zfs/zpool.cache": "x",
    "proc/spl/kstat/zfs/rpool/guid": "123\n",
}
PIECES = [
    b"\0",
    b"9" * 5000,
    b"\xff\xfe",
    "\u2028".encode(),
    b"\n",
    b" ",
    b"/dev/",
    b"/dev/nvme0n1",
    b"../..",
    b"[",
    b"]",
    b":",
    b"=",
    b",",
    b"-",
    b"0x",
    b"%s",
    b"{",
    b'"',
]
edits = st.tuples(st.floats(0, 1), st.integers(0, 40), st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=4).map(b"".join))
changes = st.dictionaries(
    st.sampled_from(sorted(FILES)), st.lists(edits, min_size=1, max_size=4) | st.binary(max_size=200), min_size=1, max_size=4
)


def edited(raw: bytes, change: list[tuple[float, int, bytes]] | bytes) -> bytes:
    """The content with some of its bytes replaced by others, or other content."""
    if isinstance(change, bytes):
        return change
    for where, gone, new in change:
        at = int(where * len(raw))
        raw = raw[:at] + new + raw[at + gone :]
    return raw


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = dict(FILES)
    planted = {**uses.idle()}
    uses.mounted_partition(planted, DISK)
    return bed.node(tmp_path_factory.mktemp("any"), {**planted, **files}, hostpci=f"{bed.NOT_CLEAN}\nhostpci1: {DISK}")


def look(root: Path) -> list[str]:
    """What refuses the start of the guest, and all that is asked of all devices."""
    host = Host(str(root))
    node = hardware.gather(host, "pve1")
    guest = guests.read(host, "pve1", 100, guests.start_context(host, "pve1", 100))
    found = [each.message for each in engine.findings_at_start(guest, node) if each.severity is Severity.BLOCK]
    assert not isinstance(node.pci, Unread)
    assert not isinstance(node.uses, Unread)
    for device in node.pci.values():
        node.uses.of(device)
    assert isinstance(node.onboot, dict | Unread)
    fallback.in_use(host, set(node.pci))
    return found


@settings(max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
@given(changes)
def test_no_content_hides_a_use(tree: Path, change: dict[str, list[tuple[float, int, bytes]] | bytes]) -> None:
    before = {name: (tree / name).read_bytes() for name in change}
    try:
        for name, how in change.items():
            (tree / name).write_bytes(edited(before[name], how))
        began = time.process_time()
        found = look(tree)
        taken = time.process_time() - began
    finally:
        for name, content in before.items():
            (tree / name).write_bytes(content)
    assert any(PLANTED in message for message in found), found
    assert taken < 20, "something takes more than linear time"


LARGE = {
    "a long word": b"a" * 1_000_000,
    "white space": b" " * 1_000_000,
    "digits": b"9" * 1_000_000,
    "lines": b"a\n" * 500_000,
    "colons": b":" * 1_000_000,
    "commas": b"hostpci0: " + b"," * 1_000_000,
    "slashes": b"/dev/" * 200_000,
    "NUL": b"\0" * 1_000_000,
    "random": random.Random(1).randbytes(1_000_000),
    "a name and blanks": b"hostname:" + b" " * 500_000 + b"x\n",
    "keys": b"lxc." + b"a." * 400_000 + b" = x\n",
}


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
def test_a_megabyte_in_each_file(content: bytes, tree: Path) -> None:
    before = {name: (tree / name).read_bytes() for name in FILES}
    try:
        for name in FILES:
            (tree / name).write_bytes(content)
        began = time.process_time()
        found = look(tree)
        taken = time.process_time() - began
    finally:
        for name, former in before.items():
            (tree / name).write_bytes(former)
    assert any(PLANTED in message for message in found), found
    assert taken < 30, "something takes more than linear time"
