"""Why the IOMMU is off, as far as that can be changed, and what changes it."""

from __future__ import annotations

from pvehooks.derived.kernel_args import add, remove, values_of
from pvehooks.derived.once import once
from pvehooks.values import Node, Unread

INTEL, ARM = "GenuineIntel", "ARM"
_TABLES = {INTEL: "DMAR", ARM: "IORT"}
_IN_FIRMWARE = "Enable it in the firmware setup (VT-d, AMD-Vi, IOMMU: enabled, not auto), and restart the node"
_IN_LOG = "Look for DMAR or AMD-Vi in the kernel's log: journalctl -kb"
_IN_FIRMWARE_OF_ARM = (
    "Enable the SMMU (IOMMU) in the firmware setup, or update the firmware, and restart the node; without one nothing can be passed through"
)
_IN_LOG_OF_ARM = "Look for arm-smmu in the kernel's log: journalctl -kb"


@once
def remedy(node: Node) -> str:
    """What to do about an IOMMU that is off, '' where nothing is known to help; it fits the reason in node.iommu.why."""
    if is_arm(node):
        return _IN_LOG_OF_ARM if table_is_there(node) else _IN_FIRMWARE_OF_ARM
    off = switched_off(node)
    if off:
        return remove(off, node)
    if needs_switching_on(node):
        return add("intel_iommu=on", node)
    if table_is_there(node):
        return _IN_LOG
    return "" if isinstance(node.iommu, Unread) or "firmware" not in node.iommu.why else _IN_FIRMWARE


def is_arm(node: Node) -> bool:
    """Whether the node's CPU is known to be an ARM one: it knows none of the arguments for VT-d and AMD-Vi."""
    return not isinstance(node.firmware, Unread) and node.firmware.cpu == ARM


def switched_off(node: Node) -> str:
    """The argument that leaves the IOMMU off ("intel_iommu=off"), '' if none does."""
    if is_arm(node) or isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return ""
    for name in ("iommu", "intel_iommu", "amd_iommu"):
        last = [value for value in values_of(node.command_lines.running, name) if value in ("on", "off", "force")][-1:]
        if last == ["off"]:
            return f"{name}=off"
    return ""


def needs_switching_on(node: Node) -> bool:
    """Whether the running kernel leaves VT-d off without intel_iommu=on, and does not have that argument."""
    if isinstance(node.firmware, Unread) or node.firmware.cpu != INTEL or not table_is_there(node):
        return False
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread) or isinstance(node.kernels, Unread):
        return False
    return not node.kernels.vtd_by_default and "on" not in values_of(node.command_lines.running, "intel_iommu")


def table_is_there(node: Node) -> bool:
    """Whether the firmware has the ACPI table that describes the IOMMU of the CPU's maker (DMAR, IVRS, IORT)."""
    if isinstance(node.firmware, Unread) or node.firmware.tables is None:
        return False
    return _TABLES.get(node.firmware.cpu, "IVRS") in node.firmware.tables
