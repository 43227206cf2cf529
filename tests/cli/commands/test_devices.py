"""pvehooks devices: where each is, whose it is meant to be, how it does, its last start and its last trouble."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pvehooks.cli.commands import devices
from pvehooks.facts.pci.devices import STARTED
from pvehooks.host import CommandTrouble, Completed, Host
from tests.actions.pci.bed import CARD, GPU, HELD, SOUND, planted
from tests.beds.pci import ROOT
from tests.beds.tasks import TaskLog
from tests.beds.tree import make_fake_tree
from tests.cli.test_cli import pvehooks

Golden = Callable[[str, str], None]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    guest = {"etc/pve/nodes/pve1/qemu-server/100.conf": "hostpci0: 01:00\nname: gpu\n"}
    root = planted(tmp_path / "tree", **guest)
    note = {"ids": "8086:1572", "driver": "i40e", "state": {"current_link_width": "8"}, "back_to": "i40e"}
    files = {
        f"{STARTED[1:]}/101": json.dumps({"label": "VM 101 (router)", "when": 1.0, "devices": {HELD: note}}),
        f"{ROOT}/{HELD}/current_link_width": "4\n",
        "etc/pvehooks/pvehooks.conf": f"[device {GPU}]\nafter_stop = return\n",
    }
    make_fake_tree(root, files)
    (root / ROOT / SOUND / "config").write_bytes(b"\xff" * 64)
    tasks = TaskLog(root)
    tasks.failed(100, "TASK OK\n", 1_700_000_000)
    tasks.failed(100, "TASK ERROR: start failed\n", 1_700_000_100)
    return root


def test_all_and_some(tree: Path, golden: Golden) -> None:
    golden("cli/devices.txt", pvehooks(tree, "devices", TZ="UTC"))
    golden("cli/devices-json.txt", pvehooks(tree, "devices", "01:00", HELD, "--json", TZ="UTC"))


def test_a_setting_about_two_devices_is_shown(tree: Path) -> None:
    (tree / "etc/pvehooks/pvehooks.conf").write_text("[device 8086:1533]\nafter_stop = return\n")
    line = "pvehooks: [device 8086:1533] is about 2 devices (0000:03:00.0, 0000:04:00.0) and is not used. Name one: [device 0000:03:00.0]\n"
    assert line in pvehooks(tree, "devices", CARD)


def test_no_such_device(tree: Path) -> None:
    assert "there is no PCI device 0000:99:00.0 on pve1" in pvehooks(tree, "devices", "99:00.0", status=3)


class Journal(Host):
    """A tree with a journal."""

    def __init__(self, root: Path, lines: list[str] | None) -> None:
        super().__init__(str(root))
        self.can_run, self.lines = True, lines

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None) -> Completed:
        assert "PVEHOOKS_EVENT=device-dead" in argv
        if self.lines is None:
            raise CommandTrouble("journalctl cannot be run")
        return Completed(0, "".join(f"{line}\n" for line in self.lines), "")


def entry(device: str, message: str, seconds: int) -> str:
    return json.dumps({"PVEHOOKS_DEVICE": device, "MESSAGE": message, "__REALTIME_TIMESTAMP": f"{seconds}000123"})


def test_the_last_trouble_is_the_journals(tmp_path: Path) -> None:
    lines = [entry(GPU, "first", 5), "{", "[]", '{"MESSAGE": "x"}', entry(CARD, "other", 6), entry(GPU, "second", 7)]
    assert devices._journal(Journal(tmp_path, lines)) == {GPU: (7, "second"), CARD: (6, "other")}
    assert devices._journal(Journal(tmp_path, None)) == {}
    assert devices._journal(Host(str(tmp_path))) == {}
