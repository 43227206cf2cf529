"""Whether the kernel leaves the IOMMU off, and why."""

from __future__ import annotations

import re

from pvehooks.derived.kernel_args import values_of
from pvehooks.values import Node, Unread
from pvehooks.values.boot import Kernels

INTEL = "GenuineIntel"


def switched_off(node: Node) -> str:
    """The argument that leaves the IOMMU off ("intel_iommu=off"), '' if none does."""
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return ""
    for name in ("iommu", "intel_iommu", "amd_iommu"):
        last = [value for value in values_of(node.command_lines.running, name) if value in ("on", "off", "force")][-1:]
        if last == ["off"]:
            return f"{name}=off"
    return ""


def needs_switching_on(node: Node) -> bool:
    """Whether the running kernel leaves VT-d off unless it is told otherwise, and was not told; its build is asked first, then its release."""
    if isinstance(node.firmware, Unread) or node.firmware.cpu != INTEL or not table_is_there(node):
        return False
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread) or isinstance(node.kernels, Unread):
        return False
    return not default_on(node.kernels) and "on" not in values_of(node.command_lines.running, "intel_iommu")


def default_on(kernels: Kernels) -> bool:
    """Whether a kernel switches VT-d on by itself."""
    if kernels.built_with is not None:
        return bool({"CONFIG_INTEL_IOMMU_DEFAULT_ON", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF"} & kernels.built_with)
    return kernels.running.endswith("-pve") and release(kernels.running) >= (6, 8)


def release(version: str) -> tuple[int, int]:
    """Major and minor number of a kernel's release, (0, 0) for what is none."""
    match = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def table(node: Node) -> str:
    """The name of the ACPI table that the firmware describes an IOMMU in, '' where the CPU is unknown."""
    return "" if isinstance(node.firmware, Unread) else "DMAR" if node.firmware.cpu == INTEL else "IVRS"


def table_is_there(node: Node) -> bool:
    """Whether the firmware has that table."""
    return not isinstance(node.firmware, Unread) and node.firmware.tables is not None and table(node) in node.firmware.tables
