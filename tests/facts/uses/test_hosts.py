"""Whole stacks of storage and network as they are met on nodes, one of their devices in the group: what the node would lose of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds import pci
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts.uses.disks import Disks
from tests.facts.uses.test_network import DEFAULT, NETWORK, NIC, UP, net, nic, on, upper
from tests.facts.uses.test_storage import GROUP, GUID, HBA, PV, disks, sentences, uuid

__all__ = ["disks"]


def zfs(disks: Disks, name: str, **more: str) -> None:
    disks.label(name, ID_FS_TYPE="zfs_member", ID_FS_LABEL="tank", ID_FS_UUID=GUID, **more)


# -- storage ----------------------------------------------------------------------------------------------------------


def mirror_with_one_leg(disks: Disks) -> None:
    disks.pool("tank", GUID)
    zfs(disks, "nvme0n1p3")
    zfs(disks, "sda1")


def special_log_and_cache(disks: Disks) -> None:
    """The data lies elsewhere: partitions of the NVMe are special device and log, and a cache device whose label has no pool."""
    disks.pool("tank", GUID)
    zfs(disks, "nvme0n1p1")
    zfs(disks, "nvme0n1p2")
    disks.label("nvme0n1p3", "disk/by-id/nvme-S1-part3", ID_FS_TYPE="zfs_member", ID_FS_UUID_SUB="4711")
    name = b"/dev/disk/by-id/nvme-S1-part3"
    packed = (4711).to_bytes(8, "big") + len(name).to_bytes(4, "big") + name + bytes(-len(name) % 4)
    disks.write("etc/zfs/zpool.cache", packed)


def cached_thin_pool(disks: Disks) -> None:
    """The origin is on a hard disk, the cache on the NVMe; guests' volumes stand on the thin pool."""
    disks.storage("lvmthin: big\n\tvgname vg0\n\tthinpool data\n")
    disks.backup("vg0", GROUP, PV)
    disks.mapped("dm-0", "253:0", "vg0-fast_cpool_cdata", f"{uuid(GROUP)}-cdata", "nvme0n1p3")
    disks.mapped("dm-1", "253:1", "vg0-data_tdata_corig", f"{uuid(GROUP)}-real", "sda1")
    disks.mapped("dm-2", "253:2", "vg0-data_tdata", f"{uuid(GROUP)}-tdata", "dm-0", "dm-1")
    disks.mapped("dm-3", "253:3", "vg0-data-tpool", f"{uuid(GROUP)}-tpool", "dm-2")
    disks.mapped("dm-4", "253:4", "vg0-vm--100--disk--0", uuid(GROUP), "dm-3")


def encrypted_array(disks: Disks) -> None:
    disks.array("md1", "9:1", "clean", "nvme0n1p2", "sda1")
    disks.mapped("dm-0", "253:0", "md1_crypt", "CRYPT-LUKS2-ab-md1_crypt", "md1")
    disks.mount("dm-0", "/")


def bcache_cache(disks: Disks) -> None:
    disks.stack("bcache0", "252:0", "sda1")
    disks.link(f"{disks.paths['bcache0']}/bcache", f"{disks.paths['sda1']}/bcache")
    disks.link(f"{disks.paths['sda1']}/bcache/dev", disks.paths["bcache0"])
    disks.link(f"{disks.paths['nvme0n1p3']}/bcache/set", "sys/fs/bcache/5bc7")
    disks.link("sys/fs/bcache/5bc7/bdev0", f"{disks.paths['sda1']}/bcache")
    disks.mapped("dm-0", "253:0", "vg0-root", uuid(GROUP), "bcache0")
    disks.mount("dm-0", "/")


def multipath_over_two_adapters(disks: Disks) -> None:
    other = disks.pci("0000:04:00.0", "qla2xxx", behind="0000:00:1c.0")
    disks.block(f"{other}/host7/rport-7:0-0/target7:0:0/7:0:0:0/block/sdz", "65:144")
    disks.mapped("dm-5", "253:5", "mpatha", "mpath-3600508b4", "sda", "sdz")
    disks.mapped("dm-6", "253:6", "pve-root", uuid(GROUP), "dm-5")
    disks.mount("dm-6", "/")


def btrfs_of_two(disks: Disks) -> None:
    disks.mount("sda1", "/", "btrfs")
    for name in ("sda1", "nvme0n1p3"):
        disks.link(f"sys/fs/btrfs/0b7d3c1e/devices/{name}", disks.paths[name])


