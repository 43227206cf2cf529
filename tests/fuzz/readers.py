"""Each file that others than root write, fill or choose, with a usual content, and what of the product reads it.

A reader has a value for what it cannot use: it raises nothing but the errors that its callers expect, answers soon, and needs little memory.
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from pvehooks import wording
from pvehooks.capture import archive, replay
from pvehooks.errors import PvehooksError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import corosync, members, pmxcfs, summaries
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import running
from pvehooks.facts.pci import holders, hostpci
from pvehooks.facts.uses import containers, processes
from pvehooks.formats import firmwareimage, propertystring, qemuargs, summary
from pvehooks.formats.propertystring import PropertyError
from pvehooks.formats.qemuargs import ArgsError
from pvehooks.formats.schema import OPTIONS
from pvehooks.host import Host
from pvehooks.judge import judge
from pvehooks.records import baseline
from pvehooks.records import guests as records
from pvehooks.rules import catalogue
from pvehooks.settings import load as settings
from pvehooks.values import HwRng, Iommu, Node, Unread
from pvehooks.values.summaries import DescribedDevice, DeviceKind, Hardware, Standing, Summary
from tests.beds.tree import Content
from tests.guard import bed

PVE = "etc/pve"
NODE = f"{PVE}/nodes/pve1"
DISK, PORT, USB = bed.IDLE_DISK, "0000:03:00.0", "0000:04:00.0"


class Reader(NamedTuple):
    """What reads a file, and what the file usually holds."""

    seed: Content
    read: Callable[[Host], object]


def facts(*names: str) -> Callable[[Host], object]:
    """Reads facts of the node anew, as rules would ask for them."""

    def read(host: Host) -> object:
        node = hardware.gather(host, "pve1")
        return [getattr(node, name) for name in names]

    return read


def uses_of(address: str) -> Callable[[Host], object]:
    """All uses of a device, the dear ones as well."""

    def read(host: Host) -> object:
        node = hardware.gather(host, "pve1")
        assert not isinstance(node.pci, Unread)
        assert not isinstance(node.uses, Unread)
        return node.uses.of(node.pci[address])

    return read


def audit(vmid: int) -> Callable[[Host], object]:
    """A guest's config judged by all rules; the words are for a terminal and a journal: one line, nothing that it would obey."""
    known: dict[str, Node] = {}

    def read(host: Host) -> object:
        node = known.setdefault(host.root, hardware.gather(host, "pve1"))
        guest = guests.read(host, "pve1", vmid, guests.start_context(host, "pve1", vmid))
        verdict = judge(guest, catalogue.findings(guest, node), settings.load(host))
        for each in verdict.findings:
            words = wording.printable(wording.sentence(each.finding))
            assert words.isprintable(), words
        return verdict

    return read


def running_guests(host: Host) -> object:
    """Running guests with what each has of the bus."""
    found = running.RunningGuests(host, "pve1")
    node = hardware.gather(host, "pve1")
    assert not isinstance(node.pci, Unread)
    return holders.running(found, node.pci, hostpci.Mappings(host, "pve1"))


def owners(host: Host) -> object:
    """What is said of a process."""
    files = processes.OpenFiles(host)
    return [(files.words(pid), files.container(pid), files.service(pid)) for pid in ("4711", "4712")] + [files.pids("/dev/sda")]


def members_and_guests(host: Host) -> object:
    """What pmxcfs' own files say."""
    return [with_errors(reader, host) for reader in (pmxcfs.version, pmxcfs.guests, pmxcfs.member_names, pmxcfs.online, pmxcfs.quorate)]


def with_errors(reader: Callable[[Host], object], host: Host) -> object:
    """A reader that may raise what people are told about."""
    with suppress(PvehooksError, OSError):
        return reader(host)
    return None


def other_node(host: Host) -> object:
    """All facts that another node's summary gives."""
    node = summaries.node(host, Standing("pve2", True, "", summaries.read(host, "pve2")))
    names = ("bridges", "cpus", "qemu", "mappings", "hwrng", "iommu", "pci", "uses", "holders")
    values = [getattr(node, name) for name in names]
    if not isinstance(node.pci, Unread) and not isinstance(node.uses, Unread):
        values += [(node.uses.of(device), device.words, device.members, device.class_code) for device in node.pci.values()]
    return values


