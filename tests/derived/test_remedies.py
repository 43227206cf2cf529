"""Commands that change a hostpciN keep all that it says beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived import remedies
from pvehooks.facts.guests import configs
from pvehooks.host import Host
from pvehooks.values import Node, PciMapping, Unread
from tests.beds import pci
from tests.beds.tree import make_fake_tree
from tests.derived.bed import guest_on_node


@pytest.mark.parametrize(
    ("text", "changes", "written"),
    [
        ("0000:01:00.0,pcie=1,x-vga=1", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "0000:02:00.0,pcie=1,x-vga=1"),
        ("host=01:00.0,pcie=1", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "host=02:00.0,pcie=1"),
        ("01:00,romfile=a.bin", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "02:00,romfile=a.bin"),
        ("0000:01:00.0;0000:01:00.1", {"addresses": {"0000:01:00.1": "0000:03:00.0"}}, "'0000:01:00.0;0000:03:00.0'"),
        ("01:00.0", {"addresses": {"0000:01:00.0": "10000:e1:00.0"}}, "10000:e1:00.0"),
        ("01:00.0", {"addresses": {"0000:01:00.00": "0000:02:00.0"}}, "01:00.0"),
        ("0000:01:00", {"addresses": {"0000:01:00.0": "0000:02:00.0"}}, "0000:02:00"),
        ("0000:01:00", {"addresses": {"0000:02:00.0": "0000:03:00.0"}}, "0000:01:00"),
        ("01:00.0", {"addresses": {"0000:05:00.0": "0000:06:00.0", "0000:01:00.0": "0000:02:00.0"}}, "02:00.0"),
        ("01:00,pcie=1", {"addresses": {"0000:01:00.0": "ADDRESS"}}, "ADDRESS,pcie=1"),
        ("mapping=gpu,mdev=nvidia-63,pcie=1", {"without": ("mdev",)}, "mapping=gpu,pcie=1"),
        ("01:00.0,rombar=0", {"without": ("rombar",)}, "01:00.0"),
    ],
)
def test_command(text: str, changes: dict[str, Any], written: str, tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": f"hostpci0: {text}\n"})))
    guest = configs.read(host, "pve1", 100, configs.gather_context(host, "pve1", None))
    assert remedies.command(guest, guest.hostpci[0], **changes) == f"qm set 100 --hostpci0 {written}"


TABLE = (
    "0000:01:00.0 class=030000 id=10de:2684 subsystem=1043:87d0 driver=vfio-pci group=14\n0000:01:00.1 class=040300 id=10de:22ba group=14\n"
)
ENTRIES = (
    "node=pve1,path=0000:01:00.0,id=10de:1111,subsystem-id=1043:0000,iommugroup=9,description=a",
    "node=pve2,path=0000:01:00.0,id=10de:1111,iommugroup=9",
    "node=pve1,path=0000:09:00.0,id=10de:1111,iommugroup=9",
    "node=pve1,path=0000:01:00.1,id=10de:1111,subsystem-id=1043:0000",
    "node=pve1,path=0000:01:00,id=10de:1111",
)
AS_IS = (
    "node=pve1,path=0000:01:00.0,id=10de:2684,subsystem-id=1043:87d0,iommugroup=14,description=a",
    ENTRIES[1],
    ENTRIES[2],
    "node=pve1,path=0000:01:00.1,id=10de:22ba,iommugroup=14",
    "node=pve1,path=0000:01:00,id=10de:2684,subsystem-id=1043:87d0,iommugroup=14",
)


def mapped(tmp_path: Path) -> tuple[PciMapping, Node]:
    lines = "".join(f"\tmap {entry}\n" for entry in ENTRIES)
    _, node = guest_on_node(tmp_path, "", {**pci.plant(TABLE), "etc/pve/mapping/pci.cfg": f"gpu\n{lines}"})
    assert not isinstance(node.mappings, Unread)
    return node.mappings["gpu"], node


def setting(*entries: str) -> str:
    return "pvesh set /cluster/mapping/pci/gpu " + " ".join(f"--map {remedies.for_shell(entry)}" for entry in entries)


def test_a_mapping_is_set_to_what_is_there(tmp_path: Path) -> None:
    """Of the devices of this node that are there; all else stays as it is."""
    mapping, node = mapped(tmp_path)
    assert remedies.mapping_as_is(mapping, node) == setting(*AS_IS)
    assert remedies.mapping_as_is(mapping, node, "1") == "pvesh set /cluster/mapping/pci/gpu --mdev 1"
    node.__dict__["pci"] = Unread("x")
    assert remedies.mapping_as_is(mapping, node) == setting(*ENTRIES)


def test_an_entry_is_moved(tmp_path: Path) -> None:
    mapping, node = mapped(tmp_path)
    assert not isinstance(node.pci, Unread)
    moved = "node=pve1,path=0000:01:00.0,id=10de:2684,iommugroup=14,subsystem-id=1043:87d0"
    assert remedies.mapping_at(mapping, node, "0000:09:00.0", node.pci["0000:01:00.0"]) == setting(*ENTRIES[:2], moved, *ENTRIES[3:])


def test_the_same_address_of_another_node_stays(tmp_path: Path) -> None:
    mapping, node = mapped(tmp_path)
    assert not isinstance(node.pci, Unread)
    moved = "node=pve1,path=0000:01:00.1,id=10de:22ba,iommugroup=14,description=a"
    text = remedies.mapping_at(mapping._replace(written=ENTRIES[:2]), node, "0000:01:00.0", node.pci["0000:01:00.1"])
    assert text == setting(moved, ENTRIES[1])


def test_an_entry_without_a_domain(tmp_path: Path) -> None:
    mapping, node = mapped(tmp_path)
    short = mapping._replace(written=("node=pve1,path=01:00.0", "node=pve1,path=02:00.0"))
    assert remedies.mapping_without(short, node, "0000:01:00.0") == setting("node=pve1,path=02:00.0")


def test_a_new_entry(tmp_path: Path) -> None:
    """Of several paths the first says what it is; of no subsystem there is no word."""
    _, node = mapped(tmp_path)
    assert not isinstance(node.pci, Unread)
    card, sound = node.pci["0000:01:00.0"], node.pci["0000:01:00.1"]
    paths = ("0000:01:00.0", "0000:01:00.1")
    whole = "id=10de:2684,iommugroup=14,node=pve1,path=0000:01:00.0;0000:01:00.1,subsystem-id=1043:87d0"
    assert remedies.mapping_entry(node, paths, card) == whole
    assert remedies.mapping_entry(node, paths[1:], sound) == "id=10de:22ba,iommugroup=14,node=pve1,path=0000:01:00.1"


def test_an_entry_is_taken_out(tmp_path: Path) -> None:
    mapping, node = mapped(tmp_path)
    assert remedies.mapping_without(mapping, node, "0000:09:00.0") == setting(*ENTRIES[:2], *ENTRIES[3:])
    assert remedies.mapping_without(mapping._replace(written=ENTRIES[1:3]), node, "0000:09:00.0") == ""
