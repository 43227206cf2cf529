"""pvehooks mapping: mappings are made, adopted, checked on all nodes, and exported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.daemon.publish.summary import read_hardware
from pvehooks.facts import hardware
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.values import Unread
from tests.beds import pci, uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.cli.test_cli import pvehooks
from tests.cluster.test_summary_text import SUMMARY

Golden = Callable[[str, str], None]
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
FILE = "etc/pve/mapping/pci.cfg"
BUS = """
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=1 bridge
0000:01:00.0 class=030000 id=10de:2204 subsystem=1043:87d0 driver=vfio-pci group=14
0000:01:00.1 class=040300 id=10de:1aef subsystem=1043:87d0 driver=vfio-pci group=14
0000:02:00.0 class=010802 id=144d:a808 driver=nvme group=15 disk=nvme0n1/259:0/S1 part=nvme0n1p1/259:1
0000:03:00.0 class=010802 id=144d:a808 driver=vfio-pci group=16
0000:04:00.0 class=030200 id=10de:20f1 driver=nvidia group=17 mdev=nvidia-474:4
"""
MAPPINGS = (
    "disk\n\tdescription the ${fast} one\n\tmap id=144d:a808,iommugroup=16,node=pve1,path=0000:03:00.0\n"
    "\tmap id=144d:a808,iommugroup=3,node=pve2,path=0000:07:00.0\n\n"
    "gpu\n\tmap id=10de:2204,iommugroup=12,node=pve1,path=0000:01:00,subsystem-id=1043:87d0\n\n"
    "vgpu\n\tmap id=10de:20f1,iommugroup=17,node=pve1,path=0000:04:00.0\n\tmdev 1\n"
)
FILES: dict[str, Content] = {
    f"{CONFIGS}/100.conf": "hostpci0: 01:00,pcie=1,x-vga=1\nhostpci1: host=0000:03:00.0,rombar=0\nname: gpu\nmachine: q35\n",
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pve/nodes/pve2/qemu-server/200.conf": "name: other\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = uses.idle() | pci.plant(BUS) | FILES
    uses.mounted_partition(files, "0000:02:00.0")
    return make_fake_tree(tmp_path / "tree", files)


def mapping(tree: Path) -> str:
    return (tree / FILE).read_text()


def planted(tree: Path, content: str = MAPPINGS) -> str:
    return str(make_fake_tree(tree, {FILE: content}) and content)


# -- add ----------------------------------------------------------------------------------------------------------------


def test_add(tree: Path, golden: Golden) -> None:
    golden("cli/mapping-add.txt", pvehooks(tree, "mapping", "add", "gpu", "01:00"))
    assert mapping(tree) == "gpu\n\tmap id=10de:2204,iommugroup=14,node=pve1,path=0000:01:00,subsystem-id=1043:87d0\n"
    before = mapping(tree)
    assert "already" in pvehooks(tree, "mapping", "add", "gpu", "01:00")
    assert mapping(tree) == before
    pvehooks(tree, "mapping", "add", "gpu", "0000:03:00.0")
    assert mapping(tree) == f"{before}\tmap id=144d:a808,iommugroup=16,node=pve1,path=0000:03:00.0\n"


def test_add_keeps_the_entries_of_other_nodes(tree: Path) -> None:
    other = "disk\n\tmap id=144d:a808,iommugroup=3,node=pve2,path=0000:07:00.0\n"
    planted(tree, other)
    pvehooks(tree, "mapping", "add", "disk", "0000:03:00.0")
    assert mapping(tree) == f"{other}\tmap id=144d:a808,iommugroup=16,node=pve1,path=0000:03:00.0\n"


def test_add_for_mediated_devices(tree: Path) -> None:
    pvehooks(tree, "mapping", "add", "vgpu", "0000:04:00.0")
    assert mapping(tree).endswith("\tmdev 1\n")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["disk", "0000:02:00.0"], 1, "holds /srv", id="the host's disk"),
        pytest.param(["port", "0000:00:01.0"], 1, "is a bridge", id="a bridge"),
        pytest.param(["none", "0000:09:00.0"], 3, "there is no PCI device 0000:09:00.0", id="not there"),
        pytest.param(["0day", "0000:03:00.0"], 2, "cannot be a mapping's name", id="name"),
        pytest.param(["mixed", "0000:03:00.0", "0000:04:00.0"], 1, "some are not", id="mediated and not"),
        pytest.param(["gpu", "0000:04:00.0"], 1, "not for mediated devices", id="mediated device into another mapping"),
    ],
)
def test_add_refuses(arguments: list[str], status: int, words: str, tree: Path) -> None:
    before = planted(tree)
    assert words in pvehooks(tree, "mapping", "add", *arguments, status=status)
    assert mapping(tree) == before


def test_malformed_mapping_stays(tree: Path) -> None:
    before = planted(tree, "disk\n\tmap id=144d:a808,node=pve1,path=0000:03:00.0\n\tnonsense 1\n")
    assert "is malformed" in pvehooks(tree, "mapping", "add", "disk", "01:00", status=1)
    assert mapping(tree) == before


# -- adopt --------------------------------------------------------------------------------------------------------------


def test_adopt(tree: Path, golden: Golden) -> None:
    planted(tree, "fast\n\tmap id=144d:a808,iommugroup=16,node=pve1,path=0000:03:00.0\n")
    before = (tree / CONFIGS / "100.conf").read_text(), mapping(tree)
    golden("cli/mapping-adopt-dry-run.txt", pvehooks(tree, "mapping", "adopt", "100", "--dry-run"))
    assert before == ((tree / CONFIGS / "100.conf").read_text(), mapping(tree))
    golden("cli/mapping-adopt.txt", pvehooks(tree, "mapping", "adopt", "100"))
    config = (tree / CONFIGS / "100.conf").read_text()
    assert config == before[0].replace("01:00,", "mapping=vm100-hostpci0,").replace("host=0000:03:00.0", "mapping=fast")
    assert "vm100-hostpci0\n\tmap id=10de:2204,iommugroup=14,node=pve1,path=0000:01:00,subsystem-id=1043:87d0\n" in mapping(tree)
    assert "no option of it names a device by its address" in pvehooks(tree, "mapping", "adopt", "100")


@pytest.mark.parametrize(
    ("config", "arguments", "status", "words"),
    [
        pytest.param("hostpci0: 0000:02:00.0\n", [], 1, "holds /srv", id="the host's disk"),
        pytest.param("hostpci0: 0000:03:00.0\n", ["--name", "gpu"], 1, "has another device for pve1", id="name of another"),
        pytest.param("hostpci0: 0000:03:00.0\nhostpci1: 01:00\n", ["--name", "x1"], 2, "--name is for one device", id="one name"),
        pytest.param("hostpci0: 0000:03:00.0\nlock: backup\n", [], 1, "VM is locked", id="locked"),
    ],
)
def test_adopt_refuses(config: str, arguments: list[str], status: int, words: str, tree: Path) -> None:
    before = planted(tree, "gpu\n\tmap id=10de:2204,iommugroup=14,node=pve1,path=0000:01:00,subsystem-id=1043:87d0\n")
    (tree / CONFIGS / "100.conf").write_text(config)
    assert words in pvehooks(tree, "mapping", "adopt", "100", *arguments, status=status)
    assert ((tree / CONFIGS / "100.conf").read_text(), mapping(tree)) == (config, before)


# -- check --------------------------------------------------------------------------------------------------------------


def of_another_node(tree: Path, directory: Path, bus: str) -> None:
    """pve2 publishes its devices."""
    there = Host(str(make_fake_tree(directory, uses.idle() | pci.plant(bus) | {"etc/pve/nodes/pve2/qemu-server": None})))
    known = read_hardware(there, hardware.gather(there, "pve2"))
    assert not isinstance(known, Unread)
    (tree / "etc/pve/nodes/pve2/pvehooks-summary.json").write_bytes(text.dump(SUMMARY._replace(hardware=known)))


def test_check(tree: Path, tmp_path: Path, golden: Golden) -> None:
    planted(tree)
    bus = """
