"""The IOMMU: on and off in captures of real kernels, and why it is off."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.pci import iommu
from pvehooks.host import Host
from pvehooks.values import Iommu, Unread
from tests.beds.tree import Content, Link, make_fake_tree
from tests.facts import captures

GROUPS = "/sys/kernel/iommu_groups"
ON: dict[str, Content] = {f"{GROUPS}/0/devices/0000:01:00.0": None, "/sys/class/iommu/dmar0/intel-iommu/ecap": "f00f4a\n"}
OFF: dict[str, Content] = {GROUPS: None, "/sys/class/iommu": None}
REMAPPED = "            CPU0       CPU1\n   0:         44          0  IR-IO-APIC    2-edge      timer\n"
PLAIN = "            CPU0       CPU1\n   0:         44          0   IO-APIC   2-edge      timer\n"


def read(directory: Path, files: dict[str, Content]) -> Iommu | Unread:
    return iommu.read(Host(str(make_fake_tree(directory, files))))


def here(directory: Path, files: dict[str, Content]) -> Iommu:
    found = read(directory, files)
    assert not isinstance(found, Unread)
    return found


@pytest.mark.shared_data
@pytest.mark.parametrize("name", captures.NAMES)
def test_a_capture(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """None of them holds /proc/interrupts: whether interrupts are remapped cannot be told."""
    captured = captures.load(name)
    found = iommu.read(Host(str(captures.materialise(name, tmp_path_factory))))
    on = not name.startswith(("intel-off", "no-iommu-device"))
    assert on == bool(captured["iommu_groups"])
    assert isinstance(found, Iommu)
    assert (found.active, found.why == "") == (on, on)
    assert found[2:] == ("", None, False)
    if name.startswith("intel-off"):
        assert found.why == "the kernel command line has intel_iommu=off"


def test_on(tmp_path: Path) -> None:
    assert read(tmp_path, ON) == Iommu(True, "", "", None, False)


ARGUMENT_MISSING = "the running kernel needs intel_iommu=on, which is not on its command line"
SHOWS_NONE = "the kernel command line does not switch {} off, but the kernel shows no IOMMU"


@pytest.mark.parametrize(
    ("cpu", "arguments", "tables", "why"),
    [
        pytest.param("GenuineIntel", "quiet intel_iommu=off", "DMAR", "the kernel command line has intel_iommu=off", id="switched off"),
        pytest.param("GenuineIntel", "iommu=off intel_iommu=on", "DMAR", "the kernel command line has iommu=off", id="all switched off"),
        pytest.param("AuthenticAMD", "amd_iommu=off", "IVRS", "the kernel command line has amd_iommu=off", id="AMD switched off"),
        pytest.param("GenuineIntel", "iommu=pt", "DMAR", ARGUMENT_MISSING, id="not asked for"),
        pytest.param(
            "GenuineIntel",
            "intel_iommu=off intel_iommu=on,sm_on",
            "DMAR",
            f"the firmware has the DMAR table and {SHOWS_NONE.format('VT-d')}",
            id="last one counts",
        ),
        pytest.param("GenuineIntel", "intel_iommu=on", "IVRS", "the firmware shows none: VT-d is switched off", id="no table"),
        pytest.param("AuthenticAMD", "amd_iommu=on", "APIC", "the firmware shows none: AMD-Vi (IOMMU) is switched off", id="AMD, no table"),
        pytest.param("", "", "APIC", "the firmware shows none: VT-d or AMD-Vi is switched off", id="unknown CPU"),
        pytest.param("", "", "", "whether the firmware has the DMAR or IVRS table is unknown", id="nothing known"),
        pytest.param(
            "AuthenticAMD", "", "IVRS", f"the firmware has the IVRS table and {SHOWS_NONE.format('AMD-Vi (IOMMU)')}", id="AMD with table"
        ),
    ],
)
def test_why_it_is_off(tmp_path: Path, cpu: str, arguments: str, tables: str, why: str) -> None:
    files: dict[str, Content] = {**OFF, "/proc/cmdline": f"root=/dev/sda2 {arguments}\n"}
    if cpu:
        files["/proc/cpuinfo"] = f"processor\t: 0\nvendor_id\t: {cpu}\nmodel name\t: x\n"
    if tables:
        files[f"/sys/firmware/acpi/tables/{tables}"] = ""
    found = here(tmp_path, files)
    assert not found.active
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("release", "config", "missing"),
    [
        pytest.param("6.5.13-5-pve", None, True, id="Proxmox VE's before 6.8"),
        pytest.param("6.8.12-4-pve", None, False, id="Proxmox VE's since 6.8"),
        pytest.param("6.8.12-4-pve", "CONFIG_INTEL_IOMMU=y\n", True, id="the configuration decides"),
        pytest.param("6.12.0-amd64", None, True, id="another's, its configuration unknown"),
        pytest.param("6.1.0-40-amd64", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y\n", False, id="Debian's"),
    ],
)
def test_the_argument_is_missing_only_where_the_kernel_needs_it(release: str, config: str | None, missing: bool, tmp_path: Path) -> None:
    files: dict[str, Content] = {**OFF, "/proc/cmdline": "root=/dev/sda2\n", "/proc/sys/kernel/osrelease": f"{release}\n"}
    files |= {"/proc/cpuinfo": "vendor_id\t: GenuineIntel\n", "/sys/firmware/acpi/tables/DMAR": ""}
    if config is not None:
        files[f"/boot/config-{release}"] = config
    assert (here(tmp_path, files).why == ARGUMENT_MISSING) is missing


def test_groups_without_an_iommu_are_vfios_unsafe_mode(tmp_path: Path) -> None:
    found = here(tmp_path, {f"{GROUPS}/0/name": "vfio-noiommu\n", "/sys/class/iommu": None})
    assert not found.active
    assert "unsafe no-IOMMU mode" in found.why


def test_a_kernel_without_it(tmp_path: Path) -> None:
    assert here(tmp_path, {"/sys/kernel": None, "/sys/bus/pci": None}).why == "this kernel was built without IOMMU support"


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="no sysfs"),
        pytest.param({GROUPS: Link("iommu_groups")}, id="circle"),
        pytest.param(ON | {"/proc/cmdline": None}, id="command line unreadable"),
    ],
)
def test_unread(tmp_path: Path, files: dict[str, Content]) -> None:
    assert isinstance(read(tmp_path, files), Unread)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("pcie_acs_override=downstream,multifunction", "downstream,multifunction"),
        ("pcie_acs_override=id:10de:1b80 pcie_acs_override=downstream", "downstream"),
        ('"pcie_acs_override=downstream" quiet', "downstream"),
        ("xpcie_acs_override=downstream pci=noaer", ""),
    ],
)
def test_acs_override(tmp_path: Path, arguments: str, value: str) -> None:
    assert here(tmp_path, {**ON, "/proc/cmdline": arguments}).acs_override == value


@pytest.mark.parametrize(
    ("files", "remaps"),
    [
        pytest.param({"/proc/interrupts": REMAPPED}, True, id="remapped"),
        pytest.param({"/proc/interrupts": PLAIN}, False, id="not remapped"),
        pytest.param({"/proc/interrupts": "  CPU0\n 13: 1 ITS-MSI 0 Edge eth0\n"}, True, id="an ITS of ARM"),
        pytest.param({"/proc/interrupts": "  CPU0\n 13: 1 GICv2m 0 Edge eth0\n"}, None, id="other interrupt controllers"),
        pytest.param({"/proc/cmdline": "intremap=off"}, False, id="switched off"),
        pytest.param({"/sys/class/iommu/dmar1/intel-iommu/ecap": "f00f42\n"}, False, id="a unit that cannot"),
        pytest.param({"/sys/class/iommu/dmar1/intel-iommu/ecap": "zz\n"}, None, id="nonsense"),
        pytest.param({"/sys/class/iommu/ivhd0/amd-iommu/cap": "1f\n"}, None, id="cannot be told"),
    ],
)
def test_interrupt_remapping(tmp_path: Path, files: dict[str, Content], remaps: bool | None) -> None:
    assert here(tmp_path, {**ON, **files}).remaps_interrupts is remaps


UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"


@pytest.mark.parametrize(
    ("files", "allowed"),
    [
        pytest.param({UNSAFE: "Y\n"}, True, id="on"),
        pytest.param({UNSAFE: "N\n", "/proc/cmdline": "vfio_iommu_type1.allow_unsafe_interrupts=1"}, False, id="off"),
        pytest.param({"/proc/cmdline": "vfio-iommu-type1.allow_unsafe_interrupts=1"}, True, id="not loaded, command line"),
        pytest.param({"/etc/modprobe.d/x.conf": "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"}, True, id="not loaded, modprobe"),
        pytest.param({"/etc/modprobe.d/x.conf": "options vfio_iommu_type1 allow_unsafe_interrupts=0\n"}, False, id="not loaded, off"),
        pytest.param({}, False, id="not loaded"),
    ],
)
def test_unsafe_interrupts(tmp_path: Path, files: dict[str, Content], allowed: bool) -> None:
    assert here(tmp_path, {**ON, **files}).unsafe_allowed is allowed
