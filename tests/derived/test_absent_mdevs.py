"""Why a device makes no mediated devices, and the command that has it, or another one, make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.derived.absent_mdevs import absent_mdev
from pvehooks.derived.passthrough import claims
from pvehooks.values import Unread
from pvehooks.values.pci import VfSource
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import Support, guest_on_node

CARD, IGPU = "0000:01:00.0", "0000:00:02.0"
NVIDIA = f"{CARD} class=030200 id=10de:2235 driver=nvidia group=14\n"
VF = f"0000:01:00.4 class=030200 id=10de:2235 driver=nvidia group=15 pf={CARD}\n"
INTEL = f"{IGPU} class=030000 id=8086:a7a0 driver=i915 group=0\n"
INTEL_VF = f"0000:00:02.1 class=030000 id=8086:a7a0 driver=vfio-pci group=1 pf={IGPU}\n"
OTHER = f"{CARD} class=030000 id=1002:73bf driver=amdgpu group=17\n"
UNBUILT = Support(unbuilt=("zfs", "nvidia"))
ASKED = VfSource("pve-nvidia-sriov@ALL.service", CARD, 0)
SOURCE = VfSource("/etc/rc.local", CARD, 0, late=True)
MAPPED: dict[str, Content] = {"etc/pve/mapping/pci.cfg": f"gpu\n\tmap node=pve1,path={CARD},id=10de:2235,iommugroup=14\n\tmdev 1\n"}
TYPES: dict[str, Content] = {f"{pci.ROOT}/0000:01:00.4/nvidia/creatable_vgpu_types": "558 : A40\n"}


def sriov(address: str = CARD) -> dict[str, Content]:
    return {f"{pci.ROOT}/{address}/sriov_totalvfs": "7\n"}


@pytest.mark.parametrize(
    ("entry", "table", "files", "support", "why", "remedy"),
    [
        pytest.param(CARD, OTHER, {}, Support(), "its driver amdgpu makes none", f"Install the driver that makes them, or give the VM the whole device: qm set 100 --hostpci0 {CARD}", id="any other"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia", "driver=vfio-pci"), {}, Support(), "it is on vfio-pci, and only a driver", f"pvehooks unbind {CARD} --now --persist", id="vfio-pci"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia ", ""), {}, UNBUILT, "has no driver, and only its driver makes them (DKMS has zfs, nvidia, which are not built", "dkms autoinstall", id="no driver"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia ", ""), {}, Unread("of pve2"), "has no driver", f"lspci -k -s {CARD}", id="no driver on another node"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia", "driver=nouveau"), {}, UNBUILT, "it is on nouveau; the module nvidia of DKMS, which makes them, is not built for the kernel 6.14.11-1-pve", "dkms autoinstall && reboot", id="nouveau, nvidia not built"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia", "driver=nouveau"), {}, Support(), "it is on nouveau, and only NVIDIA's vGPU host driver", "pve-nvidia-vgpu-helper setup", id="nouveau"),
        pytest.param(CARD, NVIDIA.replace("driver=nvidia", "driver=nouveau"), {}, Unread("of pve2"), "it is on nouveau, and only NVIDIA's", "setup", id="nouveau on another node"),
        pytest.param(CARD, NVIDIA, {}, UNBUILT, "its driver nvidia makes none: it is not the vGPU host driver", "nvidia-smi vgpu; systemctl status nvidia-vgpud", id="nvidia"),
        pytest.param(CARD, NVIDIA, {}, Unread("of pve2"), "its virtual functions were not made, or the card has no vGPUs", "nvidia-smi vgpu", id="nvidia on another node"),
        pytest.param(CARD, NVIDIA, sriov(), Support(), "and it has none", f"systemctl enable --now pve-nvidia-sriov@{CARD}.service", id="no virtual functions"),
        pytest.param(CARD, NVIDIA, sriov(), Unread("of pve2"), "and it has none", "systemctl enable --now", id="no virtual functions on another node"),
        pytest.param(CARD, NVIDIA, sriov(), Support(ASKED), "pve-nvidia-sriov@ALL.service is to make these, but it failed", "systemctl restart pve-nvidia-sriov@ALL.service", id="that failed"),
        pytest.param(CARD, NVIDIA, sriov(), Support(SOURCE._replace(trouble="it is not enabled")), "but it is not enabled", "See why: journalctl -b", id="by a script"),
        pytest.param(CARD, NVIDIA + VF, TYPES, Support(), "not the card itself", "functions: qm set 100 --hostpci0 0000:01:00.4,mdev=nvidia-558", id="the card is named"),
        pytest.param("mapping=gpu", NVIDIA + VF, MAPPED | TYPES, Support(), "not the card itself", "Name one of its virtual functions", id="a mapping names the card"),
        pytest.param(CARD, NVIDIA + VF, {}, Support(), "not the card itself", "See why they do not: systemctl status nvidia-vgpud", id="and they make none"),
        pytest.param("0000:01:00.4", NVIDIA + VF, {}, Support(), "its daemon did not run", "nvidia-smi vgpu", id="a virtual function that makes none"),
        pytest.param(IGPU, INTEL, {}, Support(), "its driver i915 makes them with GVT-g alone", f"enable_gvt=1' > /etc/modprobe.d/i915-gvt.conf ... Else give the VM the whole device: qm set 100 --hostpci0 {IGPU}", id="i915"),
        pytest.param(IGPU, INTEL, sriov(IGPU), Support(), "it is on i915, and such a chip is shared", f"pvehooks bind {IGPU} --vfs 7 --now --persist; then name one without mdev. Or give", id="a chip with SR-IOV"),
        pytest.param(IGPU, INTEL.replace("i915", "xe"), {}, Support(), "it is on xe", "Without them give the VM the whole device", id="xe without SR-IOV"),
        pytest.param(IGPU, INTEL + INTEL_VF, sriov(IGPU), Support(), "of which each VM gets one as a whole", "Name one without mdev: qm set 100 --hostpci0 0000:00:02.1", id="virtual functions of Intel's"),
        pytest.param("0000:00:02.1", INTEL + INTEL_VF, sriov(IGPU), Support(), "it is a virtual function, which a VM gets as a whole", "Name it without mdev: qm set 100 --hostpci0 0000:00:02.1", id="a virtual function of Intel's"),
        pytest.param("mapping=gpu", INTEL.replace(IGPU, CARD) + INTEL_VF.replace(IGPU, CARD).replace("00:02.1", "01:00.1"), MAPPED, Support(), "of which each VM gets one", "Name one without mdev", id="by a mapping"),
        pytest.param(CARD, INTEL.replace(IGPU, CARD).replace("030000", "0b4000"), {}, Support(), "its driver i915 makes none", "Install", id="of Intel, no graphics"),
    ],
)  # fmt: skip
def test_why(entry: str, table: str, files: dict[str, Content], support: Any, why: str, remedy: str, tmp_path: Path) -> None:
    guest, node = guest_on_node(tmp_path, f"hostpci0: {entry},mdev=nvidia-558\n", {**pci.plant(table), **files})
    node.__dict__["vf_support"] = support
    (claim,) = claims(guest, node)
    found = absent_mdev(claim.devices[0], claim.entry, guest, node)
    assert found and why in found.why
    for phrase in remedy.split(" ... "):
        assert phrase in found.remedy
