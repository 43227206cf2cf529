"""Mistakes in lines of modprobe.d and modules-load.d, and in arguments of the kernel: each with its correction, beside what is right."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pvehooks.derived.argument_mistakes import mistakes
from pvehooks.derived.kernel_faults import FAULTS, faults_of, without_faults
from pvehooks.derived.setting_lines import of_modprobe, of_modules_load
from pvehooks.facts.boot.cmdline import words

# What lines are put together from.
PARTS = (
    *("\ufeff", "\u200b", "\u00a0", "\u201c", "\u2013", "#", ",", "=", ":", ".", "-", "_", '"', "'", " ", "\t", "\r"),
    *("options", "option", "ions", "blacklist", "softdep", "alias", "pre:", "pre", "vfio-pci", "vfio_pci.ids", "ids", "ids="),
    *("10de:2684", "0000:01:00.0", "a.b=c", "intel_iommu", "on", "iommu", "pt", "GRUB_X"),
)
IDS = "options vfio-pci ids=10de:2684,10de:22ba"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("options vfio-pci ids=10de:2684, 10de:22ba", IDS),
        ("options vfio-pci ids=10de:2684 ,10de:22ba", IDS),
        ("options vfio-pci ids = 10de:2684,10de:22ba", IDS),
        ("options snd_hda_intel index=0, 1", "options snd_hda_intel index=0,1"),
        ("option vfio-pci ids=10de:2684, 10de:22ba", IDS),
        ("Options vfio-pci ids=10de:2684,10de:22ba", IDS),
        ("vfio-pci ids=10de:2684,10de:22ba", IDS),
        ("vfio-pci.ids=10de:2684,10de:22ba", IDS),
        ("options vfio-pci.ids=10de:2684,10de:22ba", IDS),
        ("options vfio-pci vfio-pci.ids=10de:2684,10de:22ba", IDS),
        ("options vfio-pci pci_ids=10de:2684,10de:22ba", IDS),
        ("options vfio-pci ids=10de:2684;10de:22ba", IDS),
        ("options vfio\u2013pci ids=10de:2684, 10de:22ba", IDS),
        ("options vfio-pci ids=\u201c10de:2684\u201d", 'options vfio-pci ids="10de:2684"'),
        ("options vfio-pci ids=0000:01:00.0", ""),
        ("options vfio-pci ids=01:00.0", ""),
        ("options vfio-pci", ""),
        ("blacklist", ""),
        ("blacklist=nouveau", "blacklist nouveau"),
        ("Blacklist nouveau", "blacklist nouveau"),
        ("black list nouveau", "blacklist nouveau"),
        ("blacklist nouveau nvidia", "blacklist nouveau\nblacklist nvidia"),
        ("blacklist nouveau,nvidia", "blacklist nouveau\nblacklist nvidia"),
        ("blacklist nouveau.ko", "blacklist nouveau"),
        ("blacklist nouveau\r", "blacklist nouveau"),
        ("softdep nouveau pre vfio-pci", "softdep nouveau pre: vfio-pci"),
        ("softdep nouveau vfio-pci", "softdep nouveau pre: vfio-pci"),
        ("vfio_pci", ""),
        ("the GPU is for games", ""),
    ],
)
def test_what_modprobe_ignores(line: str, right: str) -> None:
    found = of_modprobe(line)
    assert found is not None and found.why
    assert found.right == right
    assert all(of_modprobe(each) is None for each in right.split("\n") if each)


@pytest.mark.parametrize(
    "line",
    [
        IDS,
        'options vfio-pci ids="10de:2684, 10de:22ba"',
        "options vfio-pci ids=10de:ffffffff:ffffffff:ffffffff:00030000:ffff00ff disable_vga=1",
        "options vfio-pci disable_vga",
        'options nvidia NVreg_RegistryDwords="a=1; b=2"',
        "options kvm ignore_msrs=1 report_ignored_msrs=0",
        "options snd_hda_intel index=0,1 # sound",
        "blacklist nouveau # not wanted",
        "softdep amdgpu pre: vfio vfio-pci post: snd_hda_intel",
        "install nvidiafb /bin/false",
        "alias wlan0 iwlwifi",
        "remove foo /bin/true",
        "weakdep a b",
    ],
)
def test_what_modprobe_understands(line: str) -> None:
    assert of_modprobe(line) is None


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("vfio-pci ids=10de:2684", "vfio-pci"),
        ("modprobe vfio", "vfio"),
        ("vfio_pci.ko", "vfio_pci"),
        ("\u201cvfio\u201d", "vfio"),
        ("vfio,", "vfio"),
        ("vfio vfio_pci", ""),
        ("blacklist nouveau", ""),
        ("options vfio-pci ids=10de:2684", ""),
    ],
)
def test_what_systemd_finds_no_module_for(line: str, right: str) -> None:
    found = of_modules_load(line)
    assert found is not None and found.right == right
    assert not right or of_modules_load(right) is None


@pytest.mark.parametrize("line", ["vfio", "vfio-pci", " vfio_iommu_type1 "])
def test_what_systemd_loads(line: str) -> None:
    assert of_modules_load(line) is None


@pytest.mark.parametrize(
    ("line", "written", "right"),
    [
        ("quiet vfio-pci-ids=10de:2684", "vfio-pci-ids=10de:2684", "vfio-pci.ids=10de:2684"),
        ("vfio_pci_ids=10de:2684", "vfio_pci_ids=10de:2684", "vfio-pci.ids=10de:2684"),
        ("ids=10de:2684", "ids=10de:2684", "vfio-pci.ids=10de:2684"),
        ("blacklist=nouveau", "blacklist=nouveau", "modprobe.blacklist=nouveau"),
        ("vfio-pci.ids=10de:2684, 10de:22ba", "vfio-pci.ids=10de:2684, 10de:22ba", "vfio-pci.ids=10de:2684,10de:22ba"),
        ("vfio-pci.ids 10de:2684", "vfio-pci.ids 10de:2684", "vfio-pci.ids=10de:2684"),
        ("vfio-pci.ids=01:00.0", "vfio-pci.ids=01:00.0", ""),
        ("intel_iommu on", "intel_iommu on", "intel_iommu=on"),
        ("intel_iommu:on", "intel_iommu:on", "intel_iommu=on"),
        ("intel-iommu-on", "intel-iommu-on", "intel_iommu=on"),
        ("Intel_iommu=on", "Intel_iommu=on", "intel_iommu=on"),
        ("intel_iomm=on", "intel_iomm=on", "intel_iommu=on"),
        ("intel_iommu=on,iommu=pt", "intel_iommu=on,iommu=pt", "intel_iommu=on iommu=pt"),
        ("intel_iommu=on;", "intel_iommu=on;", "intel_iommu=on"),
        ("intel_iommu=on,pt", "intel_iommu=on,pt", "intel_iommu=on iommu=pt"),
        ("amd_iommu=pt", "amd_iommu=pt", "iommu=pt"),
        ("iommu-pt", "iommu-pt", "iommu=pt"),
        ("iommupt", "iommupt", "iommu=pt"),
        ("intel_iommu=yes", "intel_iommu=yes", ""),
        ("pcie_acs_overide=downstream", "pcie_acs_overide=downstream", "pcie_acs_override=downstream"),
        ("pci_acs_override=downstream", "pci_acs_override=downstream", "pcie_acs_override=downstream"),
        ("\u201ciommu=pt", "\u201ciommu=pt", "iommu=pt"),
        ("intel\u2013iommu=on", "intel\u2013iommu=on", "intel-iommu=on"),
        ('GRUB_CMDLINE_LINUX="iommu=pt"', "GRUB_CMDLINE_LINUX=iommu=pt", "iommu=pt"),
        ("#quiet", "#quiet", ""),
    ],
)
def test_what_the_kernel_ignores(line: str, written: str, right: str) -> None:
    (found,) = mistakes(words(line))
    assert (found.written, found.right) == (written, right)
    assert found.why
    assert list(mistakes(words(right))) == []


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join))
@example("\ufeff")
@example("\u200b")
@example("blacklist ,")
def test_any_line(line: str) -> None:
    """A line that is not blank and no comment, as the readers of the files give it."""
    if line.strip() and not line.lstrip().startswith(("#", ";")):
        for read in (of_modprobe, of_modules_load):
            found = read(line)
            assert found is None or found.why
    assert all(found.written for found in mistakes(words(line)))


@pytest.mark.parametrize("line", ["\ufeff", "\ufeff# a comment", "\u200b"])
def test_a_mark_of_an_editor_is_no_line(line: str) -> None:
    assert of_modprobe(line) is None


def test_what_the_kernel_and_others_know() -> None:
    line = (
        "quiet intel_iommu=on,sm_on,igfx_off amd_iommu=on iommu=pt vfio-pci.ids=10de:2684,10de:22ba vfio_pci.disable_vga=1 kvm-intel.nested=1"
        " amd_iommu_dump=1 amd_iommu_intr=legacy iommu.passthrough=1 iommu.strict=0 intel_pstate=disable i915.enable_fbc=1 i915.enable_psr=0"
        " hugepages=16 default_hugepagesz=1G hugepagesz=1G transparent_hugepage=never pcie_aspm.policy=performance pci=realloc,noaer"
        " video=efifb:off,vesafb:off initcall_blacklist=sysfb_init module_blacklist=xe net.ifnames=0 console=ttyS0,115200n8 nohz=on"
        " isolcpus=managed_irq,domain,2-7 nohz_full=2-7 rcu_nocbs=2-7 rcu_nocb_poll systemd.show_status=1 rd.driver.pre=vfio-pci nosmt iommu"
    )
    assert list(mistakes(words(line))) == []


@pytest.mark.parametrize(
    ("release", "faulty"),
    [
        ("6.8.12-11-pve", False),
        ("6.8.12-12-pve", True),
        ("6.8.12-13-pve", False),
        ("6.14.8-1-pve", True),
        ("6.14.8-2-pve", False),
        ("7.0.12-1-pve", False),
        ("7.0.14-1-pve", True),
        ("7.0.14-2-pve", True),
        ("7.0.14-3-pve", False),
        ("7.0.14-2-amd64", False),
        ("", False),
    ],
)
def test_kernels_with_known_faults(release: str, faulty: bool) -> None:
    assert bool(list(faults_of(release))) is faulty


def test_a_kernel_without_the_fault() -> None:
    installed = ("7.0.14-2-pve", "7.0.14-1-pve", "6.12.1-amd64", "7.0.12-1-pve", "6.8.12-12-pve")
    assert without_faults(installed, faults_of("7.0.14-2-pve")) == "7.0.12-1-pve"
    assert without_faults(installed[:3], faults_of("7.0.14-2-pve")) == ""
    assert all(fault.source and fault.effect for fault in FAULTS)
