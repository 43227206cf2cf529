"""The firmware and the CPU: UEFI, Secure Boot, ACPI tables, IOMMUs, microcode."""

from __future__ import annotations

from pvehooks.facts.node import cpu
from pvehooks.facts.reading import text_of, unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Firmware

EFI = "/sys/firmware/efi"
VARIABLES = f"{EFI}/efivars"
# The GUIDs of the UEFI specification's global variables (3.3) and of shim's (its include/guid.h).
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
# A variable in efivarfs begins with four bytes of attributes (the kernel's filesystems/efivarfs).
_ATTRIBUTES = 4
_GROUPS = "/sys/kernel/iommu_groups"
_MICROCODE = {"GenuineIntel": "intel-microcode", "AuthenticAMD": "amd64-microcode"}


def read(host: Host) -> Firmware | Unread:
    """What the running kernel shows of them."""
    try:
        processor = cpu.first(host)
    except OSError as error:
        return unread("/proc/cpuinfo", error)
    uefi = host.is_dir(EFI)
    groups = _names(host, _GROUPS) or []
    tables = _names(host, "/sys/firmware/acpi/tables")
    vendor = cpu.vendor(host)
    # A virtual machine gets no microcode of its own.
    microcode = "" if "hypervisor" in processor.get("flags", "").split() else _MICROCODE.get(vendor, "")
    return Firmware(
        vendor,
        uefi,
        secure_boot(host) if uefi else False,
        None if tables is None else frozenset(tables),
        frozenset(filter(None, (text_of(host, f"{_GROUPS}/{group}/type") for group in groups))),
        tuple(_names(host, "/sys/class/iommu") or ()),
        len(groups),
        microcode,
        bool(microcode) and host.is_dir(f"/usr/share/doc/{microcode}"),
    )


def variable(host: Host, name: str, guid: str) -> bytes | None:
    """An EFI variable's value, None where it is not there or cannot be read."""
    try:
        return host.read(f"{VARIABLES}/{name}-{guid}")[_ATTRIBUTES:]
    except OSError:
        return None


def secure_boot(host: Host) -> bool | None:
    """Whether Secure Boot is on, None where it is unknown."""
    value = variable(host, "SecureBoot", GLOBAL)
    return None if not value else value[0] == 1


def _names(host: Host, path: str) -> list[str] | None:
    try:
        return host.names(path)
    except OSError:
        return None
