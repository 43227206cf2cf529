"""Which physical function a missing virtual function is of, why it is not there, and the command that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived.absent_vfs import absent_vf, late_sources, sources_of
from pvehooks.values import Holder, Node, PciDevice, Unread
from pvehooks.values.boot import Dkms, Modules
from pvehooks.values.pci import VfSource
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import CONFIGS, Support, guest_on_node

NETWORK = "0000:05:00.0 class=020000 id=8086:10fb driver=ixgbe group=40\n0000:05:00.1 class=020000 id=8086:10fb driver=ixgbe group=41\n"
IXGBE = {"0000:05:00.0": (63, 128, 2), "0000:05:00.1": (63, 128, 2)}
# Without numbers of its own (kernels before 4.14 show none).
BROADCOM = (
    "0000:5e:00.0 class=020000 id=14e4:16d7 driver=bnxt_en group=45\n0000:5e:00.1 class=020000 id=14e4:16d7 driver=bnxt_en group=46\n"
)
NO_SR_IOV = "it shows no SR-IOV"


def sriov(address: str, total: int, offset: int | None, stride: int | None) -> dict[str, Content]:
    here = f"{pci.ROOT}/{address}"
    files: dict[str, Content] = {f"{here}/sriov_totalvfs": f"{total}\n", f"{here}/sriov_numvfs": "0\n"}
    return files if offset is None else {**files, f"{here}/sriov_offset": f"{offset}\n", f"{here}/sriov_stride": f"{stride}\n"}


def absent(
    tmp_path: Path, address: str, table: str, able: dict[str, Any], config: str = "", others: str = "", **facts: Any
) -> tuple[str, str, str]:
    """(address of the PF, why, remedy), three empty words where the address is no VF's."""
    files = pci.plant(table)
    for each, numbers in able.items():
        files |= sriov(each, *numbers)
    if others:
        files[f"{CONFIGS}/101.conf"] = others
    guest, node = guest_on_node(tmp_path, f"hostpci0: {address}\n{config}", files)
    node.__dict__.update({"vf_support": Support(), **facts})
    found = absent_vf(address, guest, node)
    return (found.pf.address, found.why, found.remedy) if found else ("", "", "")


@pytest.mark.parametrize(
    ("address", "table", "able", "pf", "count"),
    [
        pytest.param("0000:05:10.0", NETWORK, IXGBE, "0000:05:00.0", 1, id="the first of the first"),
        pytest.param("0000:05:10.1", NETWORK, IXGBE, "0000:05:00.1", 1, id="the first of the second"),
        pytest.param("0000:05:10.2", NETWORK, IXGBE, "0000:05:00.0", 2, id="the second"),
        pytest.param("0000:05:1f.4", NETWORK, IXGBE, "0000:05:00.0", 63, id="the last"),
        pytest.param("0000:05:1f.6", NETWORK, IXGBE, "", 0, id="one too far"),
        pytest.param("0000:00:02.7", "0000:00:02.0 class=030000 id=8086:a780 driver=i915\n", {"0000:00:02.0": (6, 1, 1)}, "", 0, id="graphics, one too far"),
        pytest.param("0000:05:0f.7", NETWORK, IXGBE, "", 0, id="one too near"),
        pytest.param("0001:05:10.0", NETWORK, IXGBE, "", 0, id="in another domain"),
        pytest.param("0000:06:00.2", NETWORK, {"0000:05:00.0": (63, 258, 1)}, "0000:05:00.0", 1, id="on the next bus"),
        pytest.param("0000:10:00.2", "0000:0f:00.0 class=020000\n", {"0000:0f:00.0": (63, 258, 1)}, "0000:0f:00.0", 1, id="from bus 15 on bus 16"),
        pytest.param("0000:05:00.4", NETWORK, {"0000:05:00.0": (8, 4, 0)}, "0000:05:00.0", 1, id="only one, without a stride"),
        pytest.param("0000:05:00.5", NETWORK, {"0000:05:00.0": (8, 4, 0)}, "0000:05:00.0", 2, id="without a stride"),
        # -- whose numbers are not shown
        pytest.param("0000:5e:02.0", BROADCOM, {"0000:5e:00.0": (8, None, None)}, "0000:5e:00.0", 1, id="by its bus"),
        pytest.param("0000:5e:02.3", BROADCOM, {"0000:5e:00.0": (8, None, None)}, "0000:5e:00.0", 4, id="the fourth on its bus"),
        pytest.param("0000:5f:02.0", BROADCOM, {"0000:5e:00.0": (8, None, None)}, "", 0, id="on another bus"),
        pytest.param("0000:5e:02.0", BROADCOM, {"0000:5e:00.0": (8, None, None), "0000:5e:00.1": (8, None, None)}, "0000:5e:00.0", 1, id="of two the first"),
        pytest.param("0000:5e:00.3", BROADCOM, {"0000:5e:00.0": (8, None, None)}, "0000:5e:00.0", 3, id="in its slot"),
        pytest.param("0000:5e:00.1", "0000:5e:00.2 class=020000 group=1\n", {"0000:5e:00.2": (8, None, None)}, "", 0, id="before its PF"),
        pytest.param("0000:00:03.1", "0000:00:03.0 class=020000 group=1\n", {"0000:00:03.0": (8, None, None)}, "0000:00:03.0", 1, id="in its slot of a root bus"),
        pytest.param("0000:00:04.1", "0000:00:03.0 class=020000 group=1\n", {"0000:00:03.0": (8, None, None)}, "", 0, id="another slot of a root bus"),
        pytest.param("0000:05:10.0", NETWORK, {"0000:05:00.1": (63, None, None), "0000:05:00.0": (63, 128, 2)}, "0000:05:00.0", 1, id="known before guessed"),
        pytest.param("0000:05:1f.7", NETWORK, {"0000:05:00.1": (200, None, None), "0000:05:00.0": (4, 128, 2)}, "0000:05:00.1", 8, id="guessed where not known"),
    ],
)  # fmt: skip
def test_the_physical_function(address: str, table: str, able: dict[str, Any], pf: str, count: int, tmp_path: Path) -> None:
    found, _, remedy = absent(tmp_path, address, table, able)
    assert found == pf
    assert remedy.endswith(f"pvehooks bind {pf} --vfs {count} --now --persist") or not pf


