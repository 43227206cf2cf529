"""What the host does with its disks: every kind of use, and beside each the look-alike that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.values import Unread, Use, Uses
from tests.facts.captures import NAMES, materialise
from tests.facts.uses.disks import Disks

NVME = "0000:01:00.0"
HBA = "0000:02:00.0"
PV = "78RIi0-DgUk-hNem-SDJL-5yGt-wrpF-r1ukGo"
OTHER_PV = "3xPqKs-1gUk-hNem-SDJL-5yGt-wrpF-000000"
GROUP = "kHcyvX-ZbG0-U7n5-FVnt-Lpg2-YQpN-Ypc1Kg"
OTHER_GROUP = "aaaavX-ZbG0-U7n5-FVnt-Lpg2-YQpN-Ypc1Kg"
GUID, OTHER_GUID = "11111111111111111111", "9988776655443322110"


def uuid(group: str) -> str:
    """Device-mapper's UUID of an LV of the group."""
    return f"LVM-{group.replace('-', '')}{'v' * 32}"


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    """An NVMe with three partitions, and an HBA with two disks of one partition each, all idle."""
    disks = Disks(tmp_path)
    nvme = disks.pci(NVME)
    disks.block(f"{nvme}/nvme/nvme0/nvme0n1", "259:0")
    for at in (1, 2, 3):
        disks.partition("nvme0n1", f"nvme0n1p{at}", f"259:{at}")
    hba = disks.pci(HBA, driver="mpt3sas", behind="0000:00:1b.0")
    for at, name in enumerate(("sda", "sdb")):
        disks.block(f"{hba}/host0/port-0:{at}/end_device-0:{at}/target0:0:{at}/0:0:{at}:0/block/{name}", f"8:{16 * at}")
        disks.partition(name, f"{name}1", f"8:{16 * at + 1}")
    return disks


def look(disks: Disks, address: str = NVME) -> Uses:
    node = hardware.gather(Host(str(disks.root)), "pve1")
    assert not isinstance(node.pci, Unread)
    assert not isinstance(node.uses, Unread)
    return node.uses.of(node.pci[address])


def sentences(disks: Disks, address: str = NVME) -> list[str]:
    uses = look(disks, address)
    assert uses.unread == ()
    return [use.sentence for use in uses.found]


def test_idle_disks_have_no_use(disks: Disks) -> None:
    assert look(disks, NVME) == look(disks, HBA) == Uses()


# -- mounts and swap --------------------------------------------------------------------------------------------------


def test_mounted_partitions(disks: Disks) -> None:
    disks.mount("nvme0n1p1", "/boot/efi", "vfat")
    disks.mount("nvme0n1p2", "/")
    assert sentences(disks) == ["holds / (ext4 on nvme0n1p2)", "holds /boot/efi (vfat on nvme0n1p1)"]
    assert sentences(disks, HBA) == []


def test_several_mounts_of_one_device_are_named_up_to_two(disks: Disks) -> None:
    for point in ("/srv/a", "/", "/b\\040c", "/srv/b"):
        disks.mount("nvme0n1p2", point, "xfs")
    assert sentences(disks) == ["holds /, /b c and 2 more (xfs on nvme0n1p2)"]


def test_a_daemon_that_may_not_read_the_first_process_reads_its_own_table(disks: Disks) -> None:
    (disks.root / "proc/1/mountinfo").unlink()
    disks.mount("nvme0n1p2", "/", table="proc/self/mountinfo")
    assert sentences(disks) == ["holds / (ext4 on nvme0n1p2)"]


def test_an_unreadable_mount_table_is_reported(disks: Disks) -> None:
    (disks.root / "proc/1/mountinfo").unlink()
    assert look(disks) == Uses((), ("what is mounted (/proc/mounts: No such file or directory)",))


def test_a_file_system_with_a_label_that_is_not_mounted(disks: Disks) -> None:
    disks.label("nvme0n1p2", "disk/by-label/root", ID_FS_TYPE="ext4", ID_FS_LABEL="root", ID_FS_UUID="1-2-3")
    assert sentences(disks) == []


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_mounted_only_in_another_mount_namespace(disks: Disks, kind: str) -> None:
    disks.write(f"sys/fs/{kind}/nvme0n1p3/errors_count", "0\n")
    assert sentences(disks) == [f"holds a file system that is mounted in another mount namespace ({kind} on nvme0n1p3)"]


