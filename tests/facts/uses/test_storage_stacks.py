"""What stands on disks, who else was given them or has them open, and which disks hang off which PCI device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.values import Use, Uses
from tests.facts.uses.disks import Disks
from tests.facts.uses.test_storage import GROUP, GUID, HBA, NVME, OTHER_GROUP, disks, look, sentences, uuid, zfs

__all__ = ["disks"]


# -- which disks hang off which device --------------------------------------------------------------------------------


def test_a_namespace_of_a_multipath_subsystem_belongs_to_each_of_its_controllers(disks: Disks) -> None:
    """udev does not know the paths to it, which the kernel hides: they are no devices of their own."""
    first, second = disks.pci("0000:03:00.0", behind="0000:00:1c.0"), disks.pci("0000:04:00.0", behind="0000:00:1c.4")
    other = disks.pci("0000:05:00.0", behind="0000:00:1c.5")
    for path, name in ((first, "nvme5"), (second, "nvme6"), (other, "nvme7")):
        disks.write(f"{path}/nvme/{name}/serial", "S1\n")
    head = "sys/devices/virtual/nvme-subsystem/nvme-subsys5"
    disks.block(f"{head}/nvme5n1", "259:50")
    disks.partition("nvme5n1", "nvme5n1p1", "259:51")
    disks.block(f"{first}/nvme/nvme5/nvme5c5n1", "0:0", known_to_udev=False)
    disks.link(f"{head}/nvme5", f"{first}/nvme/nvme5")
    disks.link(f"{head}/nvme6", f"{second}/nvme/nvme6")
    disks.mount("nvme5n1p1", "/srv")
    disks.write("etc/kernel/proxmox-boot-uuids", "1234-ABCD\n")
    for address, found in (("0000:03:00.0", 1), ("0000:04:00.0", 1), ("0000:05:00.0", 0), (NVME, 0)):
        assert sentences(disks, address) == ["holds /srv (ext4 on nvme5n1p1)"][:found]


@pytest.mark.parametrize(
    ("driver", "below"),
    [
        ("virtio-pci", "virtio3/block/vdb"),
        ("ahci", "ata3/host2/target2:0:0/2:0:0:0/block/sdx"),
        ("xhci_hcd", "usb2/2-1/2-1.4/2-1.4:1.0/host9/target9:0:0/9:0:0:0/block/sdu"),
        ("vmd", "pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme4/nvme4n1"),
    ],
)
def test_disks_of_other_controllers(disks: Disks, driver: str, below: str) -> None:
    name = disks.block(f"{disks.pci('0000:06:00.0', driver)}/{below}", "8:240")
    assert sentences(disks, "0000:06:00.0") == []
    disks.mount(name, "/mnt")
    assert sentences(disks, "0000:06:00.0") == [f"holds /mnt (ext4 on {name})"]


def test_a_device_on_vfio_costs_nothing(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    disks.pci("0000:07:00.0", "vfio-pci")
    look(disks, "0000:07:00.0")
    read: list[str] = []
    for method in ("read", "read_text", "names", "link_texts", "real"):

        def watched(self: Host, path: str, *args: object, former: object = getattr(Host, method), **named: object) -> object:
            read.append(path)
            return former(self, path, *args, **named)  # type: ignore[operator]

        monkeypatch.setattr(Host, method, watched)
    look(disks, "0000:07:00.0")
    assert not [path for path in read if path.startswith(("/sys/class/block", "/run/udev", "/proc/1", "/proc/self/mountinfo", "/etc/pve"))]


# -- stacks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "active"), [("clean", True), ("active-idle", True), ("read-auto", False), ("inactive", False), ("clear", False)]
)
def test_arrays(disks: Disks, state: str, active: bool) -> None:
    disks.label("sda1", ID_FS_TYPE="linux_raid_member", ID_FS_LABEL="pve1:0")
    disks.array("md127", "9:127", state, "sda1")
    use = Use("is a member of the active array md127 (sda1)", remedy="If the node does not need it: mdadm --stop /dev/md127")
    assert look(disks, HBA) == Uses((use,) if active else ())


def test_partitions_of_an_array(disks: Disks) -> None:
    disks.array("md0", "9:0", "inactive", "sda1")
    disks.partition("md0", "md0p1", "259:90")
    disks.mount("md0p1", "/srv")
    assert sentences(disks, HBA) == ["holds /srv (ext4 on md0p1 on md0 on sda1)"]


def test_multipath_maps(disks: Disks) -> None:
    """multipathd makes them by itself, and keeps the paths open."""
    disks.mapped("dm-5", "253:5", "mpatha", "mpath-3600508b4000156d700012000000b0000", "sda", "sdb")
    disks.mapped("dm-6", "253:6", "mpatha-part1", "part1-mpath-3600508b4000156d700012000000b0000", "dm-5")
    disks.process(700, "multipathd", "", "/dev/sda")
    assert sentences(disks, HBA) == []
    disks.mount("dm-6", "/srv")
    assert sentences(disks, HBA) == ["holds /srv (ext4 on multipath mpatha-part1 on multipath mpatha on sda)"]


def test_opened_encryption_is_meant(disks: Disks) -> None:
    disks.label("sdb1", ID_FS_TYPE="crypto_LUKS")
    assert sentences(disks, HBA) == []
    disks.mapped("dm-4", "253:4", "backup", "CRYPT-LUKS2-00b4-backup", "sdb1")
    assert sentences(disks, HBA) == ["is open as the dm-crypt device backup (sdb1)"]


def test_bcache_backing_and_cache_device(disks: Disks) -> None:
    disks.stack("bcache0", "252:0", "sda1")
    (disks.root / disks.paths["sda1"] / "bcache").mkdir()
    disks.link(f"{disks.paths['sda1']}/bcache/dev", disks.paths["bcache0"])
    disks.link(f"{disks.paths['nvme0n1p3']}/bcache/set", "sys/fs/bcache/5bc7")
    disks.link("sys/fs/bcache/5bc7/bdev0", f"{disks.paths['sda1']}/bcache")
    disks.write("sys/fs/bcache/5bc7/block_size", "4.0k\n")
    assert sentences(disks) == sentences(disks, HBA) == []
    disks.mount("bcache0", "/srv")
    assert sentences(disks) == ["holds /srv (ext4 on bcache0 on nvme0n1p3)"]
    assert sentences(disks, HBA) == ["holds /srv (ext4 on bcache0 on sda1)"]


def test_drbd(disks: Disks) -> None:
    disks.mapped("dm-7", "253:7", "linstor-vm100_00000", uuid(OTHER_GROUP), "sdb1")
    disks.stack("drbd1000", "147:1000", "dm-7")
    assert sentences(disks, HBA) == ["backs the DRBD device drbd1000 (LVM linstor-vm100_00000 on sdb1)"]


def test_loop_device_on_a_disk(disks: Disks) -> None:
    disks.block("sys/devices/virtual/block/loop0", "7:0")
    disks.write("sys/devices/virtual/block/loop0/loop/backing_file", "/dev/sdb1\n")
    disks.mount("loop0", "/mnt")
    assert sentences(disks, HBA) == ["holds /mnt (ext4 on loop0 on sdb1)"]


def test_a_circle_of_holders_ends(disks: Disks) -> None:
    disks.stack("dm-1", "253:1", "sda1")
    disks.stack("dm-2", "253:2", "dm-1")
    disks.link(f"{disks.paths['dm-2']}/holders/dm-1", disks.paths["dm-1"])
    disks.link(f"{disks.paths['dm-2']}/holders/sda1", disks.paths["sda1"])
    disks.link(f"{disks.paths['dm-2']}/holders/gone", "sys/devices/virtual/block/gone")
    assert sentences(disks, HBA) == []


# -- Ceph -------------------------------------------------------------------------------------------------------------


def test_osds_count_whether_they_run_or_not(disks: Disks) -> None:
    disks.mapped("dm-8", "253:8", "ceph--5f-osd--block--9a", uuid(OTHER_GROUP), "sda1")
    disks.label("dm-8", "ceph-5f/osd-block-9a")
    block = disks.root / "var/lib/ceph/osd/ceph-3/block"
    block.parent.mkdir(parents=True)
    block.symlink_to("/dev/ceph-5f/osd-block-9a")
    disks.process(900, "ceph-mon", "/usr/bin/ceph-mon\0--id\x003\0")
    disks.process(901, "ceph-osd", "/usr/bin/ceph-osd\0-f\0--cluster\0ceph\0--id\x004\0")
    assert sentences(disks, HBA) == ["is the store of Ceph OSD 3, which is down (LVM ceph--5f-osd--block--9a on sda1)"]
    disks.process(902, "ceph-osd", "/usr/bin/ceph-osd\0-f\0--cluster\0ceph\0--id\x003\0")
    assert sentences(disks, HBA) == ["is the store of the running Ceph OSD 3 (LVM ceph--5f-osd--block--9a on sda1)"]


def test_an_osd_that_is_not_activated_yet(disks: Disks) -> None:
    """At boot its LV is active before /var/lib/ceph/osd has anything: the unit that activates it names the LV's UUID."""
    fsid = "0f4a5f0e-4a3b-4f0e-9a3b-1d2c3b4a5f6e"
    disks.mapped("dm-8", "253:8", f"ceph--5f-osd--block--{fsid.replace('-', '--')}", uuid(OTHER_GROUP), "sda1")
    assert sentences(disks, HBA) == []
    disks.add(f"etc/systemd/system/multi-user.target.wants/ceph-volume@lvm-7-{fsid.replace('0f4a', '1f4a')}.service", "")
    assert sentences(disks, HBA) == []
    disks.add(f"etc/systemd/system/multi-user.target.wants/ceph-volume@lvm-7-{fsid}.service", "")
    (found,) = sentences(disks, HBA)
    assert found.startswith("is the store of Ceph OSD 7, which is down (LVM ceph--5f-osd--block--")