def test_one_that_is_full_comes_behind_one_with_room(tmp_path: Path) -> None:
    table = f"{BROADCOM}0000:5e:01.0 class=020000 driver=bnxt_en group=47 pf=0000:5e:00.0\n"
    able = {"0000:5e:00.0": (1, None, None), "0000:5e:00.1": (8, None, None)}
    assert absent(tmp_path, "0000:5e:02.0", table, able)[0] == "0000:5e:00.1"


def test_one_of_its_slot_comes_before_one_of_its_bus(tmp_path: Path) -> None:
    table = "0000:5e:00.0 class=020000 driver=a group=1\n0000:5e:01.0 class=020000 driver=a group=2\n"
    able = {"0000:5e:00.0": (8, None, None), "0000:5e:01.0": (8, None, None)}
    assert absent(tmp_path, "0000:5e:01.2", table, able)[0] == "0000:5e:01.0"


@pytest.mark.parametrize(
    ("address", "table", "pf"),
    [
        pytest.param("0000:00:02.1", "0000:00:02.0 class=030000 id=8086:3e98 driver=i915\n", "0000:00:02.0", id="graphics"),
        pytest.param("0000:00:02.1", "0000:00:02.0 class=030000 id=1002:3e98 driver=x\n", "", id="graphics of another maker"),
        pytest.param("0000:00:02.1", "0000:00:02.0 class=020000 id=8086:3e98 driver=x\n", "", id="no graphics"),
        pytest.param("0000:00:03.1", "0000:00:03.0 class=030000 id=8086:3e98 driver=x\n", "", id="in another slot"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=020000 driver=igc\n", "0000:05:00.0", id="a network card"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=010802 driver=nvme\n", "0000:05:00.0", id="an NVMe"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=120000 driver=x\n", "0000:05:00.0", id="an accelerator"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=0c0330 driver=xhci_hcd\n", "", id="a kind that has none"),
        pytest.param(
            "0000:05:10.0",
            "0000:05:00.0 class=0c0330 driver=x\n0000:05:00.1 class=020000 driver=igc\n",
            "0000:05:00.1",
            id="the second of a card",
        ),
        pytest.param("0000:05:00.1", "0000:05:00.0 class=020000 driver=igc\n", "", id="an ordinary function"),
        pytest.param("0000:06:10.0", "0000:05:00.0 class=020000 driver=igc\n", "", id="an empty bus"),
        pytest.param("0000:00:10.0", "0000:00:00.0 class=020000 driver=igc\n", "", id="a root bus"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=020000 driver=x bridge=1\n", "", id="behind a bridge"),
        pytest.param("0000:05:10.0", "0000:05:00.0 class=020000 driver=x\n0000:05:01.0 class=020000 driver=x\n", "", id="a bus with slots"),
        pytest.param(
            "0000:05:10.0",
            "0000:05:00.0 class=020000 driver=x\n0000:05:01.0 class=020000 driver=x pf=0000:05:00.0\n",
            "0000:05:00.0",
            id="another virtual function",
        ),
    ],
)
def test_devices_without_sr_iov(address: str, table: str, pf: str, tmp_path: Path) -> None:
    found, why, _ = absent(tmp_path, address, table, {})
    assert (found, NO_SR_IOV in why) == (pf, pf != "")


def test_what_is_no_missing_virtual_function(tmp_path: Path) -> None:
    assert absent(tmp_path / "slot", "0000:05:10", NETWORK, IXGBE)[0] == ""
    assert absent(tmp_path / "there", "0000:05:00.1", NETWORK, IXGBE)[0] == ""
    assert absent(tmp_path / "unread", "0000:05:10.0", NETWORK, IXGBE, vf_support=Unread("of pve2"))[0] == ""


PF = "0000:05:00.0"
MAKE = f"pvehooks bind {PF} --vfs 1 --now --persist"
STATE = f"its physical function {PF} (Ethernet controller [8086:10fb]) has 0 of 63 virtual functions"


def of_driver(driver: str) -> str:
    return NETWORK.replace("driver=ixgbe", f"driver={driver}" if driver else "")


@pytest.mark.parametrize(
    ("driver", "facts", "why", "remedy"),
    [
        pytest.param("ixgbe", {}, "; no setting makes them at boot", f"Make them, now and at every boot: {MAKE}", id="nothing makes them"),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("/etc/rc.local", PF, 1, late=True), VfSource("other", "0000:09:00.0", 50))},
            "; /etc/rc.local asks for 1, which runs after the VMs that start at boot: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE}",
            id="made late",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("a.service", PF, 1))},
            "; a.service asks for 1: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE}",
            id="it failed",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("a.service", PF, 1), VfSource("b.service", PF, 1, "it is not enabled"))},
            "; b.service asks for 1, but it is not enabled",
            f"Make them, now and at every boot: {MAKE}",
            id="without effect",
        ),
        pytest.param(
            "i915",
            {},
            "; no setting makes them at boot, and its driver i915 makes none unless i915-sriov-dkms is installed",
            f"Make them, now and at every boot: {MAKE}",
            id="a driver that makes none, and nobody asks",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("a.service", PF, 7))},
            "; a.service asks for 7: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE.replace('--vfs 1', '--vfs 7')}",
            id="as many as are asked for",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("a.service", PF, 99))},
            "; a.service asks for 99: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE.replace('--vfs 1', '--vfs 63')}",
            id="as many as there can be",
        ),
        pytest.param(
            "vfio-pci",
            {},
            ", because it is on vfio-pci, and only a driver of the host makes them",
            f"Give it back to its driver: pvehooks unbind {PF} --now --persist; then: {MAKE}",
            id="on vfio",
        ),
        pytest.param(
            "vfio-pci",
            {"holders": Unread("x")},
            ", because it is on vfio-pci, and only a driver of the host makes them",
            f"Give it back to its driver: pvehooks unbind {PF} --now --persist; then: {MAKE}",
            id="on vfio, and perhaps with a VM",
        ),
        pytest.param(
            "vfio-pci",
            {"holders": {PF: (Holder(101, "VM 101 (mail)", "hostpci0"),)}},
            ", because it is on vfio-pci, and only a driver of the host makes them; it is hostpci0 of VM 101 (mail)",
            f"Stop that VM: qm shutdown 101; then: pvehooks unbind {PF} --now --persist; then: {MAKE}",
            id="another VM has it",
        ),
        pytest.param(
            "",
            {},
            ": it has no driver, and only its driver makes them",
            f"Load its driver, which this names: lspci -k -s {PF}; then: {MAKE}",
            id="no driver",
        ),
        pytest.param(
            "",
            {"vf_support": Support(module="ixgbe"), "modules": Unread("x")},
            ": it has no driver, and only its driver makes them",
            f"Load its driver: modprobe ixgbe; then: {MAKE}",
            id="no driver, its module is known",
        ),
        pytest.param(
            "",
            {"vf_support": Support(unbuilt=("a", "b"), module="b")},
            ": it has no driver, and only its driver makes them (DKMS has a, b, which are not built for the kernel 6.14.11-1-pve)",
            f"Build it: apt install proxmox-default-headers && dkms autoinstall && modprobe b; then: {MAKE}",
            id="no driver, modules not built",
        ),
        pytest.param(
            "",
            {"vf_support": Support(unbuilt=("a",))},
            ": it has no driver, and only its driver makes them (DKMS has a, which is not built for the kernel 6.14.11-1-pve)",
            f"Build it: apt install proxmox-default-headers && dkms autoinstall && modprobe a; then: {MAKE}",
            id="no driver, a module not built",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(unbuilt=("other", "ixgbe-out-of-tree"))},
            ": the module ixgbe-out-of-tree of DKMS, which makes them, is not built for the kernel 6.14.11-1-pve",
            f"Build it: apt install proxmox-default-headers && dkms autoinstall && reboot; then: {MAKE}",
            id="its module in DKMS is not built",
        ),
        pytest.param(
            "mlx4_core",
            {},
            ": its driver mlx4_core takes their number from its module option",
            "Set it: echo 'options mlx4_core num_vfs=1' >> /etc/modprobe.d/mlx4_core.conf && update-initramfs -u -k all && reboot",
            id="an option of the module",
        ),
        pytest.param(
            "bnxt_en",
            {},
            ": its driver bnxt_en makes none while the interface INTERFACE is down",
            f"Set it up, for good by 'auto INTERFACE' in /etc/network/interfaces: ip link set INTERFACE up; then: {MAKE}",
            id="down",
        ),
        pytest.param(
            "bnxt_en",
            {"vf_support": Support(VfSource("x.link", PF, 1), interface="ens1")},
            ": its driver bnxt_en makes none while the interface ens1 is down; x.link asks for 1",
            f"Set it up, for good by 'auto ens1' in /etc/network/interfaces: ip link set ens1 up; then: {MAKE}",
            id="down, and something asks",
        ),
        pytest.param(
            "i915",
            {"vf_support": Support(VfSource("a.service", PF, 1)), "dkms": Dkms(("zfs",), None)},
            "; a.service asks for 1, but its driver i915 is the kernel's own, which makes none:"
            " i915-sriov-dkms is not installed for the kernel 6.14.11-1-pve",
            f"Install i915-sriov-dkms for it (dkms status) and restart the node; then: {MAKE}",
            id="a driver that makes none, and something asks",
        ),
        pytest.param(
            "i915",
            {"vf_support": Support(VfSource("a.service", PF, 1)), "dkms": Dkms(("i915",), None)},
            "; a.service asks for 1: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE}",
            id="the driver of DKMS",
        ),
        pytest.param(
            "ixgbe",
            {"vf_support": Support(VfSource("a.service", PF, 1)), "dkms": Dkms((), None)},
            "; a.service asks for 1: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE}",
            id="a driver that makes them, and not of DKMS",
        ),
        pytest.param(
            "i915",
            {"vf_support": Support(VfSource("a.service", PF, 1)), "dkms": Unread("x")},
            "; a.service asks for 1: it failed, or something took them away again",
            f"Make them, now and at every boot: {MAKE}",
            id="what DKMS has is unknown",
        ),
    ],
)
def test_why(driver: str, facts: dict[str, Any], why: str, remedy: str, tmp_path: Path) -> None:
    found = absent(tmp_path, "0000:05:10.0", of_driver(driver), IXGBE, **facts)
    assert found == (PF, STATE + why, remedy)