@pytest.mark.parametrize("kind", ["fuse", "fuse.sshfs", "fuse.btrfs", "nfs4", "tmpfs", "overlay"])
@pytest.mark.parametrize("table", ["proc/1/mountinfo", "proc/mounts"])
def test_the_source_of_a_mount_is_believed_only_where_the_kernel_opened_it(kind: str, table: str, disks: Disks) -> None:
    """Any user may mount a FUSE with fsname=/dev/nvme0n1, and would have the start of a neighbour refused."""
    source = "/dev/nvme0n1:/dev/nvme0n1p1"
    if table == "proc/mounts":
        (disks.root / "proc/1/mountinfo").unlink()
        disks.write(table, f"{source} /srv/u {kind} rw,logdev=/dev/nvme0n1,user_id=1000 0 0\n")
    else:
        disks.add(table, f"99 1 0:77 / /srv/u rw shared:1 - {kind} {source} rw,logdev=/dev/nvme0n1,user_id=1000\n")
    assert sentences(disks) == []


def test_more_mounts_than_are_read_are_reported(disks: Disks) -> None:
    disks.write("proc/1/mountinfo", "36 1 0:5 / /x rw - tmpfs tmpfs rw\n" * 500_000)
    assert look(disks).unread == ("what is mounted (/proc/1/mountinfo is longer than 16 MiB)",)


@pytest.mark.parametrize("number", ["9" * 5000 + ":1", "8:" + "9" * 5000, "8:x", "\u0668:1", ""])
def test_a_number_that_is_none(number: str, disks: Disks) -> None:
    disks.container(105, "lxc.cgroup2.devices.allow: b 8:17 rwm\n")
    (disks.root / "sys/class/block/nvme0n1/dev").write_text(number)
    assert sentences(disks) == []


def test_btrfs_of_several_devices(disks: Disks) -> None:
    """mountinfo shows an anonymous number and one of the devices."""
    disks.add("proc/1/mountinfo", "40 1 0:45 /@ / rw shared:1 - btrfs /dev/sda1 rw,subvol=/@\n")
    disks.add("proc/1/mountinfo", "41 1 0:45 /@home /home rw shared:1 - btrfs /dev/sda1 rw,subvol=/@home\n")
    for name in ("sda1", "nvme0n1p3"):
        disks.link(f"sys/fs/btrfs/11111111-2222/devices/{name}", disks.paths[name])
    assert sentences(disks) == ["holds / and /home (btrfs on nvme0n1p3)"]
    assert sentences(disks, HBA) == ["holds / and /home (btrfs on sda1)"]


def test_a_log_on_another_device(disks: Disks) -> None:
    disks.add("proc/1/mountinfo", "40 1 253:7 / /srv rw shared:1 - xfs /dev/dm-7 rw,attr2,logdev=/dev/nvme0n1p3,noquota\n")
    assert sentences(disks) == ["holds /srv (xfs on nvme0n1p3)"]


def test_swap_partition_and_lv(disks: Disks) -> None:
    disks.mapped("dm-0", "253:0", "pve-swap", uuid(GROUP), "sda1")
    disks.swap("/dev/nvme0n1p3")
    disks.swap("/dev/dm-0")
    assert sentences(disks) == ["is swap (nvme0n1p3)"]
    assert sentences(disks, HBA) == ["is swap (LVM pve-swap on sda1)"]


# -- ESPs -------------------------------------------------------------------------------------------------------------


