"""A start that cannot be examined: the one that was accepted last goes on, others do not, unless the settings say otherwise."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.guard import bed
from tests.guard.bed import KNOWN, REFUSED, broken, iommu_unreadable


def unreadable(path: Path) -> None:
    """Makes of a file what gives EISDIR (root reads whatever the mode says)."""
    path.unlink()
    path.mkdir()


def test_what_could_not_be_examined_is_shown(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    iommu_unreadable(root)
    ran = bed.start(root)
    first = "pvehooks: VM 100: the start could not be examined: whether the node has an IOMMU is unknown: "
    assert ran.status == 0 and ran.out.startswith(first) and ran.out.endswith(f"[iommu-off]\n{KNOWN}")
    assert ran.out.count("\n") == 2


def test_known_or_not(tmp_path: Path) -> None:
    """Without a look: allowed where lines, devices and group members are those of the last accepted start, else refused."""
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    config, card = root / bed.NODE / "100.conf", root / "sys/devices/pci0000:00/0000:01:00.0"
    member = root / "sys/kernel/iommu_groups/1/devices/0000:04:00.0"
    text = config.read_text()

    def without_a_look() -> str:
        status, out = broken(root, "raise KeyError")
        assert status == (0 if out.endswith(KNOWN) else 1)
        return out

    assert without_a_look().endswith(KNOWN)
    config.write_text(text.replace("pcie=1", "pcie=1,rombar=0"))
    assert REFUSED + "its hostpci lines are not those of its last accepted start" in without_a_look()
    config.write_text(text.replace("b3247ab1", "00000000"))
    assert REFUSED + "no start of it was accepted before" in without_a_look()
    config.write_text(text + "\n[before]\nhostpci1: 0000:09:00.0\nsnaptime: 1\n")
    assert without_a_look().endswith(KNOWN)
    (card / "device").write_text("0x9999\n")
    assert REFUSED + "0000:01:00.0 is another device" in without_a_look()
    (card / "device").write_text("0x2204\n")
    member.symlink_to("../../../../devices/pci0000:00/0000:04:00.0")
    assert REFUSED + "0000:04:00.0 shares an IOMMU group with 0000:01:00.0 now" in without_a_look()
    (root / "sys/devices/pci0000:00/0000:04:00.0/pci_bus").mkdir()
    assert without_a_look().endswith(KNOWN), "a bridge is never taken"
    (card / "iommu_group").unlink()
    assert REFUSED + "0000:01:00.0 has no IOMMU group" in without_a_look()
    (root / bed.RECORD).write_text(
        '{"uuid": null, "ctime": 1700000000, "accepted": {"pve1": {"hostpci": {"hostpci0": "0000:01:00,pcie=1"}}}}'
    )
    assert REFUSED + "what is noted of its last accepted start cannot be understood" in without_a_look()
    (root / bed.RECORD).unlink()
    assert REFUSED + "no start of it was accepted before" in without_a_look()


def test_a_mapping_may_name_other_devices_under_the_same_line(tmp_path: Path) -> None:
    mapping = "gpu\n\tmap id=10de:2204,iommugroup=1,node=pve1,path=0000:01:00.0\n"
    root = bed.node(tmp_path, {"etc/pve/mapping/pci.cfg": mapping}, hostpci="mapping=gpu,pcie=1")
    assert bed.start(root) == (0, "")
    assert broken(root, "raise KeyError")[1].endswith(KNOWN)
    (root / "etc/pve/mapping/pci.cfg").write_text(mapping.replace("01:00.0", "02:00.0"))
    assert REFUSED + "the mapping 'gpu' names 0000:02:00.0, which was not among" in broken(root, "raise KeyError")[1]
    (root / "etc/pve/mapping/pci.cfg").unlink()
    assert REFUSED in broken(root, "raise KeyError")[1]


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ("[guard]\non_error = allow\n", 0, "VM 100 starts unexamined: as the settings have it"),
        ("[guard]\non_error = block\n", 1, REFUSED + "[guard] on_error = block"),
        ("[guard]\nmode = audit\n", 0, "VM 100 starts unexamined: as the settings have it"),
        ("[guest 100]\n[[guard]]\non_error = allow\n", 0, "VM 100 starts unexamined"),
    ],
)
def test_on_error_otherwise(settings: str, status: int, words: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    unreadable(root / bed.NODE / "100.conf")
    bed.settings(root, settings)
    ran = bed.start(root)
    assert (ran.status, ran.out.count("\n") <= 3) == (status, True)
    assert words in ran.out and "the config cannot be read: Is a directory" in ran.out


def test_an_override_counts_without_an_examination(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the card must come up")
    iommu_unreadable(root)
    ran = bed.start(root)
    assert ran.status == 0 and "allowed it: the card must come up" in ran.out
    assert bed.start(root).status == 1, "and is used up"


def test_no_config_at_all(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    (root / bed.NODE / "100.conf").unlink()
    assert bed.start(root).status == 1


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        ('{"version": 1, "accepted": 5}', True),
        ("{", True),
        ("", True),
        ('{"version": 1, "uuid": "b3247ab1-1fe6-428e-965b-08a1b64a8746", "ctime": 1700000000, "accepted": {"members": 5}}', True),
    ],
)
def test_broken_records(content: str, accepted: bool, tmp_path: Path) -> None:
    root = bed.node(tmp_path, {bed.RECORD: content})
    assert bed.start(root) == (0, "")
    assert ("accepted" in bed.record(root)) is accepted
    (root / bed.RECORD).write_text(content)
    unreadable(root / bed.NODE / "100.conf")
    assert bed.start(root).status == 1


def test_a_record_that_cannot_be_written_is_no_reason_to_refuse(tmp_path: Path) -> None:
    root = bed.node(tmp_path, {"etc/pve/pvehooks": ""})
    ran = bed.start(root)
    assert ran.status == 0 or "could not be examined" in ran.out
    root = bed.node(tmp_path / "locked", {"run/pvehooks/locks/100.lock": ""})
    with (root / "run/pvehooks/locks/100.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ran = bed.start(root)
    assert ran.status == 0 and "what it starts with could not be noted: another process holds the lock" in ran.out


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e"])
def test_no_free_text_forges_a_hostpci_line(separator: str, tmp_path: Path) -> None:
    """What PVE reads as one line is one line: behind the real entry the accepted one is in a text that a tenant may write."""
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    config = root / bed.NODE / "100.conf"
    text = config.read_text()
    old = "hostpci0: 0000:01:00,pcie=1"
    config.write_bytes(f"{text.replace(old, 'hostpci0: 0000:02:00.0')}searchdomain: x{separator}{old}\n".encode())
    status, out = broken(root, "raise KeyError")
    assert status == 1 and REFUSED + "its hostpci lines are not those of its last accepted start" in out


@pytest.mark.parametrize("line", ["[x y]", "[", "[]", "[1]", "[snap] x", "[snap"])
def test_what_is_no_section_hides_no_hostpci_line(line: str, tmp_path: Path) -> None:
    """PVE reads on, and gives the guest what follows."""
    root = bed.node(tmp_path)
    assert bed.start(root) == (0, "")
    config = root / bed.NODE / "100.conf"
    config.write_text(f"{config.read_text()}{line}\nhostpci1: 0000:02:00.0\n")
    status, out = broken(root, "raise KeyError")
    assert status == 1 and REFUSED + "its hostpci lines are not those of its last accepted start" in out
