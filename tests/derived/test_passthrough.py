"""What a start would take of the node's devices, and what can be reset between two starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived import passthrough
from pvehooks.values import Guest, Holder, Node, PciDevice, Unread, Use, Uses
from tests.beds import pci
from tests.derived.bed import guest_on_node

TABLE = """\
0000:00:1f.3 class=040300 id=8086:7ad0 driver=snd_hda_intel group=9
0000:00:1f.4 class=0c0500 id=8086:7aa3 driver=i801_smbus group=9
0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=14
0000:01:00.1 class=040300 id=10de:22ba driver=snd_hda_intel group=14
0000:02:00.0 class=020000 id=8086:1572 driver=i40e group=15
0000:03:00.0 class=060400 id=8086:1901 driver=pcieport group=16 bridge=1
0000:04:00.0 class=020000 id=8086:1572 driver=vfio-pci group=16
0000:04:00.1 class=020000 id=8086:1572 group=16
"""
GPU, SOUND, NIC, ON_VFIO, BESIDE = "0000:01:00.0", "0000:01:00.1", "0000:02:00.0", "0000:04:00.0", "0000:04:00.1"
OTHER = Holder(101, "VM 101 (mail)", "hostpci0")
OURS = Holder(100, "VM 100 (web)", "hostpci0")
MAPPING = {"etc/pve/mapping/pci.cfg": "nic\n" + "".join(f"\tmap node=pve1,path={each},id=8086:1572\n" for each in (NIC, ON_VFIO, BESIDE))}


def guest_context(tmp_path: Path, config: str, table: str = TABLE, **facts: Any) -> tuple[Guest, Node]:
    guest, node = guest_on_node(tmp_path, config, {**pci.plant(table), **MAPPING})
    node.__dict__.update({"holders": {}, **facts})
    return guest, node


def device(node: Node, address: str) -> PciDevice:
    assert not isinstance(node.pci, Unread)
    return node.pci[address]


@pytest.mark.parametrize(
    ("config", "facts", "claims"),
    [
        pytest.param("", {}, [], id="none"),
        pytest.param(f"hostpci0: {GPU}\n", {}, [("hostpci0", [GPU], False)], id="one"),
        pytest.param("hostpci0: 0000:01:00\n", {}, [("hostpci0", [GPU, SOUND], False)], id="a slot"),
        pytest.param(f"hostpci0: {GPU};{NIC}\n", {}, [("hostpci0", [GPU, NIC], False)], id="a list"),
        pytest.param("hostpci0: 0000:09:00.0\n", {}, [("hostpci0", [], False)], id="one that is not there"),
        pytest.param(f"hostpci0: {GPU}\n", {"holders": {GPU: (OTHER,)}}, [("hostpci0", [GPU], False)], id="one that another VM has"),
        pytest.param(f"hostpci0: {GPU}\nhostpci1: {GPU}\n", {}, [("hostpci0", [GPU], False), ("hostpci1", [GPU], False)], id="one twice"),
        pytest.param("hostpci0: mapping=nic\n", {}, [("hostpci0", [NIC], False)], id="the first alternative"),
        pytest.param("hostpci0: mapping=nic\n", {"holders": {NIC: (OTHER,)}}, [("hostpci0", [ON_VFIO], False)], id="the first that is free"),
        pytest.param("hostpci0: mapping=nic\n", {"holders": {NIC: (OURS,)}}, [("hostpci0", [NIC], False)], id="one that it has itself"),
        pytest.param("hostpci0: mapping=nic\n", {"holders": {NIC: (OURS, OTHER)}}, [("hostpci0", [ON_VFIO], False)], id="one that both have"),
        pytest.param("hostpci0: mapping=nic\n", {"holders": {NIC: (OTHER,), ON_VFIO: (OTHER,), BESIDE: (OTHER,)}}, [("hostpci0", [NIC], False)], id="none is free"),
        pytest.param("hostpci0: mapping=nic\n", {"holders": Unread("x")}, [("hostpci0", [NIC], False)], id="which are free is unknown"),
        pytest.param(
            "hostpci0: mapping=nic\nhostpci1: mapping=nic\nhostpci2: mapping=nic\nhostpci3: mapping=nic\n",
            {},
            [("hostpci0", [NIC], False), ("hostpci1", [ON_VFIO], False), ("hostpci2", [BESIDE], False), ("hostpci3", [NIC], True)],
            id="more than there are",
        ),
        pytest.param("hostpci0: mapping=gone\nhostpci1: mapping=nic\n", {}, [("hostpci1", [NIC], False)], id="an unknown mapping"),
        pytest.param(
            f"hostpci0: {NIC}\nhostpci1: mapping=nic\nargs: -device vfio-pci,host=01:00.0\n",
            {},
            [("hostpci0", [NIC], False), ("hostpci1", [ON_VFIO], False), ("args", [GPU], False)],
            id="an alternative that the VM has already",
        ),
    ],
)  # fmt: skip
def test_claims(config: str, facts: dict[str, Any], claims: list[tuple[str, list[str], bool]], tmp_path: Path) -> None:
    found = passthrough.claims(*guest_context(tmp_path, config, **facts))
    assert [(each.entry.option, [device.address for device in each.devices], each.exhausted) for each in found] == claims


def test_other_vms_that_hold_it(tmp_path: Path) -> None:
    guest, node = guest_context(tmp_path, "", holders={GPU: (OURS, OTHER)})
    assert passthrough.other_holders(GPU, guest, node) == [OTHER]
    assert passthrough.other_holders(NIC, guest, node) == []
    node.__dict__["holders"] = Unread("x")
    assert passthrough.other_holders(GPU, guest, node) == []


def test_alternatives_of_which_one_is_gone_are_not_exhausted(tmp_path: Path) -> None:
    table = "0000:02:00.0 class=020000 id=8086:1572 group=15\n"
    found = passthrough.claims(*guest_context(tmp_path, "hostpci0: mapping=nic\nhostpci1: mapping=nic\n", table))
    assert [each.exhausted for each in found] == [False, False]


def test_mediated_devices_are_not_exhausted(tmp_path: Path) -> None:
    config = "".join(f"hostpci{number}: mapping=nic,mdev=a\n" for number in range(4))
    assert [each.exhausted for each in passthrough.claims(*guest_context(tmp_path, config))] == [False] * 4


@pytest.mark.parametrize(
    ("config", "taken", "members"),
    [
        (f"hostpci0: {GPU}\n", [GPU], [SOUND]),
        ("hostpci0: 0000:01:00\n", [GPU, SOUND], []),
        (f"hostpci0: {GPU}\nhostpci1: {GPU}\n", [GPU], [SOUND]),
        (f"hostpci0: {NIC}\n", [NIC], []),
        (f"hostpci0: {BESIDE}\nhostpci1: {GPU}\n", [BESIDE, GPU], [ON_VFIO, SOUND]),
        (f"hostpci0: {GPU},mdev=nvidia-1\n", [], []),
        (f"hostpci0: {GPU},driver=keep\n", [], []),
    ],
)
def test_taken(config: str, taken: list[str], members: list[str], tmp_path: Path) -> None:
    guest, node = guest_context(tmp_path, config)
    assert [device.address for _, device in passthrough.taken(guest, node)] == taken
    assert [each.device.address for each in passthrough.group_members(guest, node)] == members


def test_each_member_is_taken_once(tmp_path: Path) -> None:
    table = "".join(f"0000:0{number}:00.0 class=020000 group=15\n" for number in range(1, 5))
    guest, node = guest_context(tmp_path, "hostpci0: 0000:01:00.0\nhostpci1: 0000:02:00.0\n", table)
    found = [(each.claimed.address, each.device.address) for each in passthrough.group_members(guest, node)]
    assert found == [("0000:01:00.0", "0000:03:00.0"), ("0000:01:00.0", "0000:04:00.0")]


@pytest.mark.parametrize("iommu", ["unread", "off"])
def test_without_an_iommu_no_device_goes_along(iommu: str, tmp_path: Path) -> None:
    guest, node = guest_context(tmp_path, f"hostpci0: {GPU}\n")
    assert not isinstance(node.iommu, Unread)
    assert passthrough.working_iommu(node) == node.iommu
    node.__dict__["iommu"] = Unread("x") if iommu == "unread" else node.iommu._replace(active=False)
    assert passthrough.group_members(guest, node) == ()
    assert passthrough.working_iommu(node) is None


def test_another_guest_has_other_claims(tmp_path: Path) -> None:
    """What was worked out is kept for the guest that was asked about last."""
    guest, node = guest_context(tmp_path / "one", f"hostpci0: {GPU}\n")
    another, _ = guest_context(tmp_path / "other", f"hostpci0: {NIC}\n")
    for each, address in ((guest, GPU), (another, NIC), (guest, GPU)):
        assert list(passthrough.named(each, node)) == [address]
        assert passthrough.named(each, node) is passthrough.named(each, node)


def test_a_device_behind_a_named_one(tmp_path: Path) -> None:
    guest, node = guest_context(tmp_path, f"hostpci0: {GPU}\n")
    behind = device(node, NIC)
    behind.__dict__["upstream"] = ("0000:00:01.0", GPU)
    assert passthrough.behind_named(behind, guest, node)
    behind.__dict__["upstream"] = ("0000:00:01.0",)
    assert not passthrough.behind_named(behind, guest, node)


@pytest.mark.parametrize(
    ("how", "words", "now"),
    [
        ("hostpci0", "is hostpci0 of VM 101 (mail)", ", which is running"),
        ("args", "is in the args of VM 101 (mail)", ", which is running"),
        ("reserved", "is reserved for VM 101 (mail)", ", which is running"),
        ("starting", "is reserved for VM 101 (mail), which is starting", ""),
    ],
)
def test_how_a_vm_has_it(how: str, words: str, now: str) -> None:
    assert passthrough.holder_phrase(OTHER._replace(how=how)) == words
    assert passthrough.holder_phrase_now(OTHER._replace(how=how)) == words + now


@pytest.mark.parametrize(
    ("driver", "felt"),
    [("nouveau", True), ("vfio-pci", False), ("mlx5-vfio-pci", False), ("pci-stub", False), ("pcieport", False), ("", False)],
)
def test_a_driver_of_the_host(driver: str, felt: bool, tmp_path: Path) -> None:
    _, node = guest_context(tmp_path, "", f"{GPU} class=030000{f' driver={driver}' if driver else ''} group=1\n")
    assert passthrough.on_host_driver(device(node, GPU)) is felt


class UsesOf:
    """Some uses of any device."""

    def __init__(self, *uses: Use) -> None:
        self._uses = uses

    def of(self, device: PciDevice) -> Uses:
        return Uses(self._uses)


def test_uses(tmp_path: Path) -> None:
    known = (Use("is loud", remark=True), Use("is ours", vmid=100), Use("is theirs", vmid=101), Use("holds /"))
    guest, node = guest_context(tmp_path, "", uses=UsesOf(*known))
    gpu = device(node, GPU)
    assert passthrough.uses(gpu, node) == Uses(known)
    assert passthrough.blocking_uses(gpu, guest, node) == [known[2], known[3]]
    node.__dict__["uses"] = Unread("no reason")
    assert passthrough.uses(gpu, node) == Uses(unread=("no reason",))


CANNOT = "it shares its bus with {} ({} [8086:1533]), which the VM does not get"


@pytest.mark.parametrize(
    ("table", "own", "why"),
    [
        pytest.param("0000:05:00.0 class=020000 group=1\n", (), "", id="it can"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=bus\n", (), "", id="alone on its bus"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n", (), "the kernel knows no way to", id="alone, and cannot"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:05:00.1 class=020000 group=2\n", ("0000:05:00.1",), "", id="with one of the VM's"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:05:00.1 class=020000 group=2\n", ("0000:09:00.1",), CANNOT.format("0000:05:00.1", "Ethernet controller"), id="with another's"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=bus\n0000:05:00.1 class=020000 group=2\n", (), CANNOT.format("0000:05:00.1", "Ethernet controller"), id="with another's, by bus"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:05:00.1 class=020000 group=1\n", ("0000:05:00.0",), "", id="with one of its group"),
        pytest.param("0000:05:00.0 class=020000 reset=-\n0000:05:00.1 class=020000\n", ("0000:05:00.0",), CANNOT.format("0000:05:00.1", "Ethernet controller"), id="no group is no common one"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:05:00.1 class=060400 group=1 bridge=1\n", ("0000:05:00.0",), CANNOT.format("0000:05:00.1", "PCI bridge"), id="with a bridge"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:05:01.0 class=020000 group=2 pf=0000:05:00.0\n", (), "the kernel knows no way to", id="with its virtual function"),
        pytest.param("0000:05:00.0 class=020000 group=1 reset=-\n0000:15:00.0 class=020000 group=2\n", (), "the kernel knows no way to", id="with none of another bus"),
    ],
)  # fmt: skip
def test_hindrance(table: str, own: tuple[str, ...], why: str, tmp_path: Path) -> None:
    _, node = guest_context(tmp_path, "", table)
    assert passthrough.hindrance(device(node, "0000:05:00.0"), own, node)[0] == why


def test_what_is_not_known_to_hinder_it(tmp_path: Path) -> None:
    _, node = guest_context(tmp_path, "", "0000:05:00.0 class=020000 group=1 reset=-\n0000:05:00.1 class=020000 group=2 reset=-\n")
    first = device(node, "0000:05:00.0")
    assert passthrough.hindrance(first, (), node)[1] is device(node, "0000:05:00.1")
    first.__dict__["physfn"] = "0000:05:00.1"
    assert passthrough.hindrance(first, (), node) == ("", None)
    del first.__dict__["physfn"]
    first.__dict__["reset_methods"] = Unread("x")
    assert passthrough.hindrance(first, (), node) == ("", None)


@pytest.mark.parametrize(("reset", "why"), [("-", "it has no reset of its own, and no bus of its own that could be reset"), ("bus", "")])
def test_on_a_root_bus(reset: str, why: str, tmp_path: Path) -> None:
    _, node = guest_context(tmp_path, "", f"0000:00:05.0 class=020000 group=1 reset={reset}\n0000:00:06.0 class=020000 group=2\n")
    assert passthrough.hindrance(device(node, "0000:00:05.0"), (), node)[0] == why