@pytest.mark.parametrize(
    ("volid", "script"),
    [
        ("local:snippets/gpu.sh", "local:snippets/gpu.sh"),
        ("local:snippets/pvehooks-guard", ""),
    ],
)
def test_a_hookscript_of_the_vm_that_binds_it(volid: str, script: str, tmp_path: Path) -> None:
    _, why, remedy = absent(tmp_path, "0000:05:10.0", of_driver("vfio-pci"), IXGBE, f"hookscript: {volid}\n")
    assert ("may have bound it" in why) is bool(script)
    assert remedy.startswith(f"Take what binds it out of {script}, and" if script else "Give it back to its driver")


def test_a_module_that_a_file_keeps_out(tmp_path: Path) -> None:
    modules = Modules("6.14.11-1-pve", {}, (), (("other", "/a.conf"), ("a_b", "/b.conf")), {}, "", ())
    _, why, remedy = absent(tmp_path, "0000:05:10.0", of_driver(""), IXGBE, vf_support=Support(module="a-b"), modules=modules)
    assert why == f"{STATE}: it has no driver, and only its driver makes them; /b.conf keeps its module a-b from being loaded"
    assert remedy == f"Take a-b out of /b.conf, and load it: modprobe a-b; then: {MAKE}"


@pytest.mark.parametrize(
    ("config", "others", "count"),
    [
        pytest.param("", "hostpci0: 0000:05:10.6\n", 4, id="another VM's"),
        pytest.param("hostpci1: 0000:05:10.4\n", "", 3, id="one more of the VM"),
        pytest.param("", "hostpci0: 0000:05:10.6\ntemplate: 1\n", 1, id="a template's"),
        pytest.param("", "hostpci0: 0000:05:10.7\n", 1, id="of another physical function"),
        pytest.param("", "hostpci0: 0000:05:10\n", 1, id="a slot"),
        pytest.param("", "hostpci0: mapping=gone\n", 1, id="an unknown mapping"),
        pytest.param("args: -device vfio-pci,host=05:10.2\n", "", 2, id="in args"),
    ],
)
def test_all_that_are_named_are_made(config: str, others: str, count: int, tmp_path: Path) -> None:
    remedy = absent(tmp_path, "0000:05:10.0", NETWORK, IXGBE, config, others)[2]
    assert remedy.endswith(f"pvehooks bind {PF} --vfs {count} --now --persist")


