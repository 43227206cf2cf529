"""What could be passed through, in a word or two and in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived.candidates import candidates, described, host_uses, needed_to_boot, working
from pvehooks.values import Holder, Node, PciDevice, Unread, Use, Uses
from pvehooks.values.boot import CommandLines
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import guest_on_node

TABLE = """\
0000:00:01.0 class=060400 id=8086:1901 driver=pcieport group=14 bridge=1
0000:00:1f.3 class=0c0500 id=8086:7aa3 driver=i801_smbus group=12
0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=14
0000:01:00.1 class=040300 id=10de:22ba driver=vfio-pci group=14
0000:02:00.0 class=020000 id=8086:1572 driver=i40e group=15
0000:02:00.1 class=020000 id=8086:1572 driver=i40e group=15
0000:03:00.0 class=020000 id=8086:1572 group=15 override=vfio-pci
0000:04:00.0 class=020000 id=8086:1533 reset=-
"""
GPU, SOUND, NIC, SECOND, THIRD, LOOSE = (f"0000:{rest}" for rest in "01:00.0 01:00.1 02:00.0 02:00.1 03:00.0 04:00.0".split())
MAIL = Holder(101, "VM 101 (mail)", "hostpci0")


class UsesOf:
    """The uses of some devices."""

    def __init__(self, known: dict[str, Uses]) -> None:
        self._known = known

    def of(self, device: PciDevice) -> Uses:
        return self._known.get(device.address, Uses())


def node_with(tmp_path: Path, uses: dict[str, Uses] | None = None, table: str = TABLE, files: dict[str, Content] | None = None, **facts: Any) -> Node:
    _, node = guest_on_node(tmp_path, "", {**pci.plant(table), **(files or {})})
    node.__dict__.update({"uses": UsesOf(uses or {}), "holders": {}, **facts})
    return node


def used(*uses: Use, unread: tuple[str, ...] = ()) -> Uses:
    return Uses(uses, unread)


def said(node: Node, address: str, also: tuple[str, ...] = ()) -> tuple[str, str]:
    (found,) = (each for each in candidates(node) if each.device.address == address)
    return described(found, node, also)


def test_which_they_are(tmp_path: Path) -> None:
    """Devices that do work, no bridges, and no virtual functions."""
    node = node_with(tmp_path, table=f"{TABLE}0000:02:10.0 class=020000 driver=iavf group=16 pf=0000:02:00.0\n")
    found = {each.device.address: [other.device.address for other in each.group_members] for each in candidates(node)}
    assert found == {
        GPU: [SOUND],
        SOUND: [GPU],
        NIC: [SECOND, THIRD],
        SECOND: [NIC, THIRD],
        THIRD: [NIC, SECOND],
        LOOSE: [],
    }  # fmt: skip
    assert not isinstance(node.pci, Unread)
    assert {address for address, device in node.pci.items() if working(device)} == {*found, "0000:02:10.0"}


@pytest.mark.parametrize(
    ("address", "uses", "facts", "verdict", "words"),
    [
        pytest.param(GPU, {}, {}, "free", "group 14; driver nouveau; reset: flr, bus", id="free with its sound"),
        pytest.param(SOUND, {}, {}, "free", "group 14; vfio has it; reset: flr, bus", id="on vfio"),
        pytest.param(NIC, {}, {}, "free", f"group 15; with {THIRD}; driver i40e; reset: flr, bus", id="with an idle one"),
        pytest.param(THIRD, {}, {}, "shared group", f"group 15; with {NIC} and with 1 more; no driver; driver_override vfio-pci; reset: flr, bus", id="with working ones"),
        pytest.param(LOOSE, {}, {}, "no IOMMU", "no driver; cannot be reset", id="no group"),
        pytest.param(NIC, {NIC: used(Use("has vmbr0"))}, {}, "not for passthrough", f"group 15; with {THIRD}; driver i40e; reset: flr, bus; has vmbr0", id="the host's"),
        pytest.param(
            THIRD,
            {SECOND: used(Use("has vmbr0"))},
            {},
            "not for passthrough",
            f"group 15; with {SECOND}, which has vmbr0 and with 1 more; no driver; driver_override vfio-pci; reset: flr, bus",
            id="with one of the host's, which is named first",
        ),
        pytest.param(NIC, {NIC: used(Use("is CT 105's", vmid=105))}, {}, "in use", f"group 15; with {THIRD}; driver i40e; reset: flr, bus; is CT 105's", id="a container's"),
        pytest.param(
            GPU,
            {},
            {"holders": {SOUND: (MAIL,)}},
            "in use",
            f"group 14; with {SOUND}, which is hostpci0 of VM 101 (mail), which is running; driver nouveau; reset: flr, bus",
            id="a VM has the other function",
        ),
        pytest.param(GPU, {}, {"holders": {GPU: (MAIL,)}}, "in use", "group 14; driver nouveau; reset: flr, bus; is hostpci0 of VM 101 (mail), which is running", id="a VM's"),
        pytest.param(GPU, {GPU: used(Use("is the console", remark=True))}, {}, "needed at the node", "group 14; driver nouveau; reset: flr, bus; is the console", id="a remark"),
        pytest.param(
            THIRD,
            {NIC: used(Use("is the last NIC", remark=True))},
            {},
            "needed at the node",
            f"group 15; with {NIC}, which is the last NIC and with 1 more; no driver; driver_override vfio-pci; reset: flr, bus",
            id="a remark on another",
        ),
        pytest.param(GPU, {GPU: used(unread=("a", "b")), SOUND: used(unread=("a",))}, {}, "not examined", "group 14; driver nouveau; reset: flr, bus; not known: a; not known: b", id="unknown"),
        pytest.param(GPU, {}, {"holders": Unread("no reason")}, "not examined", f"group 14; with {SOUND}; driver nouveau; reset: flr, bus; not known: no reason", id="holders are unknown"),
    ],
)  # fmt: skip
def test_described(address: str, uses: dict[str, Uses], facts: dict[str, Any], verdict: str, words: str, tmp_path: Path) -> None:
    assert said(node_with(tmp_path, uses, **facts), address) == (verdict, words)


def test_more_that_is_known_stands_before_its_uses(tmp_path: Path) -> None:
    node = node_with(tmp_path, {GPU: used(Use("holds /"))})
    assert said(node, GPU, ("up to 7 VFs",))[1] == "group 14; driver nouveau; reset: flr, bus; up to 7 VFs; holds /"


def test_reset_methods_are_unknown(tmp_path: Path) -> None:
    node = node_with(tmp_path)
    assert not isinstance(node.pci, Unread)
    node.pci[GPU].__dict__["reset_methods"] = Unread("x")
    assert said(node, GPU)[1] == "group 14; driver nouveau"


def test_the_console_is_in_its_memory(tmp_path: Path) -> None:
    node = node_with(tmp_path)
    assert not isinstance(node.pci, Unread)
    node.pci[GPU].__dict__["framebuffer"] = "efifb"
    assert said(node, GPU)[1] == "group 14; driver nouveau; reset: flr, bus; efifb is in its memory"


@pytest.mark.parametrize(
    ("more", "verdict", "words"),
    [
        ("dead=1", "dead", "is dead, its config space reads all ones"),
        ("", "in use", "has 1 virtual function, which vanish when it is taken"),
    ],
)
def test_one_that_is_kept(more: str, verdict: str, words: str, tmp_path: Path) -> None:
    table = f"0000:03:00.0 class=020000 driver=i40e group=16 {more}\n0000:03:02.0 class=020000 driver=iavf group=17 pf=0000:03:00.0\n"
    found = said(node_with(tmp_path, table=table), "0000:03:00.0")
    assert (found[0], found[1].rpartition("; ")[2]) == (verdict, words)


def test_memory_that_the_firmware_reserves(tmp_path: Path) -> None:
    files: dict[str, Content] = {"sys/kernel/iommu_groups/14/reserved_regions": "0x00000000bdf83000 0x00000000bdf84fff direct\n"}
    verdict, words = said(node_with(tmp_path, files=files), GPU)
    assert verdict == "not for passthrough"
    assert words.endswith("; has memory reserved by the firmware (RMRR), the kernel refuses it to vfio")


def test_what_claims_it_at_boot(tmp_path: Path) -> None:
    files: dict[str, Content] = {"etc/modprobe.d/vfio.conf": "options vfio-pci ids=10de:2684\n"}
    node = node_with(tmp_path, files=files)
    assert "; vfio-pci claims its ids at boot (/etc/modprobe.d/vfio.conf)" in said(node, GPU)[1]
    assert "claims" not in said(node, SOUND)[1]
    node.__dict__["bound_ids"] = Unread("x")
    assert "claims" not in said(node, GPU)[1]


def test_uses_of_the_host_that_weigh(tmp_path: Path) -> None:
    uses = (Use("holds /"), Use("is loud", remark=True), Use("is CT 105's", vmid=105), Use("has vmbr0"))
    node = node_with(tmp_path, {GPU: used(*uses)})
    assert not isinstance(node.pci, Unread)
    assert host_uses(node.pci[GPU], node) == (uses[0], uses[3])


@pytest.mark.parametrize(
    ("use", "running", "needed"),
    [
        (Use("holds / (ext4 on nvme0n1p2)"), (), True),
        (Use("holds /, /srv"), (), True),
        (Use("holds /boot/efi"), (), True),
        (Use("is an ESP of proxmox-boot-tool"), (), True),
        (Use("holds /srv"), (), False),
        (Use("holds / (in CT 105)", vmid=105), (), False),
        (Use("holds / (once)", remark=True), (), False),
        (Use("is in the ZFS pool rpool (nvme0n1p3)"), ("root=ZFS=rpool/ROOT/pve-1",), True),
        (Use("is in the ZFS pool rpool (nvme0n1p3)"), ("quiet", "root=zfs:rpool/ROOT/pve-1"), True),
        (Use("is in the ZFS pool tank (sda)"), ("root=ZFS=rpool/ROOT/pve-1",), False),
        (Use("is in the ZFS pool rpool (sda)"), ("root=/dev/sda2", "boot=zfs"), False),
    ],
)
def test_needed_to_boot(use: Use, running: tuple[str, ...], needed: bool, tmp_path: Path) -> None:
    node = node_with(tmp_path, files={"proc/cmdline": " ".join(running) + "\n"})
    assert isinstance(node.command_lines, CommandLines)
    assert needed_to_boot(use, node) is needed


@pytest.mark.parametrize("whole", [True, False])
def test_the_command_line_is_unknown(whole: bool, tmp_path: Path) -> None:
    node = node_with(tmp_path, files={"proc/cmdline": "root=ZFS=rpool/ROOT/pve-1\n"})
    assert isinstance(node.command_lines, CommandLines)
    node.__dict__["command_lines"] = Unread("x") if whole else node.command_lines._replace(running=Unread("x"))
    assert not needed_to_boot(Use("is in the ZFS pool rpool (nvme0n1p3)"), node)