# -- guests and containers --------------------------------------------------------------------------------------------


def test_a_disk_given_to_another_guest(disks: Disks) -> None:
    disks.label("sdb", "disk/by-id/ata-WD_1234")
    disks.vm(101, "name: web\nscsi0: local-lvm:vm-101-disk-0\nscsi1: /dev/disk/by-id/ata-WD_1234,size=4T\n")
    assert look(disks, HBA) == Uses((Use("is scsi1 of VM 101 (web), which is stopped (sdb)", vmid=101, remark=True),))
    assert sentences(disks, NVME) == []


def test_udev_has_what_a_link_names_where_the_link_cannot_be_seen(disks: Disks) -> None:
    """The daemon has a /dev of its own."""
    disks.add(f"run/udev/data/b{disks.numbers['sdb1']}", "S:disk/by-id/ata-WD_1234-part1\n")
    disks.vm(101, "virtio2: discard=on,file=/dev/disk/by-id/ata-WD_1234-part1\n")
    assert look(disks, HBA) == Uses((Use("is virtio2 of VM 101, which is stopped (sdb1)", vmid=101, remark=True),))


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("[old]\nscsi1: /dev/sdb\n", id="snapshot"),
        pytest.param("template: 1\nscsi1: /dev/sdb\n", id="template"),
        pytest.param("scsi1: local:100/vm-100-disk-0.qcow2,serial=sdb\n#scsi1: /dev/sdb\n", id="other values"),
        pytest.param("scsi1: /dev/sdbc\n", id="another disk"),
        pytest.param("ide2: cdrom,media=cdrom\nscsi5: /dev/nvme9n1\n", id="the drive, while it does not run"),
    ],
)
def test_what_gives_no_disk(disks: Disks, config: str) -> None:
    disks.link("dev/cdrom", "dev/sdb")
    disks.vm(101, f"memory: 512\n{config}")
    assert sentences(disks, HBA) == []