def test_the_vms_of_the_node_are_unknown(tmp_path: Path) -> None:
    assert absent(tmp_path, "0000:05:10.0", NETWORK, IXGBE, others="hostpci0: 0000:05:10.6\n", guests=Unread("x"))[2].endswith(MAKE)


def test_too_few(tmp_path: Path) -> None:
    table = f"{NETWORK}0000:05:10.0 class=020000 driver=ixgbevf group=50 pf=0000:05:00.0\n"
    _, why, remedy = absent(tmp_path, "0000:05:10.2", table, IXGBE)
    assert why.endswith("has 1 of 63 virtual functions, too few for this one")
    assert remedy == f"Stop the VMs that have its virtual functions, then: pvehooks bind {PF} --vfs 2 --now --persist"


@pytest.mark.parametrize(
    ("sources", "late"),
    [
        ((), 0),
        ((VfSource("a", PF, 1, late=True),), 1),
        ((VfSource("a", PF, 1, late=True), VfSource("b", PF, 1, late=True)), 2),
        ((VfSource("a", PF, 1, late=True), VfSource("b", PF, 1)), 0),
        ((VfSource("a", PF, 1, late=True), VfSource("b", PF, 1, "it is broken")), 1),
        ((VfSource("a", PF, 1, late=True), VfSource("b", "0000:09:00.0", 1)), 1),
        ((VfSource("a", "0000:09:00.0", 1, late=True),), 0),
    ],
)
def test_late_sources(sources: tuple[VfSource, ...], late: int, tmp_path: Path) -> None:
    node = Node("pve1")
    assert late_sources(PF, node) == ()
    _, known = guest_on_node(tmp_path, "")
    known.__dict__["vf_support"] = Support(*sources)
    assert late_sources(PF, known) == sources[:late]