def test_esp_the_node_boots_from_and_that_of_a_guest(disks: Disks) -> None:
    disks.write("etc/kernel/proxmox-boot-uuids", "1234-ABCD\n5678-EF00\n")
    disks.label("nvme0n1p1", ID_FS_TYPE="vfat", ID_FS_UUID="1234-abcd", ID_PART_ENTRY_TYPE="c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    disks.label("sda1", ID_FS_TYPE="vfat", ID_FS_UUID="9999-ABCD", ID_PART_ENTRY_TYPE="c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
    assert sentences(disks) == ["is an ESP the node boots from (nvme0n1p1, in /etc/kernel/proxmox-boot-uuids)"]
    assert sentences(disks, HBA) == []


def test_a_device_that_udev_does_not_know_may_be_an_esp(disks: Disks) -> None:
    disks.write("etc/kernel/proxmox-boot-uuids", "1234-ABCD\n")
    (disks.root / "run/udev/data/b259:1").unlink()
    assert look(disks) == Uses((), ("what is on nvme0n1p1 (udev's database does not know)",))


# -- ZFS --------------------------------------------------------------------------------------------------------------


def zfs(disks: Disks, name: str, guid: str, pool: str = "rpool") -> None:
    disks.label(name, ID_FS_TYPE="zfs_member", ID_FS_LABEL=pool, ID_FS_UUID=guid, ID_FS_UUID_SUB="77")


def test_member_of_an_imported_pool(disks: Disks) -> None:
    disks.pool("rpool", GUID)
    zfs(disks, "nvme0n1p3", GUID)
    assert sentences(disks) == ["is a member of the imported ZFS pool rpool (nvme0n1p3)"]


def test_several_members_are_reported_once(disks: Disks) -> None:
    disks.pool("tank", GUID)
    for name in ("sda1", "sdb1"):
        zfs(disks, name, GUID, "tank")
    assert sentences(disks, HBA) == ["has members of the imported ZFS pool tank (sda1 and sdb1)"]


def test_a_pool_imported_under_another_name_counts_by_its_guid(disks: Disks) -> None:
    disks.pool("rescue", GUID)
    zfs(disks, "nvme0n1p3", GUID)
    assert sentences(disks) == ["is a member of the imported ZFS pool rescue (nvme0n1p3)"]


@pytest.mark.parametrize("imported", [None, "rpool", "tank"])
def test_a_guests_pool_is_no_use(disks: Disks, imported: str | None) -> None:
    """Not imported at all, or an imported pool has the same name and another GUID."""
    if imported:
        disks.pool(imported, OTHER_GUID)
    zfs(disks, "nvme0n1p3", GUID)
    assert sentences(disks) == []


def test_before_openzfs_2_2_the_name_has_to_do(disks: Disks) -> None:
    disks.pool("rpool")
    zfs(disks, "nvme0n1p3", GUID)
    zfs(disks, "sda1", GUID, "tank")
    assert sentences(disks) == ["is a member of the imported ZFS pool rpool, as its name says (nvme0n1p3)"]
    assert sentences(disks, HBA) == []


def test_a_pool_that_zpool_import_only_tries_is_no_use(disks: Disks) -> None:
    disks.pool("$import", GUID)
    zfs(disks, "nvme0n1p3", GUID)
    assert sentences(disks) == []


def test_cache_devices_are_known_by_the_cache_of_pools(disks: Disks) -> None:
    disks.label("nvme0n1p3", ID_FS_TYPE="zfs_member", ID_FS_UUID_SUB="1234567890123456789")
    assert sentences(disks) == []
    disks.pool("tank", GUID)
    assert look(disks) == Uses((), ("nvme0n1p3: whether an imported ZFS pool has it as spare or cache is unknown",))
    disks.write("etc/zfs/zpool.cache", b"\1\1\0\0....guid....\0\0\0\1" + (1234567890123456789).to_bytes(8, "big") + b"\0\0\0")
    assert sentences(disks) == ["is a member of an imported ZFS pool, as spare or cache (nvme0n1p3)"]


def test_a_pool_on_encryption(disks: Disks) -> None:
    disks.pool("tank", GUID)
    disks.mapped("dm-3", "253:3", "luks-tank", "CRYPT-LUKS2-00b4-luks-tank", "sda1")
    zfs(disks, "dm-3", GUID, "tank")
    assert sentences(disks, HBA)[0] == "is a member of the imported ZFS pool tank (dm-crypt luks-tank on sda1)"


# -- LVM --------------------------------------------------------------------------------------------------------------

LVMTHIN = "lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\tcontent rootdir,images\n"


def pv(disks: Disks, name: str = "nvme0n1p3", volume: str = PV) -> None:
    disks.label(name, ID_FS_TYPE="LVM2_member", ID_FS_UUID=volume)


def test_pv_of_a_group_that_a_storage_names(disks: Disks) -> None:
    """It need not have an active LV: by LVM's backup, or by what its activation left."""
    disks.storage(LVMTHIN)
    pv(disks)
    assert sentences(disks) == []
    disks.backup("pve", GROUP, OTHER_PV, PV)
    sentence = "is a PV of the volume group pve, which storage local-lvm uses (nvme0n1p3)"
    assert sentences(disks) == [sentence]
    (disks.root / "etc/lvm/backup/pve").unlink()
    disks.online("nvme0n1p3", PV, "pve")
    assert sentences(disks) == [sentence]


def test_pv_with_an_active_lv_of_such_a_group(disks: Disks) -> None:
    disks.storage("lvm: san-disks\n\tvgname vg-san\n\tcontent images\n")
    disks.mapped("dm-0", "253:0", "vg--san-vm--100--disk--0", uuid(GROUP), "sdb1")
    assert sentences(disks, HBA) == ["is a PV of the volume group vg-san, which storage san-disks uses (sdb1)"]


def test_a_guests_group_that_the_host_activated_by_itself_is_no_use(disks: Disks) -> None:
    disks.storage(LVMTHIN)
    pv(disks)
    disks.online("nvme0n1p3", PV, "guestvg")
    disks.mapped("dm-0", "253:0", "guestvg-root", uuid(OTHER_GROUP), "nvme0n1p3")
    disks.label("dm-0", ID_FS_TYPE="ext4", ID_FS_LABEL="root")
    assert sentences(disks) == []
    disks.mount("dm-0", "/mnt")
    assert sentences(disks) == ["holds /mnt (ext4 on LVM guestvg-root on nvme0n1p3)"]


def test_a_guests_group_of_the_same_name_is_no_use(disks: Disks) -> None:
    """A Proxmox VE in a VM has a group `pve` too."""
    disks.storage(LVMTHIN)
    disks.backup("pve", GROUP, OTHER_PV)
    pv(disks)
    disks.online("nvme0n1p3", PV, "pve")
    disks.mapped("dm-9", "253:9", "pve-root", uuid(OTHER_GROUP), "nvme0n1p3")
    assert sentences(disks) == []
    disks.mapped("dm-1", "253:1", "pve-data", uuid(GROUP), "nvme0n1p3")
    assert len(sentences(disks)) == 1


@pytest.mark.parametrize("option", ["disable 1", "nodes pve2,pve3"])
def test_storages_that_this_node_does_not_use(disks: Disks, option: str) -> None:
    disks.storage(LVMTHIN + f"\t{option}\n")
    disks.backup("pve", GROUP, PV)
    pv(disks)
    assert sentences(disks) == []


def test_a_mount_deep_in_a_stack(disks: Disks) -> None:
    """An array, encryption and a thin LV: the way down is cut short."""
    disks.array("md0", "9:0", "clean", "sda1", "sdb1")
    disks.mapped("dm-0", "253:0", "md0_crypt", "CRYPT-LUKS2-00b4-md0_crypt", "md0")
    disks.mapped("dm-1", "253:1", "vg-pool_tdata", uuid(GROUP) + "-tdata", "dm-0")
    disks.mapped("dm-2", "253:2", "vg-srv", uuid(GROUP), "dm-1")
    disks.mount("dm-2", "/srv", "xfs")
    assert sentences(disks, HBA) == [
        "holds /srv (xfs on LVM vg-srv on sda1)",
        "has members of the active array md0 (sda1 and sdb1)",
        "is open as the dm-crypt device md0_crypt (md0 on sda1)",
    ]


# -- captures of real kernels -----------------------------------------------------------------------------------------


@pytest.mark.shared_data
@pytest.mark.parametrize("name", NAMES)
def test_captures(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Their root is on the virtio disk; a file system on the first NVMe was mounted in some."""
    root = materialise(name, tmp_path_factory)
    node = hardware.gather(Host(str(root)), "pve1")
    assert not isinstance(node.pci, Unread)
    assert not isinstance(node.uses, Unread)
    found = {address: use for address, device in node.pci.items() for use in node.uses.of(device).found if use.sentence.startswith("holds")}
    mounted = "/dev/nvme0n1 /mnt/x" in (root / "proc/mounts").read_text() and (root / "sys/class/block/nvme0n1").exists()
    expected = {"0000:00:03.0": Use("holds / (ext4 on vda)")}
    if mounted:
        expected[NVME] = Use("holds /mnt/x (ext4 on nvme0n1)", remedy="If the node does not need it: umount /mnt/x")
    assert found == expected


def test_a_pool_that_udev_does_not_know(disks: Disks) -> None:
    """udev's entry may be older than the label on the disk; what is imported stands in ZFS' own cache by its path."""
    disks.pool("tank", GUID)
    disks.label("nvme0n1p3", "disk/by-id/nvme-S1-part3", DEVTYPE="partition")
    name = b"/dev/disk/by-id/nvme-S1-part3"
    framed = len(name).to_bytes(4, "big") + name + bytes(-len(name) % 4)
    disks.write("etc/zfs/zpool.cache", b"\1\1\0\0" + framed + b"\0\0\0\0")
    assert sentences(disks) == ["is a member of an imported ZFS pool, as /etc/zfs/zpool.cache says (nvme0n1p3)"]
    disks.write("etc/zfs/zpool.cache", b"\1\1\0\0" + framed.replace(b"part3", b"part4") + b"\0\0\0\0")
    assert sentences(disks) == []