def osd_with_its_database_elsewhere(disks: Disks) -> None:
    disks.mapped("dm-0", "253:0", "ceph--db-db--0", uuid(GROUP), "nvme0n1p3")
    disks.link("dev/ceph-db/db-0", "dev/dm-0")
    disks.write("var/lib/ceph/osd/ceph-3/whoami", "3\n")
    for part, path in (("block", "/dev/sdb1"), ("block.db", "/dev/ceph-db/db-0")):
        (disks.root / "var/lib/ceph/osd/ceph-3" / part).symlink_to(path)
    disks.process(900, "ceph-osd", "/usr/bin/ceph-osd\0-f\0--cluster\0ceph\0--id\x003\0")


def swap_in_memory_written_back(disks: Disks) -> None:
    disks.block("sys/devices/virtual/block/zram0", "251:0")
    disks.write("sys/devices/virtual/block/zram0/backing_dev", "/dev/nvme0n1p3\n")
    disks.swap("/dev/zram0")


def journal_of_another_file_system(disks: Disks) -> None:
    disks.mount("sda1", "/srv")
    (disks.root / "proc/fs/jbd2/nvme0n1p3").mkdir(parents=True)
    (disks.root / "proc/fs/jbd2/sda1-8").mkdir()


def exported_by_lio(disks: Disks) -> None:
    disks.mapped("dm-0", "253:0", "san-lun0", uuid(GROUP), "nvme0n1p3")
    disks.link("dev/san/lun0", "dev/dm-0")
    disks.write("sys/kernel/config/target/core/iblock_2/lun0/enable", "1\n")
    disks.write("sys/kernel/config/target/core/iblock_2/lun0/udev_path", "/dev/san/lun0\n")


def exported_as_a_file(disks: Disks) -> None:
    disks.write("sys/kernel/config/target/core/fileio_0/disk/enable", "1\n")
    info = "Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 512\n        TCM FILEIO ID: 0        File: /dev/nvme0n1p3  Size: 512  Mode: O_DSYNC\n"
    disks.write("sys/kernel/config/target/core/fileio_0/disk/info", info)


def exported_by_nvmet(disks: Disks) -> None:
    disks.label("nvme0n1", "disk/by-id/nvme-eui.0025")
    disks.write("sys/kernel/config/nvmet/subsystems/nqn.a/namespaces/7/device_path", "/dev/disk/by-id/nvme-eui.0025\n")
    disks.write("sys/kernel/config/nvmet/subsystems/nqn.a/namespaces/7/enable", "1\n")


def controller_handed_on_by_nvmet(disks: Disks) -> None:
    disks.write("sys/kernel/config/nvmet/subsystems/nqn.b/passthru/device_path", "/dev/nvme0\n")
    disks.write("sys/kernel/config/nvmet/subsystems/nqn.b/passthru/enable", "1\n")


def open_in_a_container(disks: Disks) -> None:
    disks.process(4711, "postgres", "", "/dev/nvme0n1p3")
    disks.write("proc/4711/cgroup", "0::/lxc/105/ns/system.slice/postgresql.service\n")
    disks.container(105, "hostname: db\n")


STACKS: list[tuple[Callable[[Disks], None], list[str]]] = [
    (mirror_with_one_leg, ["is a member of the imported ZFS pool tank (nvme0n1p3)"]),
    (
        special_log_and_cache,
        [
            "has members of the imported ZFS pool tank (nvme0n1p1 and nvme0n1p2)",
            "is a member of an imported ZFS pool, as spare or cache (nvme0n1p3)",
        ],
    ),
    (cached_thin_pool, ["is a PV of the volume group vg0, which storage big uses (nvme0n1p3)"]),
    (
        encrypted_array,
        [
            "holds / (ext4 on dm-crypt md1_crypt on md1 on nvme0n1p2)",
            "is a member of the active array md1 (nvme0n1p2)",
            "is open as the dm-crypt device md1_crypt (md1 on nvme0n1p2)",
        ],
    ),
    (bcache_cache, ["holds / (ext4 on LVM vg0-root on bcache0 on nvme0n1p3)"]),
    (multipath_over_two_adapters, []),
    (btrfs_of_two, ["holds / (btrfs on nvme0n1p3)"]),
    (osd_with_its_database_elsewhere, ["is the store of the running Ceph OSD 3 (LVM ceph--db-db--0 on nvme0n1p3)"]),
    (swap_in_memory_written_back, ["is swap (zram0 on nvme0n1p3)"]),
    (journal_of_another_file_system, ["is the journal of a mounted ext4 (nvme0n1p3)"]),
    (exported_by_lio, ["is exported by the kernel's SCSI target (LIO) as lun0 (LVM san-lun0 on nvme0n1p3)"]),
    (exported_as_a_file, ["is exported by the kernel's SCSI target (LIO) as disk (nvme0n1p3)"]),
    (exported_by_nvmet, ["is exported by the kernel's NVMe target (nvmet) as nqn.a (nvme0n1)"]),
    (controller_handed_on_by_nvmet, ["is exported by the kernel's NVMe target (nvmet) as nqn.b (nvme0n1)"]),
    (open_in_a_container, ["is open in postgres, pid 4711 in the running CT 105 (db) (nvme0n1p3)"]),
]