def test_pending_disks_arguments_and_the_drive_of_a_running_guest(disks: Disks) -> None:
    disks.link("dev/cdrom", "dev/sda")
    disks.vm(101, "memory: 512\n[PENDING]\nscsi1: /dev/sda1\n")
    disks.vm(102, "args: -drive file=/dev/sdb1,if=none,id=x -device virtio-blk-pci,drive=x\n")
    disks.vm(103, "ide2: cdrom,media=cdrom\n", "-m", "512")
    assert sentences(disks, HBA) == [
        "is ide2 of VM 103 (sda)",
        "is scsi1 of VM 101, which is stopped (sda1)",
        "is args of VM 102, which is stopped (sdb1)",
    ]


def test_a_running_guest_that_has_an_lv_open(disks: Disks) -> None:
    disks.mapped("dm-9", "253:9", "foreign-vm1", uuid(OTHER_GROUP), "sda1")
    assert sentences(disks, HBA) == []
    disks.vm(104, "name: db\n", "-blockdev", '{"driver":"host_device","filename":"/dev/foreign/vm1"}')
    assert look(disks, HBA) == Uses((Use("is a disk of VM 104 (db) (LVM foreign-vm1 on sda1)", vmid=104),))
    disks.storage("lvm: san\n\tvgname foreign\n")
    assert sentences(disks, HBA) == ["is a PV of the volume group foreign, which storage san uses (sda1)"]


