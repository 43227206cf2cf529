"""What becomes of a start: refused, gone through, refused as a backup, allowed once; what is printed, and what is remembered."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guard import bed

Golden = Callable[[str, str], None]


def test_a_start_without_a_line(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    accepted = bed.record(root)["accepted"]["pve1"]
    assert accepted["hostpci"] == {"hostpci0": "0000:01:00,pcie=1"}
    assert accepted["members"] == ["0000:01:00.0", "0000:01:00.1"]
    assert accepted["devices"]["0000:01:00.0"] == {"id": "10de:2204", "class": "030000"}
    before = (root / bed.RECORD).stat().st_ino
    assert bed.start(root) == (0, "")
    assert (root / bed.RECORD).stat().st_ino == before, "written only when it changes: pmxcfs tells every node of each write"


@pytest.mark.parametrize(
    ("name", "hostpci", "settings", "status"),
    [
        ("refused-port", bed.SHARED_WITH_PORT, "", 1),
        ("refused-two", f"0000:03:00.0\nhostpci1: {bed.NOT_CLEAN}\nhostpci2: 0000:09:00.0", "", 1),
        ("audit", bed.SHARED_WITH_PORT, "[guard]\nmode = audit\n", 0),
        ("ignored", bed.SHARED_WITH_PORT, "[guest 100]\nignore = group-in-use-by-host: the bridge is empty\n", 0),
        ("another-guest-ignores", bed.SHARED_WITH_PORT, "[guest 101]\nignore = group-in-use-by-host: the bridge is empty\n", 1),
        ("warned", bed.NOT_CLEAN, "[rules]\ngroup-not-clean = warning\n", 0),
        ("would-bind", bed.IDLE_DISK, "", 0),
        ("unbound-block", bed.IDLE_DISK, "[guard]\nunbound = block\n", 1),
        ("unbound-leave", bed.IDLE_DISK, "[guard]\nunbound = leave\n", 0),
        ("unbound-of-guest", bed.IDLE_DISK, "[guest 100]\n[[guard]]\nunbound = block\n", 1),
    ],
)
def test_what_is_printed(name: str, hostpci: str, settings: str, status: int, tmp_path: Path, golden: Golden) -> None:
    root = bed.node(tmp_path, hostpci=hostpci)
    bed.settings(root, settings)
    ran = bed.start(root)
    assert ran.status == status, ran.out
    golden(f"guard/{name}.txt", ran.out)
    assert bool(bed.record(root)) == (name in ("ignored", "warned", "would-bind", "unbound-leave"))


def test_off_is_silent(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    bed.settings(root, "[guard]\nmode = off\n")
    assert bed.start(root) == (0, "")
    bed.settings(root, "[guest 100]\n[[guard]]\nmode = off\n")
    assert bed.start(root) == (0, "")


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("name: plain\nmemory: 2048\n", id="no hostpci"),
        pytest.param(f"hostpci0: {bed.SHARED_WITH_PORT}\ntemplate: 1\n", id="template"),
        pytest.param(f"memory: 2048\n\n[before]\nhostpci0: {bed.SHARED_WITH_PORT}\nsnaptime: 1\n", id="only in a snapshot"),
        pytest.param(f"hostpci0: {bed.SHARED_WITH_PORT}\n\n[PENDING]\ndelete: hostpci0\n", id="deleted, pending"),
        pytest.param("", id="empty"),
    ],
)
def test_guests_that_are_none_of_its_business(config: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, {f"{bed.NODE}/100.conf": config})
    assert bed.start(root) == (0, "")
    assert bed.record(root) == {}


def test_a_pending_hostpci_counts(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {f"{bed.NODE}/100.conf": f"memory: 512\n\n[PENDING]\nhostpci0: {bed.SHARED_WITH_PORT}\n"})
    assert bed.start(root).status == 1


def test_a_backup_is_refused_in_its_own_words(tmp_path: Path, golden: Golden) -> None:
    root = bed.node(tmp_path, {f"{bed.NODE}/100.conf": bed.CONFIG.replace("0000:01:00,pcie=1", bed.SHARED_WITH_PORT) + "lock: backup\n"})
    ran = bed.start(root)
    assert ran.status == 1
    golden("guard/backup.txt", ran.out)


def test_a_backup_is_no_accepted_start(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {f"{bed.NODE}/100.conf": bed.CONFIG + "lock: backup\n"})
    assert bed.start(root) == (0, "")
    assert bed.record(root) == {}


# -- migrations -------------------------------------------------------------------------------------------------------


def test_an_incoming_migration_is_looked_at_below_its_source(tmp_path: Path) -> None:
    config = bed.CONFIG.replace("0000:01:00,pcie=1", bed.SHARED_WITH_PORT)
    root = bed.node(tmp_path, {"etc/pve/nodes/pve2/qemu-server/100.conf": config})
    (root / bed.NODE / "100.conf").unlink()
    ran = bed.start(root, PVE_MIGRATED_FROM="pve2")
    assert (ran.status, "is a port of vmbr0" in ran.out or "vmbr0" in ran.out) == (1, True)
    (root / "etc/pve/nodes/pve2/qemu-server/100.conf").write_text(bed.CONFIG)
    assert bed.start(root, PVE_MIGRATED_FROM="pve2") == (0, "")
    assert bed.record(root) == {}, "the record is the source's to write"


@pytest.mark.parametrize("source", ["../../../tmp", "pve2/qemu-server", "pve2\n", "-x", "p" * 64, "\x1b[31m", "é"])
def test_nonsense_where_the_source_should_be(source: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    ran = bed.start(root, PVE_MIGRATED_FROM=source)
    assert ran.status == 0
    assert re.fullmatch(r"pvehooks: VM 100: PVE_MIGRATED_FROM is no node's name \('.*'\): pve1 is looked at\n", ran.out)


def test_a_source_without_the_config(tmp_path: Path) -> None:
    assert bed.start(bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT), PVE_MIGRATED_FROM="pve9").status == 1


# -- overrides ---------------------------------------------------------------------------------------------------------


def test_allowed_once(tmp_path: Path, golden: Golden) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the bridge is \x1b[1mempty")
    config = root / bed.NODE / "100.conf"
    text = config.read_text()
    config.write_text(text + "lock: backup\n")
    assert bed.start(root).status == 0
    config.write_text(text)
    (root / "etc/pve/nodes/pve2").mkdir()
    assert bed.start(root, PVE_MIGRATED_FROM="pve1").status == 0
    assert "allowance" in bed.record(root), "used up by a real start only"
    ran = bed.start(root)
    assert ran.status == 0
    golden("guard/allowed.txt", ran.out)
    assert bed.record(root) == {}, "what an override lets start once is not accepted for good"
    assert bed.start(root).status == 1


def test_a_word_that_was_not_needed_is_used_up(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "to be sure")
    ran = bed.start(root)
    assert ran.status == 0 and "was not needed, and is used up" in ran.out
    assert "allowance" not in bed.record(root)


def test_a_word_for_another_guest_of_the_same_number(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the bridge is empty")
    config = root / bed.NODE / "100.conf"
    config.write_text(config.read_text().replace("b3247ab1", "00000000"))
    assert bed.start(root).status == 1


def test_trusted(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.NOT_CLEAN)
    assert bed.start(root).status == 1
    bed.pvehooks(root, "trust", "100")
    assert bed.start(root) == (0, "")
    bed.pvehooks(root, "trust", "100", "--forget")
    assert bed.start(root).status == 1


def test_another_device_at_the_address(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root).status == 0
    (root / "sys/devices/pci0000:00/0000:01:00.0/device").write_text("0x2206\n")
    ran = bed.start(root)
    assert ran.status == 1 and "[device-changed]" in ran.out
    bed.pvehooks(root, "trust", "100")
    assert bed.start(root) == (0, "")
