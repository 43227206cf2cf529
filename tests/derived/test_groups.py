"""The IOMMU groups of a node, and who names what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived.groups import groups, member, named
from pvehooks.derived.guest_devices import host_device_among, named_by_guests
from pvehooks.values import Holder, Node, PciDevice, Unread, Use, Uses
from pvehooks.values.groups import GroupMember, Naming
from tests.beds import pci
from tests.derived.bed import CONFIGS, guest_on_node

TABLE = """\
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=2 bridge=1
0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=10
0000:01:00.1 class=040300 id=10de:22ba driver=vfio-pci group=10
0000:02:00.0 class=020000 id=8086:1572 driver=i40e group=2
0000:03:00.0 class=020000 id=8086:1533 driver=igb
0000:04:00.0 class=020000 id=8086:1533
"""
GPU, SOUND, NIC, LOOSE, IDLE = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0"


class UsesOf:
    """Uses of each device."""

    def __init__(self, *uses: Use, unread: tuple[str, ...] = ()) -> None:
        self._known = Uses(uses, unread)

    def of(self, device: PciDevice) -> Uses:
        return self._known


def node_with(tmp_path: Path, *configs: str, **facts: Any) -> Node:
    files = {**pci.plant(TABLE), **{f"{CONFIGS}/{101 + number}.conf": config for number, config in enumerate(configs)}}
    _, node = guest_on_node(tmp_path, "name: web\n", files)
    node.__dict__.update({"uses": UsesOf(), "holders": {}, **facts})
    return node


def shape(node: Node, *only: str) -> list[tuple[str, list[str]]]:
    return [(group.name, [each.device.address for each in group.members]) for group in groups(node, frozenset(only) if only else None)]


def device(node: Node, address: str) -> PciDevice:
    assert not isinstance(node.pci, Unread)
    return node.pci[address]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ((), [("2", ["0000:00:01.0", NIC]), ("10", [GPU, SOUND]), ("", [LOOSE, IDLE])]),
        ((SOUND,), [("10", [GPU, SOUND])]),
        ((LOOSE,), [("", [LOOSE])]),
        ((LOOSE, NIC), [("2", ["0000:00:01.0", NIC]), ("", [LOOSE])]),
        (("0000:09:00.0",), []),
    ],
)
def test_groups(only: tuple[str, ...], expected: list[tuple[str, list[str]]], tmp_path: Path) -> None:
    assert shape(node_with(tmp_path), *only) == expected


def test_no_bus(tmp_path: Path) -> None:
    assert shape(node_with(tmp_path, pci=Unread("x"))) == []


def test_who_names_what(tmp_path: Path) -> None:
    node = node_with(
        tmp_path,
        f"template: 1\nhostpci0: {GPU}\n",
        "name: none\n",
        "name: games\nhostpci0: 0000:01:00\nhostpci1: 0000:02:00.0\nhostpci3: mapping=gone\n",
        "name: more\nargs: -device vfio-pci,host=01:00.1\nhostpci0: 0000:01:00.1;0000:09:00.0\n",
    )
    games = Naming(103, "VM 103 (games)", "hostpci0", False)
    found = {each.device.address: each.named for group in groups(node) for each in group.members if each.named}
    assert found == {
        GPU: (games,),
        SOUND: (games, Naming(104, "VM 104 (more)", "hostpci0, args", False)),
        NIC: (games._replace(option="hostpci1"),),
    }


def test_what_a_start_takes_as_well(tmp_path: Path) -> None:
    """Of the group, what the VM does not name; for a device in `args` Proxmox VE takes nothing."""
    node = node_with(
        tmp_path,
        f"template: 1\nhostpci0: {GPU}\n",
        f"hostpci0: {GPU}\n",
        "hostpci0: 0000:01:00\n",
        "args: -device vfio-pci,host=01:00.1\n",
    )
    assert {each.device.address: each.also for group in groups(node) for each in group.members if each.also} == {SOUND: (102,)}


def test_no_one_names_anything_where_the_vms_are_unknown(tmp_path: Path) -> None:
    node = node_with(tmp_path, f"hostpci0: {GPU}\n", guests=Unread("x"))
    assert [each.named for group in groups(node) for each in group.members] == [()] * 6
    assert named_by_guests(node) == {}


def test_what_a_config_names(tmp_path: Path) -> None:
    guest, node = guest_on_node(
        tmp_path, "hostpci0: 0000:01:00;0000:09:00.0\nhostpci1: 0000:01:00.1\nhostpci2: mapping=gone\n", pci.plant(TABLE)
    )
    found = named(guest, node)
    assert found.there == {GPU: ("hostpci0",), SOUND: ("hostpci0", "hostpci1")}
    assert found.absent == (("hostpci0", "0000:09:00.0"),)


HELD = Holder(101, "VM 101 (mail)", "hostpci0")


@pytest.mark.parametrize(
    ("address", "facts", "expected"),
    [
        pytest.param("0000:00:01.0", {"uses": UsesOf(Use("x")), "holders": Unread("x")}, {"on_host": False}, id="a bridge"),
        pytest.param(GPU, {"holders": {GPU: (HELD,), NIC: ()}}, {"on_host": True, "holders": (HELD,)}, id="held"),
        pytest.param(GPU, {"uses": UsesOf(Use("a"), unread=("b",))}, {"on_host": True, "uses": (Use("a"),), "unread": ("b",)}, id="used"),
        pytest.param(
            GPU, {"uses": UsesOf(unread=("b",)), "holders": Unread("a")}, {"on_host": True, "unread": ("a", "b")}, id="nothing is known"
        ),
        pytest.param(SOUND, {"uses": UsesOf(unread=("b",)), "holders": Unread("a")}, {"on_host": False, "unread": ("a",)}, id="on vfio"),
        pytest.param(IDLE, {"uses": UsesOf(unread=("b",))}, {"on_host": False}, id="without a driver"),
    ],
)
def test_member(address: str, facts: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    node = node_with(tmp_path, **facts)
    found = device(node, address)
    assert member(found, node) == GroupMember(found, **expected)


def test_virtual_functions_of_a_device_without_a_driver_may_be_in_use(tmp_path: Path) -> None:
    table = "0000:03:00.0 class=020000 group=16\n0000:03:02.0 class=020000 driver=iavf group=17 pf=0000:03:00.0\n"
    _, node = guest_on_node(tmp_path, "", pci.plant(table))
    node.__dict__.update({"uses": UsesOf(unread=("b",)), "holders": {}})
    assert member(device(node, "0000:03:00.0"), node).unread == ("b",)


def test_guests_by_the_devices_that_they_name(tmp_path: Path) -> None:
    node = node_with(
        tmp_path,
        f"template: 1\nhostpci0: {GPU}\n",
        "hostpci0: 0000:01:00\nhostpci1: 0000:01:00.1\nhostpci2: mapping=gone\n",
        f"hostpci0: {SOUND}\n",
    )
    found = {address: [guest.vmid for guest in guests] for address, guests in named_by_guests(node).items()}
    assert found == {GPU: [102], SOUND: [102, 103]}


@pytest.mark.parametrize(
    ("text", "uses", "words"),
    [
        ("ids=10de:2684", (Use("holds /"),), "0000:01:00.0 (graphics card [10de:2684]), which holds /,"),
        ("ids=10DE:2684,8086:ffff", (Use("is loud", remark=True), Use("holds /")), "0000:01:00.0 (graphics card [10de:2684]), which holds /,"),
        ("ids=10de:2684", (), ""),
        ("ids=10de:2684", (Use("is loud", remark=True),), ""),
        ("ids=10de:2684", (Use("is used by CT 105", vmid=105),), ""),
        ("ids=8086:1901", (Use("holds /"),), ""),
        ("ids=8086:ffff", (Use("holds /"),), ""),
        ("no id", (Use("holds /"),), ""),
        ("0x10de:2684", (Use("holds /"),), ""),
    ],
)  # fmt: skip
def test_a_device_of_the_host_in_a_list_of_ids(text: str, uses: tuple[Use, ...], words: str, tmp_path: Path) -> None:
    assert host_device_among(text, node_with(tmp_path, uses=UsesOf(*uses))) == words
