"""The kernels: which runs, which are installed, which is pinned."""

from __future__ import annotations

import re

from pvehooks.facts.reading import names_in, unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Kernels

# Written by `proxmox-boot-tool kernel pin` (proxmox-kernel-helper; the manual, "Override the Kernel-Version for next Boot").
PIN = "/etc/kernel/proxmox-boot-pin"
NEXT_BOOT_PIN = "/etc/kernel/next-boot-pin"
_OPTIONS = (
    "CONFIG_INTEL_IOMMU_DEFAULT_ON",
    # Debian's: for all but integrated graphics.
    "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF",
    "CONFIG_IOMMU_DEFAULT_PASSTHROUGH",
    "CONFIG_INTEL_IOMMU",
    "CONFIG_AMD_IOMMU",
    "CONFIG_VFIO_PCI",
)
_RELEASE = re.compile(r"[A-Za-z0-9_.+~-]{1,64}")
_CONFIG_LIMIT = 1 << 20


def running(host: Host) -> str | Unread:
    """The release of the running kernel."""
    try:
        return _release(host.read_text("/proc/sys/kernel/osrelease"))
    except OSError as error:
        return unread("/proc/sys/kernel/osrelease", error)


def read(host: Host) -> Kernels | Unread:
    """The kernels as /boot has them."""
    release = running(host)
    if isinstance(release, Unread):
        return release
    names = names_in(host, "/boot")
    installed = [
        name.removeprefix("vmlinuz-") for name in names if name.startswith("vmlinuz-") and not name.endswith((".old", ".dpkg-tmp"))
    ]
    return Kernels(
        release,
        tuple(sorted(installed, key=order, reverse=True)),
        _first_line(host, PIN),
        _first_line(host, NEXT_BOOT_PIN),
        _built_with(host, release),
    )


def order(release: str) -> tuple[tuple[int, int | str], ...]:
    """A key by which newer releases come later: numbers count as numbers."""
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in re.findall(r"[0-9]{1,18}|[^0-9]+", release))


def _first_line(host: Host, path: str) -> str:
    try:
        lines = host.read_text(path).split()
    except OSError:
        return ""
    return _release(lines[0]) if lines else ""


def _release(text: str) -> str:
    """The text, if it can be a kernel's release, and so a part of a file's name."""
    return text.strip() if _RELEASE.fullmatch(text.strip()) else ""


def _built_with(host: Host, release: str) -> frozenset[str] | None:
    """The options of interest that are y or m in the configuration of the kernel."""
    if not release:
        return None
    try:
        text = host.read(f"/boot/config-{release}", _CONFIG_LIMIT)
    except OSError:
        return None
    return frozenset(name for name in _OPTIONS if any(f"\n{name}={value}\n".encode() in b"\n" + text for value in "ym"))
