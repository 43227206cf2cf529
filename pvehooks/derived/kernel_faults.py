"""Kernels of Proxmox VE that are known to break passthrough: data, with where it is known from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvehooks.values import NamedTuple, PciDevice


class KernelFault(NamedTuple):
    """A fault of a range of kernel packages."""

    # The first release that has it.
    first: str
    # The last release that has it.
    last: str
    # What happens.
    effect: str
    # Where it is described.
    source: str
    # Those of the devices concerned; none: all.
    drivers: frozenset[str] = frozenset()
    # Whether only VFs are concerned.
    virtual: bool = False

    def has(self, release: str) -> bool:
        """Whether the kernel of this release has the fault."""
        return release.endswith("-pve") and _key(self.first) <= _key(release) <= _key(self.last)

    def concerns(self, device: PciDevice) -> bool:
        """Whether a start with this device is affected."""
        return (not self.virtual or bool(device.physfn)) and (not self.drivers or device.driver in self.drivers)


FAULTS = (
    KernelFault(
        "6.8.12-12-pve",
        "6.8.12-12-pve",
        "refuses virtual functions to VMs: the start fails with 'Permission denied'",
        "reports on i915-sriov-dkms and Proxmox's forum, 2025",
        virtual=True,
    ),
    KernelFault(
        "6.14.8-1-pve",
        "6.14.8-1-pve",
        "refuses virtual functions to VMs: the start fails with 'Permission denied'",
        "reports on i915-sriov-dkms and Proxmox's forum, 2025",
        virtual=True,
    ),
    KernelFault(
        "7.0.14-1-pve",
        "7.0.14-2-pve",
        "crashes when a device is unbound from amdgpu: the start hangs",
        "changelog of proxmox-kernel-7.0, 7.0.14-3 (the change is reverted)",
        drivers=frozenset({"amdgpu"}),
    ),
)


def faults_of(release: str) -> Iterator[KernelFault]:
    """The known faults of a kernel."""
    return (fault for fault in FAULTS if fault.has(release))


def without_faults(releases: Iterable[str], faults: Iterable[KernelFault]) -> str:
    """The first of these kernels that has none of the faults, '' for none."""
    known = tuple(faults)
    return next((release for release in releases if release.endswith("-pve") and not any(fault.has(release) for fault in known)), "")


def _key(release: str) -> tuple[int, ...]:
    """The numbers of a release: 6.8.12-12-pve is (6, 8, 12, 12)."""
    return tuple(int(number) for number in re.findall(r"[0-9]{1,9}", release))
