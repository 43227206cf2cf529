"""A guest's disks: their order, and where a new one would go."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived.disks import can_snapshot, disks, new_volume
from pvehooks.values.storages import Storage
from tests.derived.bed import guest_on_node


def test_the_order_in_which_pve_looks_for_one_to_boot_from(tmp_path: Path) -> None:
    names = ("virtio0", "scsi10", "scsi2", "sata1", "ide3", "ide0")
    config = "".join(f"{name}: local:100/{name}.raw\n" for name in names) + "scsi3: none\nscsi4: local:iso/x.iso,media=cdrom\n"
    assert disks(guest_on_node(tmp_path, config)[0]) == ("ide0", "ide3", "scsi2", "scsi10", "virtio0", "sata1")


@pytest.mark.parametrize(
    ("config", "like", "volume"),
    [
        ("", "", "STORAGE:1"),
        ("scsi0: /dev/sdb\n", "", "STORAGE:1"),
        ("scsi0: /dev/sdb\nscsi1: big:vm-100-disk-0\n", "", "big:1"),
        ("scsi0: local-lvm:vm-100-disk-0\nefidisk0: local:100/x.raw\n", "efidisk0", "local:1"),
        ("scsi0: local-lvm:vm-100-disk-0\n", "efidisk0", "local-lvm:1"),
    ],
)
def test_a_new_volume(config: str, like: str, volume: str, tmp_path: Path) -> None:
    assert new_volume(guest_on_node(tmp_path, config)[0], like=like) == volume


@pytest.mark.parametrize(
    ("kind", "form", "can"),
    [("zfspool", "raw", True), ("iscsi", "raw", False), ("dir", "qcow2", True), ("dir", "raw", False), ("btrfs", "raw", True), ("linstor", "raw", None)],
)
def test_can_snapshot(kind: str, form: str, can: bool | None) -> None:
    assert can_snapshot(Storage("x", kind, frozenset(), False, False, "", {}), form) is can
