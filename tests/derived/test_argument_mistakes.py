"""Each mistake in the kernel's arguments, whole: what is written, why it has no effect, and what should stand there."""

from __future__ import annotations

import pytest

from pvehooks.derived.argument_mistakes import mistakes

NO_BLANKS = "the value follows {} after =, without blanks; the kernel ignores it like this"
UNKNOWN = "the kernel has no argument '{}' and ignores it"
TYPOGRAPHIC = "it has typographic quotes, dashes or blanks, and the kernel ignores it"
NO_VALUE = "{} has no value '{}', and the kernel ignores that value"
CASE = "the kernel distinguishes upper and lower case and ignores it"
FIRST, SECOND = "10de:2684", "10de:22ba"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("quiet intel_iommu=on iommu=pt", []),
        ("intel_iommu on", [("intel_iommu on", NO_BLANKS.format("intel_iommu"), "intel_iommu=on")]),
        ("intel_iommu= on", [("intel_iommu= on", NO_BLANKS.format("intel_iommu"), "intel_iommu=on")]),
        ("intel_iommu quiet", []),
        ("quiet intel_iommu", []),
        ("iommu pt quiet", [("iommu pt", NO_BLANKS.format("iommu"), "iommu=pt")]),
        ("intel-iommu=on", []),
        ("intel_iommu=on,", []),
        ("intel_iommu=On", [("intel_iommu=On", NO_VALUE.format("intel_iommu", "On"), "intel_iommu=on")]),
        ("intel_iommu=on;", [("intel_iommu=on;", NO_VALUE.format("intel_iommu", "on;"), "intel_iommu=on")]),
        ("amd_iommu=yes", [("amd_iommu=yes", NO_VALUE.format("amd_iommu", "yes"), "")]),
        ("intel_iommu=pt", [("intel_iommu=pt", "pt is a value of iommu, not of intel_iommu, and the kernel ignores it", "intel_iommu=on iommu=pt")]),
        ("intel_iommu=on,pt", [("intel_iommu=on,pt", "pt is a value of iommu, not of intel_iommu, and the kernel ignores it", "intel_iommu=on iommu=pt")]),
        ("amd_iommu=pt", [("amd_iommu=pt", "pt is a value of iommu, not of amd_iommu, and the kernel ignores it", "iommu=pt")]),
        ("intel_iommu=on,iommu=pt", [("intel_iommu=on,iommu=pt", "a blank separates two arguments, not a comma; the kernel ignores iommu=pt", "intel_iommu=on iommu=pt")]),
        # -- spellings
        ("\u201cquiet\u201d", [("\u201cquiet\u201d", TYPOGRAPHIC, "quiet")]),
        ("intel\u2013iommu=yes", [("intel\u2013iommu=yes", TYPOGRAPHIC, "")]),
        ("\u201cintel_iommu=On\u201d", [("\u201cintel_iommu=On\u201d", TYPOGRAPHIC, "intel_iommu=on")]),
        ("\u201d", [("\u201d", TYPOGRAPHIC, "")]),
        ("GRUB_CMDLINE_LINUX='quiet'", [("GRUB_CMDLINE_LINUX='quiet'", "GRUB_CMDLINE_LINUX is a variable of /etc/default/grub, and the kernel ignores it", "quiet")]),
        ("#nomodeset", [("#nomodeset", "the kernel command line has no comments", "")]),
        ("NOMODESET", [("NOMODESET", CASE, "nomodeset")]),
        ("Intel_IOMMU=on", [("Intel_IOMMU=on", CASE, "intel_iommu=on")]),
        ("Quiet", []),
        ("intel_iommuon", [("intel_iommuon", UNKNOWN.format("intel_iommuon"), "intel_iommu=on")]),
        ("iommupt", [("iommupt", UNKNOWN.format("iommupt"), "iommu=pt")]),
        ("intel.iommu=on", [("intel.iommu=on", UNKNOWN.format("intel.iommu"), "intel_iommu=on")]),
        ("vfio.pci.ids=1", [("vfio.pci.ids=1", UNKNOWN.format("vfio.pci.ids"), "vfio-pci.ids=1")]),
        ("vfio-pci-ids=10de:2684", [("vfio-pci-ids=10de:2684", UNKNOWN.format("vfio-pci-ids"), "vfio-pci.ids=10de:2684")]),
        ("intel_iomu=on", [("intel_iomu=on", UNKNOWN.format("intel_iomu"), "intel_iommu=on")]),
        ("pcie_acs_overide=downstream", [("pcie_acs_overide=downstream", UNKNOWN.format("pcie_acs_overide"), "pcie_acs_override=downstream")]),
        ("pcie-acs-overide=downstream", [("pcie-acs-overide=downstream", UNKNOWN.format("pcie-acs-overide"), "pcie_acs_override=downstream")]),
        ("nomodesetxx", [("nomodesetxx", UNKNOWN.format("nomodesetxx"), "nomodeset")]),
        ("nomodesett", [("nomodesett", UNKNOWN.format("nomodesett"), "nomodeset")]),
        ("isolcpu=1", []),
        ("isolcpuss=1", [("isolcpuss=1", UNKNOWN.format("isolcpuss"), "isolcpus=1")]),
        ("hugepage=1", [("hugepage=1", UNKNOWN.format("hugepage"), "hugepages=1")]),
        ("hugepage", [("hugepage", UNKNOWN.format("hugepage"), "hugepages")]),
        ("iomm=pt", []),
        ("kvm.ignoremsrs=1", [("kvm.ignoremsrs=1", UNKNOWN.format("kvm.ignoremsrs"), "kvm.ignore_msrs=1")]),
        ("pcie.aspmm=off", []),
        ("nohz-full=1", []),
        ("nohzfull", [("nohzfull", UNKNOWN.format("nohzfull"), "nohz_full")]),
        ("isol.cpu", []),
        ("blacklist=nouveau", [("blacklist=nouveau", UNKNOWN.format("blacklist"), "modprobe.blacklist=nouveau")]),
        ("ids=10de:2684", [("ids=10de:2684", UNKNOWN.format("ids"), "vfio-pci.ids=10de:2684")]),
        ("blacklist", []),
        ("root=/dev/sda2", []),
        # -- ids
        (f"vfio-pci.ids={FIRST},{SECOND}", []),
        (f"vfio-pci.ids={FIRST}, {SECOND}", [(f"vfio-pci.ids={FIRST}, {SECOND}", f"a blank ends the value, and the kernel ignores {SECOND}", f"vfio-pci.ids={FIRST},{SECOND}")]),
        (f"vfio-pci.ids={FIRST} {SECOND}", [(f"vfio-pci.ids={FIRST} {SECOND}", f"a blank ends the value, and the kernel ignores {SECOND}", f"vfio-pci.ids={FIRST},{SECOND}")]),
        (f"vfio-pci.ids={FIRST}, quiet", []),
        (f"vfio-pci.ids={FIRST},", []),
        (f"vfio-pci.ids={FIRST} quiet", []),
        (f"vfio-pci.ids {FIRST}", [(f"vfio-pci.ids {FIRST}", NO_BLANKS.format("vfio-pci.ids"), f"vfio-pci.ids={FIRST}")]),
        (f"vfio-pci.ids= {FIRST}", [(f"vfio-pci.ids= {FIRST}", NO_BLANKS.format("vfio-pci.ids"), f"vfio-pci.ids={FIRST}")]),
        ("vfio-pci.ids quiet", []),
        ("vfio-pci.ids", []),
        (f"vfio-pci.ids={FIRST};{SECOND}", [(f"vfio-pci.ids={FIRST};{SECOND}", f"'{FIRST};{SECOND}' is no id such as 10de:2684, and vfio-pci ignores it", f"vfio-pci.ids={FIRST},{SECOND}")]),
        ("vfio-pci.ids=01:00.0", [("vfio-pci.ids=01:00.0", "'01:00.0' is an address, and vfio-pci takes ids such as 10de:2684", "")]),
        (f"vfio_pci.ids={FIRST}, QUIET=1", []),
        (f"blacklist=a, {FIRST}", [("blacklist=a,", UNKNOWN.format("blacklist"), "modprobe.blacklist=a,")]),
        ("vfio-pci.ids=10de:2684, NOMODESET", [("NOMODESET", CASE, "nomodeset")]),
    ],
)  # fmt: skip
def test_one(line: str, expected: list[tuple[str, str, str]]) -> None:
    assert [tuple(found) for found in mistakes(tuple(line.split()))] == expected


def test_all_of_a_line_in_their_order() -> None:
    found = mistakes(("intel_iommu", "on", "quiet", "iommu", "pt"))
    assert [each.written for each in found] == ["intel_iommu on", "iommu pt"]