@pytest.mark.parametrize(("plant", "expected"), STACKS, ids=lambda value: getattr(value, "__name__", ""))
def test_storage(disks: Disks, plant: Callable[[Disks], None], expected: list[str]) -> None:
    plant(disks)
    assert sentences(disks) == expected


def test_a_path_of_a_multipath_disk(disks: Disks) -> None:
    multipath_over_two_adapters(disks)
    assert sentences(disks, HBA) == ["holds / (ext4 on LVM pve-root on multipath mpatha on sda)"]
    assert sentences(disks, "0000:04:00.0") == ["holds / (ext4 on LVM pve-root on multipath mpatha on sdz)"]


def test_switched_off_exports_are_no_use(disks: Disks) -> None:
    for plant in (exported_by_lio, exported_by_nvmet, controller_handed_on_by_nvmet):
        plant(disks)
    for switch in disks.root.glob("sys/kernel/config/**/enable"):
        switch.write_text("0\n")
    assert sentences(disks) == []


@pytest.mark.parametrize("multipath", [False, True])
def test_namespaces_behind_fibre_channel(disks: Disks, multipath: bool) -> None:
    """Their controllers are below no PCI device: the port's name tells whose they are."""
    addresses = ("0000:05:00.0", "0000:05:00.1")
    for at, address in enumerate(addresses):
        port = disks.pci(address, "lpfc", behind="0000:00:1c.0")
        disks.write(f"{port}/host1{at}/fc_host/host1{at}/port_name", f"0x10000090fae0b5f{at}\n")
        disks.link(f"sys/class/fc_host/host1{at}", f"{port}/host1{at}/fc_host/host1{at}")
    control = "sys/devices/virtual/nvme-fabrics/ctl/nvme9"
    disks.write(f"{control}/transport", "fc\n")
    disks.write(f"{control}/address", "traddr=nn-0x200:pn-0x201,host_traddr=nn-0x20000090fae0b5f1:pn-0x10000090fae0b5f1\n")
    disks.link("sys/class/nvme/nvme9", control)
    if multipath:
        disks.block("sys/devices/virtual/nvme-subsystem/nvme-subsys9/nvme9n1", "259:90")
        disks.link("sys/devices/virtual/nvme-subsystem/nvme-subsys9/nvme9", control)
    else:
        disks.block(f"{control}/nvme9n1", "259:90")
    disks.mount("nvme9n1", "/srv")
    assert [sentences(disks, address) for address in addresses] == [[], ["holds /srv (ext4 on nvme9n1)"]]


def test_a_disk_behind_a_volume_management_device(disks: Disks) -> None:
    """Intel's VMD: the disk has a PCI domain of its own, and goes with the controller in front of it as well."""
    vmd = disks.pci("0000:00:0e.0", "vmd", behind=".")
    behind = f"{vmd}/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    disks.write(f"{behind}/class", "0x010802\n")
    disks.link("sys/bus/pci/devices/10000:e1:00.0", behind)
    disks.link(f"{behind}/driver", "sys/bus/pci/drivers/nvme")
    disks.block(f"{behind}/nvme/nvme4/nvme4n1", "259:40")
    disks.mount("nvme4n1", "/")
    for address in ("0000:00:0e.0", "10000:e1:00.0"):
        assert sentences(disks, address) == ["holds / (ext4 on nvme4n1)"]
    assert sentences(disks) == []


# -- network ----------------------------------------------------------------------------------------------------------


def sentences_in(directory: Path, files: dict[str, Content], address: str = NIC) -> list[str]:
    """What all readers together say."""
    node = hardware.gather(Host(str(make_fake_tree(directory, {"etc/pve/nodes/pve1/qemu-server": None, **files}))), "pve1")
    assert not isinstance(node.pci, Unread)
    assert not isinstance(node.uses, Unread)
    uses = node.uses.of(node.pci[address])
    assert uses.unread == ()
    return [use.sentence for use in uses.found]