@pytest.mark.parametrize(
    "given",
    [
        "dev0: /dev/sdb1,mode=0660",
        "mp0: /dev/sdb1,mp=/srv,backup=0",
        "lxc.mount.entry: /dev/sdb1 dev/sdb1 none bind,create=file",
        "lxc.cgroup2.devices.allow: b 8:17 rwm",
    ],
)
def test_a_disk_given_to_a_running_container(disks: Disks, given: str) -> None:
    disks.container(105, f"hostname: files\n{given}\n")
    disks.container(106, f"hostname: other\n{given}\n", runs=False)
    assert look(disks, HBA) == Uses((Use("is given to CT 105 (files) (sdb1)", vmid=105),))


def test_the_number_of_a_character_device_is_no_disk(disks: Disks) -> None:
    """device-mapper's major may be the one that, say, the clock's has among character devices."""
    disks.mapped("dm-0", "253:0", "foreign-vm1", uuid(OTHER_GROUP), "sda1")
    disks.container(105, "lxc.cgroup2.devices.allow: c 253:0 rwm\n")
    assert sentences(disks, HBA) == []


# -- open by a process ------------------------------------------------------------------------------------------------


def test_open_by_a_process(disks: Disks) -> None:
    disks.process(812, "dd", "", "/dev/null", "/dev/sdb")
    disks.process(814, "smartd", "", "/dev/sda")
    disks.process(813, "(udev-worker)", "", "/dev/sda")
    assert sentences(disks, HBA) == ["is open in dd, pid 812 (sdb)"]


def test_open_files_are_looked_at_last(disks: Disks) -> None:
    disks.mount("sda1", "/srv")
    disks.process(812, "smartd", "", "/dev/sdb")
    assert sentences(disks, HBA) == ["holds /srv (ext4 on sda1)"]


def test_processes_that_cannot_be_examined_are_reported(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Host, path: str, *_: object) -> dict[str, str]:
        if path.endswith("/fd"):
            raise PermissionError(13, "Permission denied")
        return {name: os.readlink(self.locate(f"{path}/{name}", follow=False)) for name in self.names(path)}

    disks.process(812, "smartd", "", "/dev/sdb")
    monkeypatch.setattr(Host, "link_texts", refused)
    assert [why.startswith("which processes") for why in look(disks, HBA).unread] == [True]


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("proc/1/mountinfo", b"\xff\xfe\n36 1\n- - -\n36 1 8:1 / /a rw -\n\n"),
        ("proc/swaps", b"\xff\n\n   \n/dev/\\777x partition\n"),
        ("run/udev/data/b8:1", b"\xff=\nE:\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_UUID_SUB=x\nS:\n"),
        ("proc/spl/kstat/zfs/tank/guid", b"none\xff\n"),
        ("etc/zfs/zpool.cache", b"\0" * 10),
        ("etc/pve/storage.cfg", b"lvm: \xff\n\tvgname \0\nlvm: a\n\tvgname ../../x\n"),
        ("etc/lvm/backup/pve", b"\xff physical_volumes {"),
        ("run/lvm/pvs_online/x", b"\xff"),
        ("run/lvm/pvs_online/x", b""),
        ("etc/kernel/proxmox-boot-uuids", b"\xff\n\n"),
        ("etc/pve/nodes/pve1/qemu-server/100.conf", b"scsi0: /dev/\0x\nscsi1: /dev/\xff\nargs: /dev/\nname: \xff\n"),
        ("sys/devices/virtual/block/dm-0/dm/name", b"\xff--\n"),
        (
            "sys/devices/pci0000:00/0000:00:1b.0/0000:02:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sda/sda1/dev",
            b"\xff:x",
        ),
    ],
)
def test_malformed_files_are_no_traceback(disks: Disks, path: str, content: bytes) -> None:
    disks.mapped("dm-0", "253:0", "pve-root", uuid(GROUP), "sda1")
    disks.storage("lvm: san\n\tvgname pve\n")
    disks.pool("tank", GUID)
    zfs(disks, "sdb1", GUID, "tank")
    disks.write(path, content)
    assert isinstance(look(disks, HBA), Uses)


def test_links_and_files_that_vanish(disks: Disks) -> None:
    (disks.root / "sys/class/block/sdz").symlink_to("../../devices/pci0000:00/0000:00:1b.0/0000:02:00.0/host0/block/sdz")
    (disks.root / "sys/class/block/loop").symlink_to("loop")
    (disks.root / "dev").mkdir(exist_ok=True)
    (disks.root / "dev/circle").symlink_to("circle")
    disks.vm(101, "scsi1: /dev/circle\n")
    assert sentences(disks, HBA) == []


def test_a_tree_without_block_devices(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.pci(NVME)
    (tmp_path / "sys/class/block").rmdir()
    assert look(disks) == Uses()
