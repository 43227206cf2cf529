"""The start of a guest that was given a firmware image: the image and the args are looked at, with and without passed-through devices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.facts.storage.images import sha256
from tests.guard import bed

Golden = Callable[[str, str], None]
IMAGE = "var/lib/vz/efi-firmware/app.fd"
OURS = f"-blockdev driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename=/{IMAGE} -machine pflash0=pvehooks-firmware"
UUID = "b3247ab1-1fe6-428e-965b-08a1b64a8746"


def node(directory: Path, hostpci: str = "", more: str = "", image: bytes = b"image") -> Path:
    devices = f"hostpci0: {hostpci}\n" if hostpci else ""
    config = f"args: {OURS}\nbios: ovmf\n{devices}machine: q35\nmeta: creation-qemu=10.0.2,ctime=1700000000\nname: app\nsmbios1: uuid={UUID}\n{more}"
    pinned = {
        "volid": "local:efi-firmware/app.fd",
        "sha256": sha256(image),
        "style": "pflash",
        "args": OURS,
        "when": 1,
        "node": "pve1",
        "state": "done",
    }
    record = {"version": 1, "uuid": UUID, "ctime": 1700000000, "firmware": pinned}
    files = {f"{bed.NODE}/100.conf": config, bed.RECORD: json.dumps(record), IMAGE: image}
    return bed.node(directory, dict(files))


def change(root: Path) -> None:
    (root / IMAGE).write_bytes(b"imagf")


def remove(root: Path) -> None:
    (root / IMAGE).unlink()


def open_up(root: Path) -> None:
    (root / IMAGE).chmod(0o664)


def edit(root: Path) -> None:
    path = root / bed.NODE / "100.conf"
    path.write_text(path.read_text().replace("pflash0=pvehooks-firmware", "pflash0=mine"))


def lose_storage(root: Path) -> None:
    path = root / bed.RECORD
    path.write_text(path.read_text().replace("local:", "gone:"))


@pytest.mark.parametrize("hostpci", ["", "0000:01:00,pcie=1"])
def test_all_is_well(hostpci: str, tmp_path: Path) -> None:
    root = node(tmp_path, hostpci)
    assert bed.start(root) == (0, "")
    assert ("accepted" in bed.record(root)) is bool(hostpci)


@pytest.mark.parametrize("harm", [change, remove, open_up, edit, lose_storage], ids=lambda harm: harm.__name__)
def test_refused(harm: Callable[[Path], None], tmp_path: Path, golden: Golden) -> None:
    root = node(tmp_path)
    harm(root)
    ran = bed.start(root)
    assert ran.status == 1
    golden(f"guard/firmware-{harm.__name__}.txt", ran.out)


def test_on_change_lowers_it(tmp_path: Path) -> None:
    root = node(tmp_path)
    change(root)
    bed.settings(root, "[firmware]\non_change = warning\n")
    ran = bed.start(root)
    assert (ran.status, "warning: its firmware image" in ran.out) == (0, True)
    bed.settings(root, "[firmware]\non_change = info\n")
    assert bed.start(root) == (0, "")


CODE_4M, CODE_2M, ARM = 0x37C000, 0x1E0000, 64 << 20
EFI_4M = "efidisk0: local:100/vm-100-disk-0.raw,efitype=4m\n"


@pytest.mark.parametrize(
    ("more", "size", "status", "expected"),
    [
        pytest.param("", 5, 0, "", id="of no known size"),
        pytest.param(EFI_4M, CODE_4M, 0, "", id="4m"),
        pytest.param(EFI_4M, CODE_2M, 0, "its EFI disk is of the 4M family and the image of the 2M one", id="another EFI disk"),
        pytest.param("", CODE_4M, 0, "PVE's stand-in is of the 2M family", id="no EFI disk any more"),
        pytest.param("", CODE_2M, 0, "", id="2m without EFI disk"),
        pytest.param("arch: aarch64\n", CODE_4M, 1, "its machine is ARM now", id="ARM now"),
        pytest.param(f"arch: aarch64\n{EFI_4M}", ARM, 0, "", id="ARM"),
        pytest.param(EFI_4M, ARM, 1, "its machine is x86 now", id="x86 now"),
        pytest.param(f"amd-sev: type=snp\n{EFI_4M}", CODE_4M, 0, "gets its firmware in another way", id="confidential now"),
    ],
)
def test_a_guest_that_was_changed_since(more: str, size: int, status: int, expected: str, tmp_path: Path) -> None:
    """QEMU refuses the flash of another machine; with the variables of another family it starts, and finds no firmware settings."""
    ran = bed.start(node(tmp_path, more=more, image=bytes(size)))
    assert (ran.status, expected in ran.out if expected else ran.out) == (status, True if expected else "")
    assert "would not be started" not in ran.out


@pytest.mark.parametrize(("machine", "status"), [("pc-q35-9.2", 1), ("pc-q35-10.0", 0)])
def test_a_machine_that_is_too_old(machine: str, status: int, tmp_path: Path) -> None:
    root = node(tmp_path)
    path = root / bed.NODE / "100.conf"
    path.write_text(path.read_text().replace("machine: q35", f"machine: {machine}"))
    (root / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").write_text("Package: pve-qemu-kvm\nStatus: install ok installed\nVersion: 10.1.2-4\n")
    ran = bed.start(root)
    assert (ran.status, "qm set 100 --machine pc-q35-10.0" in ran.out) == (status, bool(status))


@pytest.mark.parametrize(
    ("mode", "expected"), [("audit", "would not be started ([guard] mode = audit): its firmware image"), ("off", "")], ids=["audit", "off"]
)
def test_modes(mode: str, expected: str, tmp_path: Path) -> None:
    root = node(tmp_path)
    change(root)
    bed.settings(root, f"[guard]\nmode = {mode}\n")
    ran = bed.start(root)
    assert ran.status == 0
    assert expected in ran.out if expected else ran.out == ""


def test_a_rollback_to_a_time_before_it(tmp_path: Path) -> None:
    """The args are as they were then, and what the guard says to type ends it."""
    root = node(tmp_path)
    path = root / bed.NODE / "100.conf"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("args: ")))
    assert "rolled back or restored?" in bed.start(root).out
    bed.pvehooks(root, "firmware", "unset", "100")
    assert bed.start(root) == (0, "")


def test_a_migration_to_a_node_without_it(tmp_path: Path) -> None:
    """The config lies below the source still, which the guest goes on running on."""
    root = node(tmp_path)
    remove(root)
    source = root / "etc/pve/nodes/pve2/qemu-server/100.conf"
    source.parent.mkdir(parents=True)
    (root / bed.NODE / "100.conf").rename(source)
    ran = bed.start(root, PVE_MIGRATED_FROM="pve2")
    assert (ran.status, "is not on pve1" in ran.out) == (1, True)
    (root / IMAGE).write_bytes(b"image")
    assert bed.start(root, PVE_MIGRATED_FROM="pve2") == (0, "")


def test_another_guest_of_the_same_number(tmp_path: Path) -> None:
    """A restore or a new guest under the VMID has another uuid: what was noted is not about it."""
    root = node(tmp_path)
    change(root)
    path = root / bed.NODE / "100.conf"
    path.write_text(path.read_text().replace(UUID, UUID.replace("b", "c")))
    assert bed.start(root) == (0, "")


def test_a_template_is_not_looked_at(tmp_path: Path) -> None:
    root = node(tmp_path)
    remove(root)
    path = root / bed.NODE / "100.conf"
    path.write_text(path.read_text() + "template: 1\n")
    assert bed.start(root) == (0, "")


def test_a_word_for_one_start(tmp_path: Path) -> None:
    root = node(tmp_path)
    change(root)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "new build")
    assert bed.start(root).status == 0
    assert bed.start(root).status == 1


def test_a_look_that_fails_keeps_no_guest_without_devices_from_starting(tmp_path: Path) -> None:
    root = node(tmp_path)
    (root / bed.RECORD).unlink()
    (root / bed.RECORD).mkdir()
    assert bed.start(root).status == 0
