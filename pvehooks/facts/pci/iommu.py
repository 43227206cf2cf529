"""The IOMMU: whether there is one, why not, and what it can do."""

from __future__ import annotations

from pvehooks.facts.node import moduleoptions
from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Iommu, Unread

_GROUPS = "/sys/kernel/iommu_groups"
_UNITS = "/sys/class/iommu"
_TABLES = "/sys/firmware/acpi/tables"
# By the CPU's vendor_id: what its makers call the IOMMU, and the ACPI table that describes it.
_FAMILIES = {
    "GenuineIntel": ("VT-d", {"DMAR"}),
    "AuthenticAMD": ("AMD-Vi (IOMMU)", {"IVRS"}),
    "HygonGenuine": ("AMD-Vi (IOMMU)", {"IVRS"}),
    "ARM": ("the SMMU", {"IORT"}),
}
_DEVICE_TREE = "/sys/firmware/devicetree/base"
_UNSAFE = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
# Interrupt remapping in VT-d's extended capability register (Intel's Virtualization Technology for Directed I/O, 11.4.3).
_REMAPPING = 1 << 3
# A line of /proc/interrupts has a number for each CPU; the first lines are enough.
_SOME_LINES = 1 << 16


def read(host: Host) -> Iommu | Unread:
    """The IOMMU as it is now."""
    try:
        arguments = moduleoptions.arguments(host)
        groups = _names(host, _GROUPS)
        units = _names(host, _UNITS)
    except OSError as error:
        return unread(f"the IOMMU: {error.filename}", error)
    if groups is None and not host.is_dir("/sys/kernel"):
        return Unread("the IOMMU: /sys/kernel is not there")
    if groups is None and units is None and not host.is_dir("/sys/bus/pci"):
        return Unread("the IOMMU: nothing of the hardware is there")
    # PVE looks for the units (pve-common, SysFSTools.pm, check_iommu_support), then for the group.
    active = bool(groups) and units != []
    return Iommu(
        active,
        "" if active else _why(host, arguments, groups),
        next((value for name, value in reversed(arguments) if name == "pcie_acs_override"), ""),
        _remaps_interrupts(host, arguments, units or []) if active else None,
        _unsafe_allowed(host),
    )


def after_boot(host: Host, now: Host) -> Iommu | Unread:
    """The IOMMU after a boot: `host` shows the kernel and the command line of then, and `now` those that run."""
    known = read(host)
    if isinstance(known, Unread) or _cpu_vendor(host) == "ARM":
        # No argument switches an SMMU on or off.
        return known
    arguments, before = moduleoptions.arguments(host), moduleoptions.arguments(now)
    off = _switched_off(arguments)
    if not off and _cpu_vendor(host) == "GenuineIntel" and not _switched_on(arguments) and not _on_by_default(host):
        off = "no intel_iommu=on, without which this kernel leaves VT-d off"
    if off:
        return known._replace(active=False, why=f"its command line has {off}")
    was_off = bool(_switched_off(before)) or not (_switched_on(before) or _on_by_default(now))
    if not known.active and was_off:
        return Unread("the next boot switches the IOMMU on, and its groups are not known before")
    return known


def _names(host: Host, path: str) -> list[str] | None:
    """The names in a directory, None where there is no such directory."""
    try:
        return host.names(path)
    except FileNotFoundError:
        return None


def _why(host: Host, arguments: list[tuple[str, str]], groups: list[str] | None) -> str:
    """Why there is no IOMMU, in words. That a table is there proves nothing: the kernel keeps it also where its command line switches the IOMMU off."""
    if groups:
        return "the kernel shows IOMMU groups but no IOMMU, as in vfio's unsafe no-IOMMU mode, and Proxmox VE refuses that"
    if groups is None:
        return "this kernel was built without IOMMU support"
    cpu = _cpu_vendor(host)
    off = _switched_off(arguments) if cpu != "ARM" else ""
    if off:
        return f"the kernel command line has {off}"
    name, wanted = _FAMILIES.get(cpu, ("VT-d or AMD-Vi", {"DMAR", "IVRS"}))
    tables = _tables(host)
    if cpu == "ARM" and not tables and host.is_dir(_DEVICE_TREE):
        return "this machine has no SMMU, or the device tree of its firmware does not enable it"
    if tables is not None and not wanted & tables:
        return f"the firmware shows none: {name} is switched off in the firmware setup, or this machine has none"
    if cpu == "GenuineIntel" and not _switched_on(arguments) and not _on_by_default(host):
        return "the running kernel needs intel_iommu=on, which is not on its command line"
    table = " or ".join(sorted(wanted & tables if tables else wanted))
    shown = f"the firmware has the {table} table and" if tables else f"whether the firmware has the {table} table is unknown,"
    arguments_leave = "" if cpu == "ARM" else f" the kernel command line does not switch {name} off, but"
    return f"{shown}{arguments_leave} the kernel shows no IOMMU"


def _switched_off(arguments: list[tuple[str, str]]) -> str:
    """The argument that switches the IOMMU off (the kernel's admin-guide/kernel-parameters), '' if none does."""
    for name in ("iommu", "intel_iommu", "amd_iommu"):
        words = [word for key, value in arguments if key == name for word in value.split(",")]
        last = next((word for word in reversed(words) if word in ("on", "off", "force")), "")
        if last == "off":
            return f"{name}=off"
    return ""


def _switched_on(arguments: list[tuple[str, str]]) -> bool:
    return any(name == "intel_iommu" and "on" in value.split(",") for name, value in arguments)


def _on_by_default(host: Host) -> bool:
    from pvehooks.facts.boot import kernels

    known = kernels.read(host)
    return not isinstance(known, Unread) and known.vtd_by_default


def _remaps_interrupts(host: Host, arguments: list[tuple[str, str]], units: list[str]) -> bool | None:
    """By the names of the interrupts' controllers, which say IR when they are remapped; what hardware could do proves only a no."""
    if any(name == "intremap" and "off" in value.split(",") for name, value in arguments) and _cpu_vendor(host) != "ARM":
        return False
    for unit in units:
        try:
            if not int(host.read_text(f"{_UNITS}/{unit}/intel-iommu/ecap"), 16) & _REMAPPING:
                return False
        except (OSError, ValueError):
            continue
    try:
        lines = host.read("/proc/interrupts", _SOME_LINES)
    except OSError:
        return None
    # An ITS of ARM keeps the interrupts of devices apart (drivers/irqchip/irq-gic-v3-its.c, IRQ_DOMAIN_FLAG_ISOLATED_MSI).
    if b" IR-" in lines or b" ITS-" in lines:
        return True
    return False if b" IO-APIC" in lines or b" PCI-MSI" in lines else None


def _unsafe_allowed(host: Host) -> bool:
    """The module's parameter; while it is not loaded, the one that it will get."""
    try:
        return host.read_text(_UNSAFE) in ("Y", "1")
    except OSError:
        pass
    try:
        given = moduleoptions.given(host, "vfio_iommu_type1", "allow_unsafe_interrupts")
        return any(value in ("", "1", "Y", "y", "on") for _, value in given)
    except OSError:
        return False


def _cpu_vendor(host: Host) -> str:
    from pvehooks.facts.node import cpu

    try:
        return cpu.vendor(host)
    except OSError:
        return ""


def _tables(host: Host) -> set[str] | None:
    """The names of the firmware's ACPI tables, None where they cannot be listed."""
    try:
        return set(host.names(_TABLES))
    except OSError:
        return None
