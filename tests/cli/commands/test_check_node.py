"""`pvehooks check --node OTHER`: of another node than the one that a tree was taken from only what pmxcfs holds is judged, and that is said once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvehooks.cli.main import main
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from tests.beds import pci
from tests.beds.tree import Link, make_fake_tree

CONFIG = "name: nas\nboot: order=scsi0\nscsi0: local-lvm:vm-300-disk-0\nhostpci0: 0000:01:00.0\nusb0: host=1050:0407\nusb1: host=1-3\nostype: l26\n"
HARDWARE = {"hostpci-device-missing", "iommu-off", "memory-short", "usb-device-absent"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        **pci.plant("0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=2\n"),
        "etc/pve/local": Link("nodes/pve1"),
        "etc/pve/nodes/pve1/qemu-server/": None,
        "etc/pve/nodes/pve2/qemu-server/300.conf": CONFIG,
        "etc/pve/nodes/pve2/qemu-server/301.conf": "name: web\nboot: order=scsi0\nscsi0: gone:vm-301-disk-0\nrng0: source=/dev/hwrng\n",
        "etc/pve/storage.cfg": "lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\tcontent images\n",
    }
    return make_fake_tree(tmp_path / "tree", {path.rstrip("/"): content for path, content in files.items()})


def check(capsys: pytest.CaptureFixture[str], tree: Path, *words: str, status: int = EXIT_OK) -> str:
    assert main(["check", "--root", str(tree), "--node", "pve2", *words]) == status
    return capsys.readouterr().out


def test_all_guests(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = check(capsys, tree, status=EXIT_BLOCKED).splitlines()
    assert not [line for line in lines if "not examined:" in line]
    assert any("storage-unavailable" in line for line in lines)
    (last,) = (line for line in lines if "pve2 itself" in line)
    assert "run this on pve2" in last
    assert lines[-2:].count(last) == 1


def test_a_guest_of_which_nothing_else_is_to_be_reported(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tree / "etc/pve/nodes/pve2/qemu-server/301.conf"
    config.write_text(config.read_text().replace("gone:", "local-lvm:"))
    assert check(capsys, tree, "301").splitlines() == [
        "VM 301 (web): nothing found",
        "what only pve2 itself can read was not examined (once): run this on pve2",
        "1 VM on pve2: nothing found",
    ]


def test_json_has_all_of_it(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (guest,) = json.loads(check(capsys, tree, "300", "--json"))["guests"]
    unexamined = {found["rule"] for found in guest["findings"] if found["message"].startswith("not examined")}
    assert unexamined >= HARDWARE
    assert sum(found["rule"] == "usb-device-absent" for found in guest["findings"]) == 1


def test_the_tree_of_that_node_itself(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tree that does not say whose it is, is taken for that of the node that is asked for."""
    (tree / "etc/pve/local").unlink()
    assert "[hostpci-device-missing]" in check(capsys, tree, "300", status=EXIT_BLOCKED)
    (tree / "etc/pve/local").symlink_to("nodes/pve2")
    assert "[hostpci-device-missing]" in check(capsys, tree, "300", status=EXIT_BLOCKED)