def opened(pid: int, name: str, path: str) -> dict[str, Content]:
    return {f"proc/{pid}/comm": f"{name}\n", f"proc/{pid}/stat": f"{pid} ({name}) S 1 1 1 0\n", f"proc/{pid}/fd/3": Link(path)}


PLACE = f"/sys/devices/pci0000:00/0000:00:1c.0/{NIC}"
VF = "0000:03:10.0"
WITH_VF: dict[str, Content] = {
    **nic(),
    **nic("eno1v0", VF, upper_vmbr1=on("vmbr1"), master=on("vmbr1")),
    f"{PLACE}/virtfn0": Link(f"../{VF}"),
    f"{PLACE.replace(NIC, VF)}/physfn": Link(f"../{NIC}"),
}


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param({**net(), **nic()}, [], id="up, idle"),
        pytest.param(
            {**net(NETWORK.format("vmbr1")), **WITH_VF, **upper("vmbr1", "bridge")},
            [f"has VFs in use: {VF} is the uplink of vmbr1 (192.0.2.10/24)"],
            id="bridge on a VF",
        ),
        pytest.param(
            {**net(), **nic(upper_bond0=on("bond0")), **upper("bond0", "bond", on=("vmbr0",)), **upper("vmbr0", "bridge")},
            ["is a slave of bond0, which carries vmbr0"],
            id="bond below a bridge",
        ),
        pytest.param({**net(), **nic(upper_mac0=on("mac0")), **upper("mac0", "macvlan")}, ["carries the macvlan mac0"], id="macvlan"),
        pytest.param(
            {**net(DEFAULT.format("wlp3s0") + NETWORK.format("wlp3s0")), **nic("wlp3s0", phy80211=Link("../../ieee80211/phy0"))},
            ["has the address 192.0.2.10/24 (wlp3s0)", "carries the default route (wlp3s0)"],
            id="Wi-Fi",
        ),
        pytest.param(
            # An address of /32 has no network: the way to the gateway tells.
            {
                **net(DEFAULT.format("eno1") + NETWORK.format("eno1").replace("000200C0", "010200C0").replace("00FFFFFF", "FFFFFFFF")),
                **nic(),
            },
            ["carries the route to 192.0.2.1/32 (eno1)", "carries the default route (eno1)"],
            id="an address without a network",
        ),
        pytest.param(
            {
                **net(),
                **nic(),
                f"{PLACE}/infiniband_verbs/uverbs0/dev": "231:192\n",
                f"{PLACE}/infiniband_verbs/uverbs0/uevent": "DEVNAME=infiniband/uverbs0\n",
                **opened(33, "opensm", "/dev/infiniband/uverbs0"),
            },
            ["is in use through /dev/infiniband/uverbs0 by opensm (pid 33)"],
            id="RDMA",
        ),
        pytest.param(
            {
                **net(),
                **nic(),
                f"{PLACE}/ptp/ptp0/dev": "247:0\n",
                f"{PLACE}/ptp/ptp0/uevent": "DEVNAME=ptp0\n",
                **opened(33, "ptp4l", "/dev/ptp0"),
            },
            ["is in use through /dev/ptp0 by ptp4l (pid 33)"],
            id="a clock",
        ),
        pytest.param(
            {
                **net(),
                **nic(),
                f"{PLACE}/driver": Link("../../../../bus/pci/drivers/igb_uio"),
                f"{PLACE}/uio/uio0/dev": "240:0\n",
                f"{PLACE}/uio/uio0/uevent": "DEVNAME=uio0\n",
                **opened(33, "dpdk-testpmd", "/dev/uio0"),
            },
            ["is in use through /dev/uio0 by dpdk-testpmd (pid 33)"],
            id="DPDK by UIO",
        ),
        pytest.param(
            {
                **net(),
                f"/sys/bus/pci/devices/{NIC}": Link(f"../../../devices/pci0000:00/0000:00:1c.0/{NIC}"),
                f"{PLACE}/driver": Link("../../../../bus/pci/drivers/thunderbolt"),
                f"{PLACE}/domain0/0-0/0-1/0-1.0/net/thunderbolt0/flags": UP,
                "/sys/class/net/thunderbolt0": Link(f"../..{PLACE[4:]}/domain0/0-0/0-1/0-1.0/net/thunderbolt0"),
                "/etc/network/interfaces": "auto thunderbolt0\niface thunderbolt0 inet static\n\tmtu 65520\n",
            },
            ["is given an address in /etc/network/interfaces (thunderbolt0, static)"],
            id="Thunderbolt",
        ),
    ],
)
def test_network(tmp_path: Path, files: dict[str, Content], sentences: list[str]) -> None:
    assert sentences_in(tmp_path, files) == sentences