def record(host: Host) -> object:
    """A guest's record."""
    return records.read(host, 101, records.Identity(None, 1700000000))


def options(host: Host) -> object:
    """Each property string of an option, and QEMU's arguments."""
    text = host.read("/fuzz/option", 1 << 20).decode(errors="surrogateescape")
    name, _, value = text.partition(": ")
    if name in OPTIONS:
        with suppress(PropertyError):
            propertystring.parse(name, value)
    with suppress(ArgsError):
        qemuargs.joined(value, "-S")
        qemuargs.without(value, "-S")
    return qemuargs.split(value)


def capture(host: Host) -> object:
    """An archive that somebody sends, in whatever state."""
    with suppress(PvehooksError):
        return sum(1 for _ in archive.members(host.locate("/fuzz/capture.tar.xz")))
    return None


def captured_facts(host: Host) -> object:
    """The facts file of an unpacked capture."""
    with suppress(PvehooksError, OSError):
        captured = replay.host_at(host.locate("/fuzz/unpacked"))
        return (
            captured.attributes("/proc"),
            captured.size("/proc"),
            captured.has_acl("/proc"),
            captured.now(),
            with_errors(uses_of(DISK), captured),
        )
    return None


def _volume() -> bytes:
    """A UEFI firmware volume without files: its header (EDK2, MdePkg/Include/Pi/PiFirmwareVolume.h), padded with ones."""
    size, header = 4096, 72
    guid = uuid.UUID("8c8ce578-8a3d-4f1c-9935-896185c32dd3").bytes_le
    fields = struct.pack("<16x16sQ4sIHHHBBIIII", guid, size, b"_FVH", 0x4FEFF, header, 0, 0, 0, 2, 1, size, 0, 0)
    total = sum(struct.unpack("<36H", fields)) & 0xFFFF
    return fields[:50] + struct.pack("<H", -total & 0xFFFF) + fields[52:] + b"\xff" * (size - header)


CONFIG = """#web
args: -device vfio-pci,host=08:00.0 -m 1G
balloon: 0
bios: ovmf
boot: order=scsi0;net0
cpu: host,flags=+aes
efidisk0: local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M
hostpci0: 0000:07:00.0,pcie=1,rombar=0,romfile=x.rom
hostpci1: mapping=gpu,x-vga=1
hugepages: 1024
machine: pc-q35-9.2+pve1,viommu=intel
memory: 4096
meta: creation-qemu=10.0.2,ctime=1700000000
name: web
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5
numa: 1
numa0: cpus=0-3,hostnodes=0,memory=4096,policy=bind
rng0: source=/dev/urandom,max_bytes=1024,period=1000
scsi0: /dev/disk/by-id/x,size=1G
smbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a8746
tpmstate0: local-lvm:vm-101-disk-1,size=4M,version=v2.0
usb0: host=1-2
virtiofs0: share,cache=always
[PENDING]
delete: balloon
[snap]
machine: pc-q35-5.1
"""
CARD = DeviceKind(0x10DE, 0x2204, (0x1043, 0x87D0), 0x030000, "vfio-pci", True, "", ("flr", "bus"), (("nvidia-63", 2),), False, "", False)
HARDWARE = Hardware(
    1_700_000_000, Iommu(True, "", "", None, False), HwRng(False, ""), {"0000:01:00.0": DescribedDevice(CARD, "1")}, (), {}, {}, {}
)
SUMMARY = Summary(
    "1.0", 1_700_000_000, "enforce", "inject", 3, 2, 1, (101,), (102,), 1, {"block": 1}, {}, {}, {}, HARDWARE, ("vmbr0",), 8, (10, 0)
)
ACCEPTED = {"pve1": {"when": 1700000000, "kernel": "6.8.12-4-pve", "devices": {"0000:07:00.0": {"ids": "8086:10d3"}}, "group": {}}}

