"""Each capture of a real kernel as a whole host: a guest for each of its devices, the verdict told from the capture by other code."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.rules.engine import findings_at_start
from tests.beds import uses
from tests.beds.tree import make_fake_tree
from tests.facts import captures

GUESTS = "etc/pve/nodes/pve1/qemu-server"

pytestmark = pytest.mark.shared_data


@pytest.mark.parametrize("name", captures.NAMES)
def test_capture_as_a_host(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    captured = captures.load(name)
    tree = tmp_path / "tree"
    shutil.copytree(captures.materialise(name, tmp_path_factory), tree, symlinks=True, copy_function=os.link)
    real = {path.removeprefix("proc/") for path in uses.idle()} & set(captured["proc"])
    beside = {path: text for path, text in uses.idle().items() if path.removeprefix("proc/") not in real and "mount" not in path}
    addresses = sorted(captured["pci"])
    configs = {f"{GUESTS}/{100 + number}.conf": f"hostpci0: {address}\n" for number, address in enumerate(addresses)}
    host = Host(str(make_fake_tree(tree, {**beside, **configs})))
    guest_context = guests.gather_context(host, "pve1", None)
    node = hardware.gather(host, "pve1")
    for number, address in enumerate(addresses):
        found = findings_at_start(guests.read(host, "pve1", 100 + number, guest_context), node)
        shown = {finding.rule for finding in found if finding.examined}
        left_out = not is_bridge(captured["pci"][address]) and "iommu_group" not in captured["pci"][address]["links"]
        assert ("iommu-off" in shown) is (not captured["iommu_groups"] or left_out), address
        assert ("group-in-use-by-host" in shown) is takes_a_mount(captured, address), (address, found)
        assert "hostpci-device-missing" not in shown
        if "group-in-use-by-host" not in shown and captured["iommu_groups"]:
            assert ("vfio-not-bound" in shown) is not_bound(captured["pci"][address]), (address, found)


def takes_a_mount(captured: dict[str, Any], address: str) -> bool:
    """Whether a member of the device's group has a disk in /proc/mounts."""
    group = captured["pci"][address]["links"].get("iommu_group", "")
    if not group or is_bridge(captured["pci"][address]):
        return False
    members = [each for each in captured["pci"].values() if each["links"].get("iommu_group", "").split("/")[-1] == group.split("/")[-1]]
    mounted = set(re.findall(r"^/dev/(\S+)", captured["proc"]["mounts"], re.MULTILINE))
    disks = {Path(disk).name for member in members if not is_bridge(member) for disk in member["children"].get("block", [])}
    return bool(disks & mounted)


def is_bridge(device: dict[str, Any]) -> bool:
    return "pci_bus" in device["subdirs"] or device["attrs"]["class"].startswith("0x0604")


def not_bound(device: dict[str, Any]) -> bool:
    return not device["links"].get("driver", "").endswith("/vfio-pci") and not is_bridge(device)
