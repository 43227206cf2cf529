"""Rules of the next boot at the limits of their values, and where an entry that is none of their matter comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.facts import nextboot
from pvehooks.facts.guests import configs
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.values import Unread
from pvehooks.values.boot import DkmsPackage, KernelModules, Kernels, Loader
from tests.beds import boot, pci
from tests.beds.tree import Content, make_fake_tree
from tests.derived.bed import CONFIGS
from tests.rules.edges import GPU, assert_findings

UNKNOWN: Any = Unread("no reason at all")
NOW, NEXT = boot.RELEASE, "6.11.11-2-pve"
TABLE = f"""\
{GPU} class=030000 id=10de:2684 driver=nvidia group=14
0000:03:00.0 class=020000 id=8086:1572 driver=i40e group=16
0000:03:02.0 class=020000 id=8086:154c driver=iavf group=17 pf=0000:03:00.0
0000:03:02.1 class=020000 id=8086:154c driver=iavf group=18 pf=0000:03:00.0
0000:04:00.0 class=030200 id=10de:2342 driver=nvgrace-gpu-vfio-pci group=19
"""
I40E = DkmsPackage("i40e", "2.25.9", frozenset({"i40e"}), built=False, built_now=True, excluded="", signed=None)
NVIDIA = I40E._replace(name="nvidia", version="550", modules=frozenset({"nvidia"}))
VFIO = I40E._replace(name="vfio", modules=frozenset({"vfio", "vfio_iommu_type1", "vfio_pci"}), built=True)
VF = "hostpci0: 0000:03:02.0\n"
BUILD_I40E = f"Build it: apt install proxmox-headers-{NEXT} && dkms install i40e/2.25.9 -k {NEXT}"
BLOCKED = f"block: hostpci0: i40e of DKMS is not built for the kernel {NEXT}, and it is the driver of 0000:03:00.0 ... which makes the virtual function 0000:03:02.0. {BUILD_I40E}"
BUILD_NVIDIA = f"Build it: apt install proxmox-headers-{NEXT} && dkms install nvidia/550 -k {NEXT}"
TWO_KERNELS = Kernels(NOW, (NEXT, NOW), "", NEXT, frozenset())
PIN = f"until then boot the present kernel: proxmox-boot-tool kernel pin {NOW}"
MODPROBE = "etc/modprobe.d/game.conf"


class Nouveau:
    """Every device has nouveau at boot."""

    def of(self, address: str) -> str:
        return "nouveau"


def modules(*packages: DkmsPackage, own: frozenset[str] | None = frozenset()) -> dict[str, Any]:
    return {"kernel_modules": KernelModules(own, packages)}


def found(directory: Path, rule: str, config: str, files: dict[str, Content], planted: str = f"next: {NEXT}", **facts: Any) -> list[str]:
    """What the rule says of VM 100 at the next boot of pve1: "severity: message. remedy"; "?" stands before what was not examined."""
    host = Host(str(make_fake_tree(directory, {**boot.plant(planted), **pci.plant(TABLE), f"{CONFIGS}/100.conf": config, **files})))
    node = nextboot.gather(host, "pve1")
    assert not isinstance(node, Unread)
    node.__dict__.update(facts)
    guest = configs.read(host, "pve1", 100, configs.gather_context(host, "pve1", None)._replace(running=frozenset()))
    findings = [each for each in catalogue.findings_at_next_boot(guest, node) if each.rule == rule]
    return [f"{'' if each.examined else '?'}{each.severity.value}: {each.message}. {each.remedy}" for each in findings]


@pytest.mark.parametrize(
    ("rule", "config", "files", "facts", "expected"),
    [
        # -- modules of vfio
        pytest.param("next-kernel-without-vfio", f"hostpci0: {GPU}\n", {}, modules(own=None), [f"?info: not examined: which modules the kernel {NEXT} has is unknown"], id="the kernel has no list"),
        pytest.param("next-kernel-without-vfio", f"hostpci0: {GPU}\n", {}, modules(VFIO), [], id="DKMS builds vfio"),
        pytest.param("next-kernel-without-vfio", f"hostpci0: {GPU}\n", {}, modules(VFIO._replace(built=False)), [f"block: the kernel {NEXT} has no vfio, vfio_iommu_type1, vfio_pci, and without it"], id="DKMS did not build vfio"),
        pytest.param("next-kernel-without-vfio", "hostpci0: 0000:04:00.0,driver=keep\n", {}, modules(), [f"block: the kernel {NEXT} has no nvgrace_gpu_vfio_pci, and without it"], id="the maker's own vfio driver, which is kept"),
        pytest.param("next-kernel-without-vfio", "hostpci0: 0000:04:00.0\n", {}, modules(VFIO), [], id="the maker's own vfio driver, which is not kept"),
        # -- virtual functions
        pytest.param("vfs-not-made-at-boot", f"hostpci0: {GPU}\nhostpci1: 0000:03:02.0\nhostpci2: 0000:03:02.1\n", {}, {}, ["warning: hostpci1: 0000:03:02.0 ... no setting makes the virtual functions of 0000:03:00.0 at boot. Have them made at each boot: pvehooks bind 0000:03:00.0 --vfs 2 --persist"], id="two of one card, behind a device that is none"),
        # -- modules of DKMS
        pytest.param("next-kernel-without-dkms", VF, {}, modules(I40E), [BLOCKED], id="the kernel has no such module"),
        pytest.param("next-kernel-without-dkms", VF, {}, modules(I40E, own=None), [BLOCKED], id="the kernel's modules are unknown"),
        pytest.param("next-kernel-without-dkms", VF, {}, modules(I40E, own=frozenset({"i40e"})), [BLOCKED.replace("block", "warning", 1).replace("0000:03:02.0. B", "0000:03:02.0; the kernel's own module takes its place. B")], id="the kernel has its own"),
        pytest.param("next-kernel-without-dkms", VF, {}, modules(I40E._replace(built=True)), [], id="it is built"),
        pytest.param("next-kernel-without-dkms", VF, {}, modules(I40E._replace(built_now=False)), [], id="it never was built"),
        pytest.param("next-kernel-without-dkms", VF, {}, modules(NVIDIA, I40E), [BLOCKED], id="behind one that works no device of it"),
        pytest.param("next-kernel-without-dkms", f"hostpci0: {GPU},mdev=nvidia-63\n", {}, modules(NVIDIA), [f"block: hostpci0: nvidia of DKMS ... it is the driver of {GPU} ... , which makes the mediated device. {BUILD_NVIDIA}"], id="a mediated device"),
        pytest.param("next-kernel-without-dkms", f"hostpci0: {GPU},mdev=nvidia-63\n", {}, modules(I40E), [], id="a mediated device of another driver"),
        pytest.param("next-kernel-without-dkms", f"hostpci0: {GPU},driver=keep\n", {}, modules(NVIDIA), [f"block: hostpci0: nvidia of DKMS ... it is the driver of {GPU} ... ). {BUILD_NVIDIA}"], id="a device that keeps its driver"),
        pytest.param("next-kernel-without-dkms", f"hostpci0: {GPU},driver=keep\n", {}, modules(I40E), [], id="a device that keeps another driver"),
        pytest.param("next-kernel-without-dkms", f"hostpci0: {GPU}\n", {}, modules(NVIDIA), [], id="a device that vfio-pci gets"),
        # -- what to do meanwhile
        pytest.param("next-kernel-without-dkms", VF, {}, {**modules(I40E), "kernels": TWO_KERNELS}, [f"{BUILD_I40E}; {PIN}"], id="the present kernel is there"),
        pytest.param("next-kernel-without-dkms", VF, {}, {**modules(I40E), "kernels": TWO_KERNELS, "loader": Loader("grub", True, True, "")}, [f"; {PIN} && proxmox-boot-tool refresh"], id="where a pin needs a refresh"),
        # -- the initramfs
        pytest.param("initramfs-without-setting", f"hostpci0: {GPU}\n", {MODPROBE: "blacklist nvidia\n"}, {}, [f"warning: hostpci0: 'blacklist nvidia' of /{MODPROBE} is not in /boot/initrd.img-{NEXT}: a driver of the host may take {GPU} ... first. Type: update-initramfs -u -k {NEXT}"], id="a driver that is kept away"),
        pytest.param("initramfs-without-setting", f"hostpci0: {GPU}\n", {MODPROBE: "options vfio_pci disable_vga=1 ids=1002:1,10DE:2684\n"}, {}, ["'options vfio_pci disable_vga=1 ids=1002:1,10DE:2684'"], id="ids"),
        pytest.param("initramfs-without-setting", f"hostpci0: {GPU}\n", {MODPROBE: "blacklist\ninstall floppy true\noptions snd ids=10de:2684\noptions vfio-pci ids=10de:1111\nblacklist nvidia\n"}, {}, ["'blacklist nvidia'"], id="behind lines that are none of its matter"),
        pytest.param("initramfs-without-setting", "hostpci0: 0000:04:00.0\n", {MODPROBE: "blacklist nouveau\nblacklist nvgrace-gpu-vfio-pci\n"}, {"boot_drivers": Nouveau()}, ["'blacklist nouveau'"], id="the driver at boot of a device that is on vfio now"),
        pytest.param("initramfs-without-setting", f"hostpci0: {GPU}\n", {MODPROBE: "blacklist nouveau\nblacklist nvidia\n"}, {"boot_drivers": Nouveau()}, ["'blacklist nvidia'"], id="the driver that it has now"),
        pytest.param("initramfs-without-setting", f"hostpci0: {GPU}\n", {MODPROBE: "blacklist nvidia\n"}, {"setting_files": UNKNOWN}, [], id="the settings are unknown"),
    ],
)  # fmt: skip
def test_edge(rule: str, config: str, files: dict[str, Content], facts: dict[str, Any], expected: list[str], tmp_path: Path) -> None:
    assert_findings(found(tmp_path, rule, config, files, **facts), expected)


@pytest.mark.parametrize(
    "kernels", [pytest.param(TWO_KERNELS._replace(installed=(NEXT,)), id="it is not there any more"), pytest.param(UNKNOWN, id="unknown")]
)
def test_the_present_kernel_is_no_way_out(kernels: Any, tmp_path: Path) -> None:
    (text,) = found(tmp_path, "next-kernel-without-dkms", VF, {}, **modules(I40E), kernels=kernels)
    assert text.endswith(f"{BUILD_I40E}")


def test_the_present_kernel_is_the_next(tmp_path: Path) -> None:
    (text,) = found(tmp_path, "next-kernel-without-dkms", VF, {}, "", **modules(I40E))
    assert text.endswith(BUILD_I40E.replace(NEXT, NOW))