READERS: dict[str, Reader] = {
    # The configs of guests: who may change one chooses most of it.
    f"{NODE}/qemu-server/101.conf": Reader(CONFIG, audit(101)),
    f"{NODE}/lxc/105.conf": Reader(
        "hostname: media\ndev0: /dev/dri/renderD128\nmp0: /dev/x,mp=/y\nlxc.cgroup2.devices.allow: c 226:128 rwm\n"
        "lxc.net.0.type: phys\nlxc.net.0.link: eno9\n",
        lambda host: containers.Containers(host, "pve1").all(),
    ),
    "fuzz/option": Reader("hostpci0: mapping=gpu,pcie=1", options),
    # What pmxcfs holds, for whom PVE lets write it.
    f"{PVE}/mapping/pci.cfg": Reader(
        "gpu\n\tdescription x\n\tmap id=10de:2204,iommugroup=1,node=pve1,path=0000:01:00.0,subsystem-id=1043:87d0\n", facts("mappings")
    ),
    f"{PVE}/mapping/usb.cfg": Reader("key\n\tmap id=0627:0001,node=pve1,path=1-2\n", facts("usb_mappings", "usb_claims")),
    f"{PVE}/mapping/directory.cfg": Reader("share\n\tmap node=pve1,path=/srv\n", facts("directories")),
    f"{PVE}/storage.cfg": Reader(
        "dir: local\n\tpath /var/lib/vz\n\tcontent images,snippets\n\nlvmthin: x\n\tvgname pve\n", facts("storages", "paths")
    ),
    f"{PVE}/ha/rules.cfg": Reader("resource-affinity: r\n\tresources vm:101,vm:102\n\taffinity negative\n", facts("ha")),
    f"{PVE}/ha/resources.cfg": Reader("vm: 101\n\tstate started\n\tgroup g\n", facts("ha")),
    f"{PVE}/virtual-guest/cpu-models.conf": Reader("cpu-model: x\n\tflags +rdrand;-aes\n\treported-model EPYC\n", facts("cpu_models")),
    f"{PVE}/sdn/fabrics.cfg": Reader("openfabric_node: f_pve1\n\tinterfaces name=eno1\n\tnode_id pve1\n", facts("bridges")),
    f"{PVE}/corosync.conf": Reader(
        "totem {\n  interface {\n    linknumber: 0\n  }\n}\nnodelist {\n  node {\n    name: pve1\n    ring0_addr: 192.0.2.10\n  }\n}\n",
        lambda host: (with_errors(corosync.node_names, host), corosync.links(host, "pve1")),
    ),
    f"{PVE}/.members": Reader(
        '{"nodename": "pve1", "version": 5, "cluster": {"name": "c", "version": 2, "nodes": 2, "quorate": 1},\n'
        '"nodelist": {"pve1": {"id": 1, "online": 1, "ip": "192.0.2.10"}, "pve2": {"id": 2, "online": 0}}}\n',
        members_and_guests,
    ),
    f"{PVE}/.vmlist": Reader('{"version": 3, "ids": {"101": {"node": "pve1", "type": "qemu", "version": 7}}}\n', members_and_guests),
    f"{PVE}/.version": Reader('{"starttime": 1700000000, "clinfo": 5, "vmlist": 3, "status": {}}\n', members_and_guests),
    # Ours, on a file system that others may restore.
    f"{PVE}/pvehooks/guests/101.json": Reader(
        json.dumps({"version": 1, "uuid": None, "ctime": 1700000000, "accepted": ACCEPTED, "rng0": {"value": "source=/dev/urandom"}}),
        record,
    ),
    baseline.path("pve1")[1:]: Reader(
        json.dumps({"version": 1, "time": 1700000000, "node": "pve1", "guests": {"101": "a" * 40}}),
        lambda host: baseline.read(host, "pve1"),
    ),
    summaries.path("pve2")[1:]: Reader(summary.dump(SUMMARY), other_node),
    members.presence_path("pve2")[1:]: Reader('{"version": "1.2.3"}\n', lambda host: members.version_of(host, "pve2")),
    # Processes and their words.
    "run/qemu-server/101.pid": Reader("4711\n", running_guests),
    "run/qemu-server/pci-id-reservations": Reader("0000:07:00.0 101 pid:4711\n", running_guests),
    "proc/4711/cmdline": Reader(
        "/usr/bin/kvm\0-id\x00101\0-device\0vfio-pci,host=0000:07:00.0,id=hostpci0\0-drive\0file=/dev/sdz\0", running_guests
    ),
    "proc/4711/comm": Reader("kvm\n", owners),
    "proc/4711/cgroup": Reader("0::/qemu.slice/101.scope\n", owners),
    "proc/4712/status": Reader("Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGroups:\t24 25\n", owners),
    "proc/4712/stat": Reader("4712 (x) S 1 1\n", owners),
    # The network, of which a container or a neighbour sets names and routes.
    "proc/net/unix": Reader("0: 2 0 0 1 01 2 @/var/lib/lxc/105/command\n", uses_of(PORT)),
    "proc/net/route": Reader("Iface Destination Gateway Flags\neno1 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n", uses_of(PORT)),
    "proc/net/fib_trie": Reader("Main:\n  |-- 192.0.2.10\n     /32 host LOCAL\n", uses_of(PORT)),
    "proc/net/if_inet6": Reader("20010db8000000000000000000000010 02 40 00 80     eno1\n", uses_of(PORT)),
    "proc/net/ipv6_route": Reader(f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000003 eno1\n", uses_of(PORT)),
    "proc/net/pppoe": Reader("Id Address Device\n1 00:11:22:33:44:55 eno1\n", uses_of(PORT)),
    "proc/net/packet": Reader("sk RefCnt Type Proto Iface R Rmem User Inode\n0 3 3 0003 2 1 0 0 1\n", uses_of(PORT)),
    "etc/network/interfaces": Reader("auto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.10/24\n\tbridge-ports eno1\n", uses_of(PORT)),
    "sys/class/net/eno1/uevent": Reader("INTERFACE=eno1\nDEVTYPE=wlan\n", uses_of(PORT)),
    "run/udev/data/n2": Reader("E:ID_NET_NAME_PATH=enp3s0\n", facts("interfaces")),
    # What disks, pools and volumes say of themselves, and who mounts.
    "run/udev/data/b259:1": Reader("S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_UUID=12\nE:ID_FS_UUID_SUB=99\n", uses_of(DISK)),
    "proc/self/mountinfo": Reader(
        "21 1 0:20 / /sys rw - sysfs sysfs rw\n22 1 8:1 / /a\\040b rw,relatime shared:1 - ext4 /dev/sda1 rw\n", uses_of(DISK)
    ),
    "proc/swaps": Reader("Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p1\tpartition\t1\t0\t-2\n", uses_of(DISK)),
    "proc/mdstat": Reader("Personalities : [raid1]\nmd0 : active raid1 nvme0n1p1[0]\n", uses_of(DISK)),
    "proc/spl/kstat/zfs/rpool/guid": Reader("123\n", uses_of(DISK)),
    "etc/lvm/backup/pve": Reader(
        'pve {\nid = "x"\nphysical_volumes {\npv0 {\nid = "y"\ndevice = "/dev/nvme0n1p1"\n}\n}\n}\n', uses_of(DISK)
    ),
    # Devices: strings and configuration space are the device's own.
    f"sys/devices/pci0000:00/{DISK}/nvme/nvme0/serial": Reader("S1\n", uses_of(DISK)),
    f"sys/devices/pci0000:00/{DISK}/config": Reader(bytes(range(256)) * 16, uses_of(DISK)),
    f"sys/devices/pci0000:00/{DISK}/resource": Reader(
        "0x00000000f0000000 0x00000000f0003fff 0x0000000000140204\n", facts("iommu", "links", "vf_support")
    ),
    "proc/bus/input/devices": Reader(
        "I: Bus=0003\nH: Handlers=kbd\nB: KEY=3ff0000\nS: Sysfs=/devices/pci0000:00/0000:04:00.0/usb1\n\n", uses_of(USB)
    ),
    "proc/iomem": Reader("f0000000-f0003fff : 0000:01:00.0\n  f0000000-f0000fff : efifb\n", facts("pci")),
    # Files that others hand over.
    "fuzz/image": Reader(_volume(), lambda host: firmwareimage.read(host.read("/fuzz/image"))),
    "fuzz/capture.tar.xz": Reader(b"", capture),
    "fuzz/unpacked/capture.json": Reader(
        json.dumps(
            {
                "version": 1,
                "node": "pve1",
                "time": 1.5,
                "errors": {"read /a": 13},
                "attributes": {"/proc": [16877, 0, 0, 0]},
                "modified": {"/proc": 1.5},
                "sizes": {"/proc": 5},
                "links": {"/a": "/b"},
                "acls": ["/proc"],
                "commands": [{"argv": ["lspci"], "done": [0, "x", ""], "trouble": ""}],
            }
        ),
        captured_facts,
    ),
}