0000:07:00.0 class=010802 id=144d:a808 driver=nvme group=5
0000:08:00.0 class=030000 id=10de:2204 subsystem=1043:87d0 driver=nouveau group=6
"""
    of_another_node(tree, tmp_path / "pve2", bus)
    golden("cli/mapping-check.txt", pvehooks(tree, "mapping", "check", status=1))
    rows = json.loads(pvehooks(tree, "mapping", "check", "--json", status=1))["mappings"]
    states = {(row["mapping"], row["node"]): row["state"] for row in rows}
    assert states == {
        ("disk", "pve1"): "fits",
        ("disk", "pve2"): "does not fit",
        ("gpu", "pve1"): "does not fit",
        ("gpu", "pve2"): "not mapped",
        ("vgpu", "pve1"): "fits",
    }


def test_check_without_summaries(tree: Path) -> None:
    planted(tree, MAPPINGS.replace("pve2", "pve9"))
    output = pvehooks(tree, "mapping", "check", "disk", status=1)
    assert "disk on pve9: does not fit: there is no node of this name" in output
    planted(tree)
    assert "disk on pve2: unknown: pve2 has published no summary" in pvehooks(tree, "mapping", "check", "disk")


def test_check_of_a_device_that_is_gone(tree: Path) -> None:
    planted(tree, MAPPINGS.replace("0000:03:00.0", "0000:13:00.0"))
    output = pvehooks(tree, "mapping", "check", "disk", status=1)
    assert "there is no PCI device 0000:13:00.0" in output and "pvehooks follow disk --dry-run" in output


def test_check_of_nothing(tree: Path) -> None:
    assert pvehooks(tree, "mapping", "check") == "there are no PCI mappings\n"


# -- export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["terraform", "ansible", "json"])
def test_export(form: str, tree: Path, golden: Golden) -> None:
    planted(tree)
    golden(f"cli/mapping-export-{form}.txt", pvehooks(tree, "mapping", "export", f"--{form}"))


def test_export_is_yaml(tree: Path) -> None:
    yaml = pytest.importorskip("yaml")
    planted(tree)
    (disk,) = yaml.safe_load(pvehooks(tree, "mapping", "export", "disk", "--ansible"))["pvehooks_mappings"]
    assert disk["map"][0] == "id=144d:a808,iommugroup=16,node=pve1,path=0000:03:00.0" and disk["mdev"] is False


@pytest.mark.parametrize("arguments", [[], ["--json", "--terraform"]])
def test_export_wants_one_form(arguments: list[str], tree: Path) -> None:
    assert "give one of" in pvehooks(tree, "mapping", "export", *arguments, status=2)
