"""What switches the IOMMU on, by CPU, kernel, tables of the firmware and arguments; and how arguments are changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived import iommu_switch, kernel_args
from pvehooks.derived.config_lines import quoted
from pvehooks.derived.disks import volume_of
from pvehooks.derived.ostype import machine_version
from pvehooks.values import Iommu, Node, Unread
from pvehooks.values.boot import CommandLines, Firmware, Kernels, Loader
from tests.derived.bed import guest_on_node

DMAR, IVRS = frozenset({"APIC", "DMAR"}), frozenset({"APIC", "IVRS"})
INTEL = Firmware("GenuineIntel", True, False, DMAR, frozenset(), (), 0, "", True)
OLD = Kernels("6.5.13-5-pve", ("6.5.13-5-pve",), "", "", frozenset())
NEW = OLD._replace(built_with=frozenset({"CONFIG_INTEL_IOMMU_DEFAULT_ON"}))
GRUB = Loader("grub", False, True, "x")


def node_with(tmp_path: Path, *running: str, **facts: Any) -> Node:
    _, node = guest_on_node(tmp_path, "", {"proc/cmdline": " ".join(running) + "\n", "sys/kernel/iommu_groups": None, "sys/class/iommu": None})
    assert isinstance(node.iommu, Iommu) and isinstance(node.command_lines, CommandLines)
    node.__dict__.update(
        {"firmware": INTEL, "kernels": NEW, "loader": GRUB, "iommu": node.iommu._replace(active=False, why="it is off"), **facts}
    )
    return node


@pytest.mark.parametrize(
    ("running", "argument"),
    [
        (("quiet",), ""),
        (("iommu=off",), "iommu=off"),
        (("intel_iommu=off",), "intel_iommu=off"),
        (("amd_iommu=off",), "amd_iommu=off"),
        (("intel_iommu=off", "intel_iommu=on"), ""),
        (("intel_iommu=on", "intel_iommu=off"), "intel_iommu=off"),
        (("intel_iommu=off,sm_on",), "intel_iommu=off"),
        (("iommu=off", "iommu=force"), ""),
        (("iommu=pt", "amd_iommu=off"), "amd_iommu=off"),
        (("iommu=off", "intel_iommu=on"), "iommu=off"),
    ],
)
def test_switched_off(running: tuple[str, ...], argument: str, tmp_path: Path) -> None:
    assert iommu_switch.switched_off(node_with(tmp_path, *running)) == argument


@pytest.mark.parametrize(
    ("facts", "there"),
    [
        ({}, True),
        ({"firmware": INTEL._replace(tables=IVRS)}, False),
        ({"firmware": INTEL._replace(cpu="AuthenticAMD", tables=IVRS)}, True),
        ({"firmware": INTEL._replace(cpu="AuthenticAMD")}, False),
        ({"firmware": INTEL._replace(tables=None)}, False),
        ({"firmware": Unread("x")}, False),
    ],
)
def test_the_table_of_the_firmware(facts: dict[str, Any], there: bool, tmp_path: Path) -> None:
    assert iommu_switch.table_is_there(node_with(tmp_path, **facts)) is there


@pytest.mark.parametrize(
    ("running", "facts", "needed"),
    [
        ((), {"kernels": OLD}, True),
        ((), {"kernels": NEW}, False),
        (("intel_iommu=on",), {"kernels": OLD}, False),
        (("intel_iommu=sm_on",), {"kernels": OLD}, True),
        ((), {"kernels": OLD, "firmware": INTEL._replace(cpu="AuthenticAMD", tables=IVRS)}, False),
        ((), {"kernels": OLD, "firmware": INTEL._replace(tables=IVRS)}, False),
        ((), {"kernels": OLD, "firmware": Unread("x")}, False),
        ((), {"kernels": Unread("x")}, False),
        ((), {"kernels": OLD, "command_lines": Unread("x")}, False),
    ],
)
def test_needs_switching_on(running: tuple[str, ...], facts: dict[str, Any], needed: bool, tmp_path: Path) -> None:
    assert iommu_switch.needs_switching_on(node_with(tmp_path, *running, **facts)) is needed


def test_the_running_command_line_is_unknown(tmp_path: Path) -> None:
    node = node_with(tmp_path, "intel_iommu=off", kernels=OLD)
    assert isinstance(node.command_lines, CommandLines)
    node.__dict__["command_lines"] = node.command_lines._replace(running=Unread("x"))
    assert iommu_switch.switched_off(node) == ""
    assert not iommu_switch.needs_switching_on(node)
    node.__dict__["command_lines"] = Unread("x")
    assert iommu_switch.switched_off(node) == ""


@pytest.mark.parametrize(
    ("running", "facts", "remedy"),
    [
        (("iommu=off",), {}, "Remove iommu=off from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot"),
        ((), {"kernels": OLD}, "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot"),
        ((), {}, "Look for DMAR or AMD-Vi in the kernel's log: journalctl -kb"),
        ((), {"firmware": Unread("x"), "iommu": Unread("the firmware hides it")}, ""),
        ((), {"firmware": Unread("x")}, ""),
    ],
)
def test_remedy(running: tuple[str, ...], facts: dict[str, Any], remedy: str, tmp_path: Path) -> None:
    assert iommu_switch.remedy(node_with(tmp_path, *running, **facts)) == remedy


def test_off_in_the_firmware(tmp_path: Path) -> None:
    node = node_with(tmp_path, firmware=Unread("x"))
    assert isinstance(node.iommu, Iommu)
    node.__dict__["iommu"] = node.iommu._replace(why="the firmware has none")
    assert iommu_switch.remedy(node).startswith("Enable it in the firmware setup (VT-d, AMD-Vi, IOMMU: enabled, not auto)")


EITHER = "with GRUB in GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot; with systemd-boot in /etc/kernel/cmdline, then:"


@pytest.mark.parametrize(
    ("loader", "added", "removed"),
    [
        (GRUB, "Add a=1 to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: ", "Remove a=1 from GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: "),
        (Loader("systemd-boot", True, True, "x"), "Add a=1 to the one line of /etc/kernel/cmdline, then: proxmox-boot-tool refresh && reboot", "Remove a=1 from the one line of /etc/kernel/cmdline, then: proxmox-boot-tool refresh && reboot"),
        (Loader("", False, True, "x"), f"Add a=1 to the kernel command line: {EITHER}", f"Remove a=1 from the kernel command line: {EITHER}"),
        (Unread("x"), f"Add a=1 to the kernel command line: {EITHER}", f"Remove a=1 from the kernel command line: {EITHER}"),
    ],
)  # fmt: skip
def test_how_an_argument_is_changed(loader: Loader | Unread, added: str, removed: str, tmp_path: Path) -> None:
    node = node_with(tmp_path, loader=loader)
    assert kernel_args.add("a=1", node).startswith(added)
    assert kernel_args.remove("a=1", node).startswith(removed)


@pytest.mark.parametrize(("length", "cut"), [(100, False), (101, True)])
def test_a_long_line_is_cut(length: int, cut: bool) -> None:
    assert quoted("x" * length) == repr("x" * 100 + "..." * cut)


@pytest.mark.parametrize(
    ("value", "volume"),
    [("local:100/disk.qcow2", ("local", "100/disk.qcow2")), ("/dev/disk/by-path/pci-0000:01", ("", "/dev/disk/by-path/pci-0000:01")), ("none", ("", "none"))],
)
def test_volume_of(value: str, volume: tuple[str, str], tmp_path: Path) -> None:
    assert volume_of(guest_on_node(tmp_path, f"scsi0: {value}\n")[0], "scsi0") == volume


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ("ostype: win10\nmeta: creation-qemu=9.1.0\n", (9, 1)),
        ("ostype: win10\nmeta: creation-qemu=9.0.2\n", (5, 1)),
        ("ostype: win10\n", (5, 1)),
        ("ostype: l26\nmeta: creation-qemu=9.1.0\n", None),
        ("ostype: win10\nmachine: pc-q35-8.2\n", (8, 2)),
    ],
)
def test_the_machine_version_that_it_is_held_to(config: str, version: tuple[int, int] | None, tmp_path: Path) -> None:
    assert machine_version(guest_on_node(tmp_path, config)[0]) == version