def test_sources_of() -> None:
    """What has no effect, and what names another one, makes none."""
    named, unnamed = VfSource("a", PF, 1), VfSource("b", "", 1)
    others = VfSource("c", "0000:09:00.0", 1), VfSource("d", PF, 1, trouble="is not run"), VfSource("e", "", 1, trouble="is not run")
    assert sources_of(PciDevice(PF), (*others, named, unnamed)) == (named, unnamed)
    assert sources_of(PciDevice(PF), others) == ()


@pytest.mark.parametrize(
    ("sources", "command"),
    [
        pytest.param((), "systemctl enable --now pve-nvidia-sriov@0000:05:00.0.service", id="nothing makes them"),
        pytest.param(("pve-nvidia-sriov@ALL.service",), "systemctl restart pve-nvidia-sriov@ALL.service", id="the unit failed"),
        pytest.param(("/etc/rc.local",), "systemctl enable --now pve-nvidia-sriov@0000:05:00.0.service", id="in another way"),
    ],
)
def test_nvidias_own_tool_makes_those_of_nvidia(sources: tuple[str, ...], command: str, tmp_path: Path) -> None:
    support = Support(*(VfSource(place, "0000:05:00.0", 0) for place in sources))
    table = NETWORK.replace("class=020000 id=8086:10fb driver=ixgbe group=40", "class=030200 id=10de:2235 driver=nvidia group=40")
    remedy = absent(tmp_path, "0000:05:10.0", table, IXGBE, vf_support=support)[2]
    assert command in remedy and "pvehooks bind" not in remedy


@pytest.mark.parametrize(("driver", "words"), [("xe", "options xe max_vfs=7"), ("i915", "options i915 enable_guc=3 max_vfs=7")])
def test_driver_that_allows_none_yet(driver: str, words: str, tmp_path: Path) -> None:
    table = f"0000:00:02.0 class=030000 id=8086:a7a0 driver={driver} group=0\n"
    _, why, remedy = absent(tmp_path, "0000:00:02.1", table, {"0000:00:02.0": (0, None, None)})
    assert f"its driver {driver} allows none" in why and words in remedy