def test_a_table_of_routes_that_is_too_long_is_not_taken_for_all(tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {**net(BEYOND_ALL * 40_000), **nic()})))
    node = hardware.gather(host, "pve1")
    assert not isinstance(node.pci, Unread) and not isinstance(node.uses, Unread)
    assert node.uses.of(node.pci[NIC]).unread == ("its addresses and routes (/proc/net/route is longer than 4 MiB)",)


BEYOND_ALL = "eno9\t0000090A\t010200C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0" + " " * 70 + "\n"

# -- vfio -------------------------------------------------------------------------------------------------------------

HELD = pci.plant("0000:01:00.0 class=020000 driver=vfio-pci group=14\n")
ENABLE = "sys/devices/pci0000:00/0000:01:00.0/enable"


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param(
            {ENABLE: "1\n", **opened(33, "vpp", "/dev/vfio/14")}, ["is held by vpp (pid 33) through /dev/vfio/14"], id="its group"
        ),
        pytest.param(
            {ENABLE: "1\n", **opened(33, "vpp", "/dev/vfio/devices/vfio0")},
            ["is held by vpp (pid 33) through /dev/vfio/devices/vfio0"],
            id="itself",
        ),
        pytest.param({ENABLE: "1\n", **opened(33, "vpp", "/dev/vfio/15")}, [], id="another group"),
        pytest.param({ENABLE: "0\n", **opened(33, "vpp", "/dev/vfio/14")}, [], id="not enabled: nobody is looked for"),
        pytest.param(
            {
                ENABLE: "2\n",
                **opened(33, "kvm", "/dev/vfio/14"),
                "run/qemu-server/105.pid": "33\n",
                "proc/33/cmdline": "/usr/bin/kvm\0-id\x00105\0-device\0vfio-pci,host=0000:01:00.0,id=hostpci0\0",
            },
            [],
            id="a guest that was started with it, which is looked at elsewhere",
        ),
        pytest.param(
            {
                ENABLE: "2\n",
                **opened(33, "kvm", "/dev/vfio/14"),
                "run/qemu-server/105.pid": "33\n",
                "proc/33/cmdline": "/usr/bin/kvm\0-id\x00105\0",
                "etc/pve/nodes/pve1/qemu-server/105.conf": "name: web\nhostpci0: 0000:02:00\n",
            },
            ["is held by the running VM 105 (web) through /dev/vfio/14, although its config does not name it"],
            id="a guest that got it by device_add",
        ),
        pytest.param(
            {ENABLE: "1\n", **opened(33, "kvm", "/dev/vfio/14"), "proc/33/cgroup": "0::/lxc/106/ns\n"},
            ["is held by kvm (pid 33) in the running CT 106 through /dev/vfio/14"],
            id="in a container",
        ),
    ],
)
def test_held_by_vfio(tmp_path: Path, files: dict[str, Content], sentences: list[str]) -> None:
    assert sentences_in(tmp_path, {**HELD, **files}, "0000:01:00.0") == sentences


# -- CXL memory -------------------------------------------------------------------------------------------------------

EXPANDER = pci.plant("0000:35:00.0 class=050210 id=1af4:000a driver=cxl_pci group=14\n")
CXL = "sys/bus/cxl/devices"
REGION: dict[str, Content] = {
    "sys/devices/pci0000:00/0000:35:00.0/mem0/serial": "0x1\n",
    f"{CXL}/endpoint3/uport": Link("../../../../devices/pci0000:00/0000:35:00.0/mem0"),
    f"{CXL}/decoder3.0/mode": "ram\n",
    f"{CXL}/region0/target0": "decoder3.0\n",
    f"{CXL}/region0/dax_region0/dax0.0/driver": Link("../../../../../dax/drivers/kmem"),
}


@pytest.mark.parametrize(
    ("files", "sentences"),
    [
        pytest.param(REGION, ["provides memory of the host (region0, CXL)"], id="onlined by kmem"),
        pytest.param({**REGION, f"{CXL}/region0/target0": "decoder4.0\n"}, [], id="another device's region"),
        pytest.param(
            {**REGION, f"{CXL}/region0/dax_region0/dax0.0/driver": Link("../../../../../dax/drivers/device_dax")},
            [],
            id="no RAM of the host",
        ),
    ],
)
def test_cxl_memory(tmp_path: Path, files: dict[str, Content], sentences: list[str]) -> None:
    assert sentences_in(tmp_path, {**EXPANDER, **files}, "0000:35:00.0") == sentences
