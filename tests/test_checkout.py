"""What works from the checkout, without an installation: the programs, and the builders of trees that others plant theirs with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.beds import boot, pci, usb
from tests.beds.tree import Content, make_fake_tree, parse_txtar
from tests.conftest import PROJECT, SHARED_DATA

ARCHIVE = """\
A node with a guest that has a graphics card.
-- boot --
-- pci --
0000:01:00.0 class=030000 id=10de:2684 group=1 driver=vfio-pci
-- usb --
1-1 id=046d:c52b
-- etc/pve/nodes/pve1/qemu-server/100.conf --
name: games
hostpci0: 0000:01:00.0
"""


def run(*words: str, status: int = 0) -> str:
    """What a program of the checkout prints."""
    command = ["/usr/bin/python3", "-B", "-m", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as it is planted outside of these tests: sections for the beds, the rest as files."""
    files = parse_txtar(ARCHIVE)
    planted: dict[str, Content] = {}
    for section, plant in (("boot", boot.plant), ("pci", pci.plant), ("usb", usb.plant)):
        planted |= plant(str(files.pop(section)))
    return make_fake_tree(tmp_path_factory.mktemp("node") / "tree", planted | files)


def test_the_builders_of_trees(tree: Path) -> None:
    assert (tree / "sys/bus/pci/devices/0000:01:00.0/vendor").read_text().strip() == "0x10de"
    assert (tree / "etc/pve/nodes/pve1/qemu-server/100.conf").read_text() == "name: games\nhostpci0: 0000:01:00.0\n"
    assert (tree / "sys/bus/usb/devices/1-1/idVendor").read_text().strip() == "046d"
    assert (tree / "proc/cmdline").exists()


def test_the_command_line(tree: Path) -> None:
    assert "1 VM on pve1" in run("pvehooks", "check", "100", "--root", str(tree))


def test_the_guard(tree: Path) -> None:
    run("pvehooks.guard", "100", "pre-start", "--root", str(tree))
    assert run("pvehooks.guard", "100", "post-stop", "--root", str(tree)) == ""
    assert "usage: guard VMID PHASE" in run("pvehooks.guard", status=1)


def test_the_daemon() -> None:
    assert run("pvehooks.daemon", "--help").startswith("usage: pvehooksd ")


@pytest.mark.shared_data
def test_cases_from_reports_can_be_planted(tmp_path: Path) -> None:
    """By the program that lies beside them, which uses the builders above."""
    program = SHARED_DATA / "reports/_tools/build.py"
    cases = sorted(SHARED_DATA.glob("reports/*/case.txtar"))
    assert cases
    for case in cases:
        target = tmp_path / case.parent.name
        command = ["/usr/bin/python3", "-B", str(program), str(case), str(target)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), case
        assert list(target.glob("etc/pve/nodes/*")), case
