"""pvehooks bind and unbind on trees: golden output, exit statuses, what is left behind. What the kernel does: tests/actions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.actions.pci.bed import CARD, DISK, GPU, PF, SOUND, TWIN, planted
from tests.cli.test_cli import pvehooks

Golden = Callable[[str, str], None]
NOTES = "etc/pvehooks/bind.d"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path / "tree")


def notes(tree: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((tree / NOTES).iterdir())} if (tree / NOTES).is_dir() else {}


def test_noting(tree: Path, golden: Golden) -> None:
    arguments = ("bind", "01:00", "0000:02:00.0", CARD, "00:01.0", "--persist")
    golden("cli/bind-persist.txt", pvehooks(tree, *arguments, status=1))
    before = notes(tree)
    assert sorted(before) == [GPU, SOUND, CARD]
    golden("cli/bind-note.txt", before[CARD])
    golden("cli/bind-persist-again.txt", pvehooks(tree, *arguments, status=1))
    assert notes(tree) == before
    golden("cli/bind-vfs.txt", pvehooks(tree, "bind", PF, "--vfs", "4", "--persist"))
    golden("cli/unbind-json.txt", pvehooks(tree, "unbind", GPU, SOUND, TWIN, "--persist", "--json"))
    golden("cli/bind-json.txt", pvehooks(tree, "bind", DISK, GPU, "--persist", "--json", status=1))
    pvehooks(tree, "bind", PF, "--vfs", "0", "--persist")
    assert sorted(notes(tree)) == [GPU, CARD]


def test_listing(tree: Path, golden: Golden) -> None:
    assert "is bound" not in pvehooks(tree, "bind", "--list")
    pvehooks(tree, "bind", GPU, CARD, TWIN, "--persist")
    pvehooks(tree, "bind", PF, "--vfs", "4", "--persist")
    (tree / "sys/devices/pci0000:00" / CARD / "device").write_text("0x10d3\n")
    (tree / "sys/bus/pci/devices" / TWIN).unlink()
    (tree / NOTES / DISK).write_text("nonsense\n")
    (tree / NOTES / "README").write_text("not ours\n")
    (tree / "etc/driverctl.d").mkdir()
    (tree / "etc/driverctl.d" / f"pci-{GPU}").write_text("vfio-pci\n")
    (tree / "etc/driverctl.d" / f"pci-{SOUND}").write_text("snd_hda_intel\n")
    (tree / "etc/modprobe.d").mkdir()
    (tree / "etc/modprobe.d/vfio.conf").write_text("options vfio-pci ids=10de:1aef,8086:1572\n")
    golden("cli/bind-list.txt", pvehooks(tree, "bind", "--list"))
    golden("cli/bind-list-json.txt", pvehooks(tree, "bind", "--list", GPU, CARD, "--json"))
    golden("cli/bind-others.txt", pvehooks(tree, "bind", GPU, SOUND, "--persist"))
    golden("cli/unbind-absent.txt", pvehooks(tree, "unbind", TWIN, DISK, "--persist"))


def test_nothing_to_list(tree: Path) -> None:
    assert pvehooks(tree, "bind", "--list", GPU) == "no PCI device of pve1 is bound to vfio-pci, now or at boot\n"
    assert json.loads(pvehooks(tree, "bind", "--list", GPU, "--json"))["devices"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["bind"], 2, "name the devices"),
        (["bind", "gpu"], 2, "'gpu' is not a PCI address"),
        (["bind", "0000:01:00.8"], 2, "is not a PCI address"),
        (["bind", GPU, "--list", "--persist"], 2, "--list and --boot cannot be combined"),
        (["bind", GPU, "--vfs", "-1"], 2, "pvehooks bind"),
        (["bind", GPU, "--vfs", "some"], 2, "'some' is not a number of virtual functions"),
        (["bind", "0000:99:00.0", "--persist"], 3, "there is no PCI device 0000:99:00.0 on pve1"),
        (["unbind", "0000:99:00.0", "--persist"], 3, "there is no PCI device 0000:99:00.0 on pve1"),
        (["bind", GPU], 1, "is a tree, without a kernel"),
        (["bind", "--boot"], 1, "is a tree, without a kernel"),
        (["unbind", GPU], 1, "is a tree, without a kernel"),
        (["bind", PF, "--vfs", "2"], 1, "is a tree, without a kernel"),
        (["bind", CARD, "--vfs", "2", "--persist"], 1, "does not support SR-IOV"),
    ],
)
def test_wrong_use(arguments: list[str], status: int, words: str, tree: Path) -> None:
    assert words in pvehooks(tree, *arguments, status=status)
    assert notes(tree) == {}


def test_addresses_as_people_write_them(tree: Path) -> None:
    for written in ("01:00.1", "0000:01:00.1", "0000:01:00.1".upper()):
        assert json.loads(pvehooks(tree, "bind", written, "--persist", "--json"))["devices"][0]["address"] == SOUND


def test_a_note_that_cannot_be_written(tree: Path) -> None:
    (tree / "etc/pvehooks").mkdir()
    (tree / NOTES).write_text("a file\n")
    assert "refused: /etc/pvehooks/bind.d" in pvehooks(tree, "bind", GPU, "--persist", status=1)
