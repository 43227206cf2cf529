"""After a change of the kernel, findings that it may have caused say which kernel the last start was on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.rules import catalogue, engine
from pvehooks.values import Finding, Node
from tests.beds import pci
from tests.beds.tree import Content, make_fake_tree

CARD = "0000:01:00.0 class=020000 id=8086:1572 driver=vfio-pci group=1\n"
OLD, NEW = "6.8.12-11-pve", "6.14.8-1-pve"
WORDS = f". The last accepted start of VM 100 was on kernel {OLD}; now {NEW} runs"


def record(kernel: str) -> str:
    device = {"id": "8086:1572", "class": "020000", "serial": ""}
    accepted = {"hostpci": {"hostpci0": "0000:01:00.0"}, "devices": {"0000:01:00.0": device}, "members": ["0000:01:00.0"], "kernel": kernel}
    return json.dumps({"version": 1, "uuid": None, "ctime": None, "accepted": {"pve1": accepted}})


def found(directory: Path, bus: str, config: str = "hostpci0: 0000:01:00.0\n", kernel: str = OLD, running: str = NEW) -> dict[str, Finding]:
    """What an audit and a start find, by rule; both have to say the same."""
    files: dict[str, Content] = {
        **pci.plant(bus),
        "etc/pve/nodes/pve1/qemu-server/100.conf": config,
        "etc/pve/pvehooks/guests/100.json": record(kernel),
        "etc/hostname": "pve1\n",
        **({"proc/sys/kernel/osrelease": f"{running}\n"} if running else {}),
    }
    host = Host(str(make_fake_tree(directory, files)))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node: Node = hardware.gather(host, "pve1")
    audit = {finding.rule: finding for finding in catalogue.findings(guest, node)}
    for finding in engine.findings_at_start(guest, node):
        assert audit[finding.rule].message == finding.message
    return audit


@pytest.mark.parametrize(
    ("bus", "rule"),
    [
        ("0000:02:00.0 class=020000 id=8086:1572 driver=igb group=2\n", "hostpci-device-missing"),
        (CARD.replace("vfio-pci", "i40e"), "vfio-not-bound"),
        (CARD.replace("1572", "1573"), "device-changed"),
        (CARD.replace("group=1", ""), "iommu-off"),
        (f"{CARD}0000:02:00.0 class=010601 id=8086:7ae2 driver=ahci group=1\n", "group-not-clean"),
    ],
)
def test_what_the_kernel_may_have_caused(bus: str, rule: str, tmp_path: Path) -> None:
    assert found(tmp_path / "after", bus)[rule].message.endswith(WORDS)
    for number, (kernel, running) in enumerate([(NEW, NEW), ("", NEW), (OLD, "")]):
        assert "accepted start of VM" not in found(tmp_path / str(number), bus, kernel=kernel, running=running)[rule].message


def test_what_the_kernel_has_no_part_in(tmp_path: Path) -> None:
    """A config that PVE refuses, and what is for information, have no such words."""
    all_found = found(tmp_path, CARD, config="hostpci0: 0000:01:00.0,pcie=1\n")
    assert not all_found["hostpci-invalid"].message.endswith(WORDS)
    assert "kernel-untried" in all_found
    assert not any(each.message.endswith(WORDS) for each in all_found.values())
