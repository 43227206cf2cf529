"""pvehooks allow and trust: what they say, and what they leave in the guest's record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beds import pci, uses
from tests.beds.tree import make_fake_tree
from tests.cli.test_cli import pvehooks
from tests.guard import bed

Golden = Callable[[str, str], None]
ALLOW = ["allow", "100", "--once", "--reason", "the old card is broken anyway"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return bed.node(tmp_path / "tree", {f"{bed.NODE}/101.conf": "name: plain\n"}, hostpci=bed.NOT_CLEAN)


def test_allow(tree: Path, golden: Golden) -> None:
    golden("cli/allow.txt", pvehooks(tree, *ALLOW, SUDO_USER="jo"))
    noted = bed.record(tree)["allowance"]
    assert (noted["by"], noted["reason"]) == ("jo", "the old card is broken anyway") and noted["when"] > 1700000000
    golden("cli/allow-cancel-json.txt", pvehooks(tree, "allow", "100", "--cancel", "--json"))
    assert bed.record(tree) == {}
    golden("cli/allow-cancel-nothing.txt", pvehooks(tree, "allow", "100", "--cancel"))


@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("without-once", ["allow", "100", "--reason", "x"], 2),
        ("without-reason", ["allow", "100", "--once", "--reason", "  "], 2),
        ("without-devices", ["allow", "101", "--once", "--reason", "x"], 1),
        ("trust-without-devices", ["trust", "101"], 1),
        ("trust-nobody", ["trust"], 2),
    ],
)
def test_wrong_use(name: str, arguments: list[str], status: int, tree: Path, golden: Golden) -> None:
    golden(f"cli/wrong-allow-{name}.txt", pvehooks(tree, *arguments, status=status))
    assert bed.record(tree) == {}


def test_a_reason_is_one_line_of_text(tree: Path) -> None:
    pvehooks(tree, "allow", "100", "--once", "--reason", "two\nlines \x1b[1m", SUDO_USER="j\to")
    assert bed.record(tree)["allowance"]["reason"] == "two lines \\x1b[1m"
    assert bed.record(tree)["allowance"]["by"] == "j\\to"
    pvehooks(tree, "allow", "100", "--once", "--reason", "--broken card")
    assert bed.record(tree)["allowance"]["reason"] == "--broken card"
    assert "longer than 500" in pvehooks(tree, "allow", "100", "--once", "--reason", "x" * 501, status=2)


def test_trust(tree: Path, golden: Golden) -> None:
    golden("cli/trust.txt", pvehooks(tree, "trust", "100"))
    assert bed.record(tree)["accepted"]["pve1"]["members"] == ["0000:04:00.0", "0000:05:00.0"]
    golden("cli/trust-again.txt", pvehooks(tree, "trust", "100"))
    (tree / "sys/devices/pci0000:00/0000:04:00.0/device").write_text("0x0015\n")
    golden("cli/trust-changed-json.txt", pvehooks(tree, "trust", "100", "--json"))
    golden("cli/trust-forget.txt", pvehooks(tree, "trust", "100", "--forget"))
    assert bed.record(tree) == {}


def test_a_use_is_not_to_be_accepted(tmp_path: Path) -> None:
    disk = f"0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=14 disk={uses.DISK}/{uses.DISK_NUMBER} part={uses.PART}/{uses.PART_NUMBER}"
    files = {**uses.idle(), **pci.plant(f"0000:01:00.0 class=030000 driver=vfio-pci group=14\n{disk}\n")}
    uses.mounted_partition(files, "0000:02:00.0")
    tree = make_fake_tree(tmp_path, {**files, "etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 0000:01:00.0\n"})
    assert "still be refused: hostpci0 (0000:01:00.0) shares IOMMU group 14 with 0000:02:00.0" in pvehooks(tree, "trust", "100")


def test_trust_asks_of_all_before_it_begins(tree: Path) -> None:
    assert "VM 101 (plain) has no passed-through PCI devices" in pvehooks(tree, "trust", "100", "101", status=1)
    assert bed.record(tree) == {}


def test_trust_of_what_is_not_there(tree: Path) -> None:
    (tree / bed.NODE / "100.conf").write_text("hostpci0: 0000:09:00.0\n")
    assert "none of the PCI devices of VM 100 is on the bus" in pvehooks(tree, "trust", "100", status=1)


def test_a_serial_is_remembered_while_the_disk_is_bound(tree: Path) -> None:
    (tree / bed.NODE / "100.conf").write_text(f"hostpci0: {bed.IDLE_DISK}\n")
    pvehooks(tree, "trust", "100")
    assert bed.record(tree)["accepted"]["pve1"]["devices"][bed.IDLE_DISK]["serial"] == "S1"
    assert "accepted already" in pvehooks(tree, "trust", "100")
    (tree / f"sys/devices/pci0000:00/{bed.IDLE_DISK}/nvme/nvme0/serial").unlink()
    assert "accepted already" in pvehooks(tree, "trust", "100")
