"""What is to be typed to free the disks of a device, in the order in which it works."""

from __future__ import annotations

from tests.facts.uses.disks import Disks
from tests.facts.uses.test_storage import GROUP, HBA, disks, look, uuid

__all__ = ["disks"]
NEEDED = "If the node does not need it: "


def remedies(disks: Disks, address: str = HBA) -> set[str]:
    return {use.remedy for use in look(disks, address).found}


def test_a_file_system_in_an_lv_on_encryption_on_an_array(disks: Disks) -> None:
    disks.array("md0", "9:0", "active", "sda1")
    disks.mapped("dm-4", "253:4", "safe", "CRYPT-LUKS2-00b4-safe", "md0")
    disks.mapped("dm-5", "253:5", "tank-files", uuid(GROUP), "dm-4")
    disks.mapped("dm-6", "253:6", "tank-swap", uuid(GROUP), "dm-4")
    disks.mount("dm-5", "/srv")
    disks.mount("dm-5", "/srv/files")
    disks.swap("/dev/dm-6")
    freed = (
        "umount /srv/files && umount /srv && swapoff /dev/tank/swap && vgchange -an tank && cryptsetup close safe && mdadm --stop /dev/md0"
    )
    assert remedies(disks) == {f"{NEEDED}{freed}"}


def test_encryption_in_an_lv_of_a_storage(disks: Disks) -> None:
    """PVE would activate the volumes again as long as the storage is enabled."""
    disks.storage("lvm: files\n\tvgname tank\n\tcontent images\n")
    disks.mapped("dm-5", "253:5", "tank-safe", uuid(GROUP), "sda1")
    disks.mapped("dm-6", "253:6", "safe", "CRYPT-LUKS2-00b4-safe", "dm-5")
    disks.mount("dm-6", "/srv/my files".replace(" ", "\\040"))
    freed = "umount '/srv/my files' && cryptsetup close safe && pvesm set files --disable 1 && vgchange -an tank"
    assert remedies(disks) == {f"{NEEDED}{freed}"}


def test_a_storage_on_encryption_is_disabled_first(disks: Disks) -> None:
    disks.storage("lvm: files\n\tvgname tank\n\tcontent images\n")
    disks.mapped("dm-4", "253:4", "safe", "CRYPT-LUKS2-00b4-safe", "sda1")
    disks.mapped("dm-5", "253:5", "tank-files", uuid(GROUP), "dm-4")
    disks.mount("dm-5", "/srv")
    freed = "umount /srv && pvesm set files --disable 1 && vgchange -an tank && cryptsetup close safe"
    assert remedies(disks) == {f"{NEEDED}{freed}"}


def test_what_the_node_needs_is_not_taken_apart(disks: Disks) -> None:
    disks.array("md0", "9:0", "active", "sda1")
    for point in ("/", "/boot/efi", "/var/lib/vz", "/home"):
        disks.write("proc/1/mountinfo", "")
        disks.mount("md0", point)
        assert remedies(disks) == {""}, point


def test_what_the_node_boots_from_is_not_taken_apart(disks: Disks) -> None:
    disks.label("sda1", ID_FS_UUID="1234-ABCD", ID_FS_TYPE="vfat")
    disks.write("etc/kernel/proxmox-boot-uuids", "1234-ABCD\n")
    disks.mount("sdb1", "/srv")
    assert remedies(disks) == {""}


def test_another_mount_namespace_is_out_of_reach(disks: Disks) -> None:
    (disks.root / "sys/fs/ext4/sda1").mkdir(parents=True)
    assert remedies(disks) == {""}
