"""Objections to binding a device, to releasing it, and to other virtual functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived import bindability
from pvehooks.derived.bindability import Objection
from pvehooks.values import Holder, Node, PciDevice, Unread, Use, Uses
from tests.beds import pci
from tests.derived.bed import guest_on_node

TABLE = """\
0000:00:01.0 class=060400 driver=pcieport group=1 bridge=1
0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=14
0000:01:00.1 class=040300 id=10de:22ba group=14
0000:02:00.0 class=020000 id=8086:1572 driver=i40e group=14
0000:03:00.0 class=020000 id=8086:1572 driver=i40e group=16
0000:03:02.0 class=020000 id=8086:154c driver=iavf group=17 pf=0000:03:00.0
0000:03:02.1 class=020000 id=8086:154c driver=iavf group=18 pf=0000:03:00.0
0000:04:00.0 class=030000 id=10de:2684 driver=vfio-pci group=19
0000:05:00.0 class=020000 id=8086:1572 group=20
"""
GPU, SOUND, NIC, PF, VF, ON_VFIO, IDLE = (f"0000:{rest}" for rest in "01:00.0 01:00.1 02:00.0 03:00.0 03:02.0 04:00.0 05:00.0".split())
RUNNING = Holder(101, "VM 101 (mail)", "hostpci0")
STARTING = Holder(102, "VM 102 (web)", "starting")
AS_ROOT = "Look again as root"


class UsesOf:
    """The uses of some devices."""

    def __init__(self, known: dict[str, Uses]) -> None:
        self._known = known

    def of(self, device: PciDevice) -> Uses:
        return self._known.get(device.address, Uses())


def device_on_node(tmp_path: Path, address: str, uses: dict[str, Uses] | None = None, **facts: Any) -> tuple[PciDevice, Node]:
    _, node = guest_on_node(tmp_path, "", pci.plant(TABLE))
    node.__dict__.update({"uses": UsesOf(uses or {}), "holders": {}, **facts})
    assert not isinstance(node.pci, Unread)
    return node.pci[address], node


def used(*uses: Use, unread: tuple[str, ...] = ()) -> Uses:
    return Uses(uses, unread)


FREE_FIRST = "Free it first: pvehooks takes nothing from the host that is in use"
FREE_NIC = (
    "Free it first: if the node can be reached without it, take it out of its bridge or bond and remove its address (the node's System, Network,"
    " then Apply Configuration)"
)


@pytest.mark.parametrize(
    ("address", "facts", "why", "remedy"),
    [
        pytest.param(GPU, {}, "", "", id="nothing"),
        pytest.param(ON_VFIO, {}, "", "", id="it is"),
        pytest.param(ON_VFIO, {"holders": Unread("x")}, "", "", id="it is, and perhaps a VM's"),
        pytest.param("0000:00:01.0", {}, "is a bridge, and bridges stay with the node", "Name the devices behind it: pvehooks host groups", id="a bridge"),
        pytest.param(GPU, {"iommu": Unread("no groups")}, "cannot be judged: no groups", AS_ROOT, id="the IOMMU is unknown"),
        pytest.param(GPU, {"holders": Unread("x")}, "may be held by a VM: x", AS_ROOT, id="perhaps a VM's"),
        pytest.param(GPU, {"holders": {GPU: (RUNNING,)}}, "is hostpci0 of VM 101 (mail), which is running", "Stop it first: qm shutdown 101", id="a VM's"),
        pytest.param(
            GPU, {"holders": {GPU: (STARTING,)}}, "is reserved for VM 102 (web), which is starting", "Wait until VM 102 has started, or failed to", id="a VM's soon"
        ),
        pytest.param(GPU, {"uses": {GPU: used(Use("holds /"))}}, "holds /", FREE_FIRST, id="the host's"),
        pytest.param(GPU, {"uses": {GPU: used(Use("holds /x", remedy="umount /x"))}}, "holds /x", "umount /x", id="the host's, and how to end it"),
        pytest.param(NIC, {"uses": {NIC: used(Use("is the uplink of vmbr0"))}}, "is the uplink of vmbr0", FREE_NIC, id="the host's network"),
        pytest.param(GPU, {"uses": {GPU: used(Use("is used by CT 105", vmid=105))}}, "is used by CT 105", "Stop 105 first", id="a container's"),
        pytest.param(GPU, {"uses": {GPU: used(Use("is the console", remark=True))}}, "", "", id="a remark"),
        pytest.param(GPU, {"uses": {GPU: used(Use("is it", remark=True), Use("holds /"))}}, "holds /", FREE_FIRST, id="a remark and a use"),
        pytest.param(GPU, {"uses": {GPU: used(unread=("a", "b"))}}, "may be in use, that is unknown: a; b", AS_ROOT, id="unknown"),
        pytest.param(SOUND, {"uses": {SOUND: used(unread=("a",))}}, "", "", id="unknown, but no driver has it"),
        pytest.param(
            PF,
            {},
            "has 2 virtual functions, which vfio-pci does not allow",
            f"Take them away, or pass them through instead: pvehooks bind {PF} --vfs 0 --now --persist",
            id="virtual functions",
        ),
    ],
)  # fmt: skip
def test_to_binding(address: str, facts: dict[str, Any], why: str, remedy: str, tmp_path: Path) -> None:
    found = bindability.to_binding(*device_on_node(tmp_path, address, **facts))
    assert found == (Objection(why, remedy) if why else None)


def test_one_virtual_function(tmp_path: Path) -> None:
    table = "0000:03:00.0 class=020000 driver=i40e group=16\n0000:03:02.0 class=020000 driver=iavf group=17 pf=0000:03:00.0\n"
    _, node = guest_on_node(tmp_path, "", pci.plant(table))
    node.__dict__.update({"uses": UsesOf({}), "holders": {}})
    assert not isinstance(node.pci, Unread)
    found = bindability.to_binding(node.pci[PF], node)
    assert found is not None and found.why == "has 1 virtual function, which vfio-pci does not allow"


@pytest.mark.parametrize(
    ("address", "iommu", "objection"),
    [
        (GPU, None, None),
        (GPU, Unread("x"), None),
        (ON_VFIO, "off", None),
        (GPU, "off", Objection("cannot be bound now, pve1 has no IOMMU groups: it is off", "Note it for later: add --persist")),
    ],
)
def test_to_binding_now(address: str, iommu: Any, objection: Objection | None, tmp_path: Path) -> None:
    device, node = device_on_node(tmp_path, address)
    assert not isinstance(node.iommu, Unread)
    if iommu is not None:
        node.__dict__["iommu"] = node.iommu._replace(active=False, why="it is off") if iommu == "off" else iommu
    assert bindability.to_binding_now(device, node) == objection


@pytest.mark.parametrize(
    ("address", "holders", "objection"),
    [
        (ON_VFIO, {}, None),
        (ON_VFIO, Unread("x"), Objection("may be held by a VM: x", AS_ROOT)),
        (ON_VFIO, {ON_VFIO: (RUNNING,)}, Objection("is hostpci0 of VM 101 (mail), which is running", "Stop it first: qm shutdown 101")),
        (ON_VFIO, {GPU: (RUNNING,)}, None),
        (
            GPU,
            {SOUND: (STARTING,)},
            Objection(
                f"shares its IOMMU group with {SOUND}, which is reserved for VM 102 (web), which is starting",
                "Wait until VM 102 has started, or failed to",
            ),
        ),
    ],
)
def test_to_release(address: str, holders: Any, objection: Objection | None, tmp_path: Path) -> None:
    assert bindability.to_release(*device_on_node(tmp_path, address, holders=holders)) == objection


@pytest.mark.parametrize(
    ("address", "facts", "objection"),
    [
        (PF, {}, None),
        (GPU, {}, None),
        (VF, {}, Objection(f"is a virtual function itself, of {PF}", f"Name that: pvehooks bind {PF} --vfs N")),
        (ON_VFIO, {}, Objection("is on vfio-pci, and only a driver of the host makes virtual functions", f"pvehooks unbind {ON_VFIO}")),
        (PF, {"uses": {"0000:03:02.1": used(Use("has the interface eth0"))}}, Objection("has a virtual function in use: 0000:03:02.1 has the interface eth0", FREE_NIC)),
        (PF, {"holders": {VF: (RUNNING,)}}, Objection(f"has a virtual function in use: {VF} is hostpci0 of VM 101 (mail), which is running", "Stop it first: qm shutdown 101")),
        (PF, {"pci": Unread("x")}, None),
    ],
)  # fmt: skip
def test_to_change_of_vfs(address: str, facts: dict[str, Any], objection: Objection | None, tmp_path: Path) -> None:
    device, node = device_on_node(tmp_path, address, **{name: value for name, value in facts.items() if name != "pci"})
    node.__dict__.update({name: value for name, value in facts.items() if name == "pci"})
    assert bindability.to_change_of_vfs(device, node) == objection


@pytest.mark.parametrize(
    ("address", "uses", "remarks"),
    [
        (PF, {}, []),
        (GPU, {GPU: used(Use("is the console", remark=True), Use("holds /"))}, ["it is the console", f"its IOMMU group 14 also has {NIC} (Ethernet controller [8086:1572]), on i40e: a VM that gets the one also takes the other"]),
        (SOUND, {SOUND: used(Use("is loud", remark=True))}, [f"its IOMMU group 14 also has {NIC} (Ethernet controller [8086:1572]), on i40e: a VM that gets the one also takes the other"]),
        (ON_VFIO, {ON_VFIO: used(Use("is the console", remark=True))}, []),
    ],
)  # fmt: skip
def test_remarks(address: str, uses: dict[str, Uses], remarks: list[str], tmp_path: Path) -> None:
    assert list(bindability.remarks(*device_on_node(tmp_path, address, uses))) == remarks


def test_who_shares_the_group(tmp_path: Path) -> None:
    """Each other device of another slot, bridges left out, whatever driver it has."""
    table = "0000:01:00.0 class=020000 group=1\n0000:02:00.0 class=020000 group=1\n0000:03:00.0 class=060400 group=1 bridge=1\n"
    _, node = guest_on_node(tmp_path, "", pci.plant(table))
    assert not isinstance(node.pci, Unread)
    (found,) = bindability.remarks(node.pci["0000:01:00.0"], node)
    assert "also has 0000:02:00.0 (" in found and ", without a driver: " in found
