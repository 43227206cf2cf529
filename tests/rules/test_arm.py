"""A node with an ARM CPU: what is of x86 alone is neither found nor advised; the rest works as on any node."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs
from pvehooks.facts.pci import iommu
from pvehooks.host import Host
from pvehooks.rules import catalogue, of_node
from pvehooks.values import Finding, Iommu
from tests.beds import boot, pci
from tests.beds.tree import Content, make_fake_tree
from tests.rules.example_tree import CONFIG

# An Ampere Altra, as the kernel shows it.
CPUINFO = """\
processor	: 0
BogoMIPS	: 50.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1

"""
OF_X86 = re.compile(
    r"VT-[dx]|AMD-Vi|\bSVM\b|DMAR|IVRS|RDRAND|microcode|iommu=pt|intel_iommu|amd_iommu|\bq35\b|\bi440fx\b|OVMF", re.IGNORECASE
)
GUEST = "bios: ovmf\nefidisk0: local-lvm:vm-100-disk-0,size=64M\nmachine: virt\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nhostpci0: 0001:01:00.0\nboot: order=net0\n"
CARD = "0001:01:00.0 class=020000 id=15b3:1017 driver=vfio-pci\n"
ACPI, DEVICE_TREE = "sys/firmware/acpi/tables", "sys/firmware/devicetree/base/compatible"
INTERRUPTS = (
    "           CPU0       CPU1\n 13:    1204   1100     GICv3  27 Level     arch_timer\n 60:   0   0   ITS-MSI 524288 Edge      nvme0q0\n"
)


def node_of(directory: Path, files: dict[str, Content], config: str = GUEST, table: str = CARD, running: str = "quiet") -> Host:
    base = {**boot.plant(f"loader: grub\nplan: {running}"), **pci.plant(table), "proc/cpuinfo": CPUINFO, CONFIG: config}
    base = {name: content for name, content in base.items() if not name.startswith(ACPI)}
    return Host(str(make_fake_tree(directory, {**base, "sys/class/iommu": None, **files})))


def found(host: Host) -> list[Finding]:
    node = hardware.gather(host, "pve1")
    guest = configs.read(host, "pve1", 100, configs.gather_context(host, "pve1", None))
    return [*catalogue.findings(guest, node), *of_node.findings_of_node(node)]


@pytest.mark.parametrize(
    ("files", "why", "remedy"),
    [
        pytest.param({f"{ACPI}/APIC": ""}, "the firmware shows none: the SMMU is switched off in the firmware setup", "Enable the SMMU", id="off in the firmware"),
        pytest.param({f"{ACPI}/IORT": ""}, "the firmware has the IORT table and the kernel shows no IOMMU", "arm-smmu in the kernel's log", id="described, and not there"),
        pytest.param({DEVICE_TREE: "x"}, "no SMMU, or the device tree of its firmware does not enable it", "update the firmware", id="by a device tree"),
        pytest.param({}, "whether the firmware has the IORT table is unknown", "Enable the SMMU", id="nothing of the firmware is seen"),
    ],
)  # fmt: skip
def test_without_smmu(files: dict[str, Content], why: str, remedy: str, tmp_path: Path) -> None:
    findings = {each.rule: each for each in found(node_of(tmp_path, files))}
    for rule in ("iommu-inactive", "iommu-off"):
        assert why in findings[rule].message and remedy in findings[rule].remedy, rule
    assert not [text for each in findings.values() for text in (each.message, each.remedy) if OF_X86.search(text)]


@pytest.mark.parametrize("kind", ["DMA-FQ", "identity"])
def test_with_smmu(kind: str, tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "sys/kernel/iommu_groups/7/type": f"{kind}\n",
        "sys/class/iommu/smmu3.0x000027ffe0000000": None,
        "proc/interrupts": INTERRUPTS,
    }
    host = node_of(tmp_path, files, table=CARD.replace("vfio-pci", "vfio-pci group=7"))
    assert iommu.read(host) == Iommu(True, "", "", True, False)
    findings = found(host)
    assert not {"iommu-inactive", "iommu-off", "interrupts-unsafe", "kvm-unavailable"} & {each.rule for each in findings}
    assert not [text for each in findings for text in (each.message, each.remedy) if OF_X86.search(text)]
    assert ("iommu.passthrough=1" in {each.subject for each in findings}) == (kind != "identity")


def test_arguments_of_x86(tmp_path: Path) -> None:
    """They are told to have no effect, and do not switch the SMMU off."""
    host = node_of(tmp_path, {f"{ACPI}/IORT": ""}, running="intel_iommu=on amd_iommu=on iommu=off intremap=off")
    subjects = {each.subject: each for each in found(host) if each.rule == "advice-void"}
    assert set(subjects) == {"intel_iommu=on", "amd_iommu=on"}
    assert all("has no effect on an ARM CPU" in each.message for each in subjects.values())
    assert "the kernel shows no IOMMU" in next(each.message for each in found(host) if each.rule == "iommu-off")
    assert iommu.after_boot(host, host) == iommu.read(host)


def test_pcie_of_a_guest(tmp_path: Path) -> None:
    host = node_of(tmp_path, {}, GUEST.replace("0001:01:00.0", "0001:01:00.0,pcie=1"))
    (finding,) = [each for each in found(host) if each.rule == "hostpci-invalid"]
    assert finding.remedy == "Take pcie=1 out, ARM has no q35: qm set 100 --hostpci0 0001:01:00.0"
