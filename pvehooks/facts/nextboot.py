"""The node as it will be after its next boot: the readers of the node as it is, shown another kernel, command line and state of guests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from pvehooks.facts.boot import kernelmodules, kernels, nextkernel
from pvehooks.facts.hardware import ThisNode
from pvehooks.facts.node import layout, moduleoptions, newnames
from pvehooks.facts.pci import bindings, iommu
from pvehooks.facts.uses import DeviceUses
from pvehooks.host import Host
from pvehooks.host.overlay import overlaid
from pvehooks.values import Holder, HostUses, Iommu, Memory, Node, PciDevice, Unread, Uses
from pvehooks.values.boot import BootDrivers, CommandLines, Initramfs, KernelModules, Kernels, NewName, NextBoot

_VFIO = "vfio-pci"


def gather(host: Host, name: str, asked: str = "", without: str = "") -> Node | Unread:
    """The node `name` after a boot of the kernel that was asked for, else of the one that the boot loader takes; Unread where that is not known.

    `without` is a kernel that is taken for removed.
    """
    here = _without(host, without)
    now = ThisNode(here, name)
    known = now.kernels
    if isinstance(known, Unread):
        return known
    if asked:
        trouble = nextkernel.require_installed(here, asked)
        if trouble is not None:
            return trouble
    chosen = nextkernel.choose(here, known, now.loader, now.command_lines, asked)
    return chosen if isinstance(chosen, Unread) else NextBootNode(here, name, now, chosen, host)


def as_it_is(host: Host, name: str, without: str) -> Node:
    """The node as it is, with a kernel removed."""
    return ThisNode(_without(host, without), name)


def _without(host: Host, kernel: str) -> Host:
    return overlaid(host, {}, (f"/boot/vmlinuz-{kernel}", f"/lib/modules/{kernel}")) if kernel else host


class NextBootNode(ThisNode):
    """The node after its next boot. No VM runs; devices, disks and the network are taken to be what they are now."""

    def __init__(self, host: Host, name: str, now: ThisNode, chosen: NextBoot, present: Host) -> None:
        self._now = now
        self._chosen = chosen
        contents = {
            moduleoptions.COMMAND_LINE: nextkernel.as_read(chosen.words),
            "/proc/sys/kernel/osrelease": f"{chosen.release}\n".encode(),
        }
        # Which modules are loaded says nothing of the next boot.
        super().__init__(overlaid(host, contents, tuple(f"/sys/module/{name}" for name in ("vfio", "vfio_pci", "vfio_iommu_type1"))), name)
        # As it is, with all kernels.
        self._present = present

    @cached_property
    def next_boot(self) -> NextBoot | Unread:
        return self._chosen

    @cached_property
    def command_lines(self) -> CommandLines | Unread:
        now = self._now.command_lines
        return now if isinstance(now, Unread) else now._replace(running=self._chosen.words)

    @cached_property
    def kernels(self) -> Kernels | Unread:
        known = kernels.read(self._host)
        return known if isinstance(known, Unread) else known._replace(next_boot=self._chosen.release)

    @cached_property
    def iommu(self) -> Iommu | Unread:
        return iommu.after_boot(self._host, self._present)

    @cached_property
    def initramfs(self) -> Initramfs | Unread:
        return kernelmodules.initramfs(self._host, self._chosen.release)

    @cached_property
    def kernel_modules(self) -> KernelModules | Unread:
        return kernelmodules.read(self._host, self._chosen.release, self._present, self._chosen.running)

    @cached_property
    def new_names(self) -> tuple[NewName, ...] | Unread:
        return newnames.read(self._present, self._chosen)

    @cached_property
    def boot_drivers(self) -> BootDrivers | Unread:
        return _DriversAtBoot(self._host, self)

    # -- no VM runs -------------------------------------------------------------------------------------------------------

    @cached_property
    def holders(self) -> Mapping[str, tuple[Holder, ...]] | Unread:
        return {}

    @cached_property
    def memory(self) -> Memory | Unread:
        """All of it is free; what of it becomes huge pages is not known before."""
        known = layout.read(self._host)
        if isinstance(known, Unread):
            return known
        now = self._now.memory
        pages = () if isinstance(now, Unread) else now.hugepages
        each = known.memory // max(1, len({page.numa for page in pages}))
        return Memory(known.memory, tuple(page._replace(allocatable=each // (page.size << 10)) for page in pages))

    @cached_property
    def uses(self) -> HostUses | Unread:
        return _UsesWithoutGuests(DeviceUses(self._present, self.name, self._running), self._ended)

    @cached_property
    def _ended(self) -> frozenset[int]:
        """The VMIDs of VMs that do not start at boot."""
        if isinstance(self.guests, Unread):
            return frozenset()
        return frozenset(guest.vmid for guest in self.guests if not guest.options.get("onboot"))


class _UsesWithoutGuests:
    """The uses of devices, without those by VMs that run now and do not start at boot."""

    def __init__(self, uses: HostUses, ended: frozenset[int]) -> None:
        self._uses = uses
        self._ended = ended

    def of(self, device: PciDevice) -> Uses:
        found = self._uses.of(device)
        return found._replace(found=tuple(use for use in found.found if use.vmid not in self._ended))


class _DriversAtBoot:
    """values.boot.BootDrivers: what is bound to vfio-pci at boot, else the module of the kernel that knows the device."""

    def __init__(self, host: Host, node: NextBootNode) -> None:
        self._host = host
        self._node = node

    def of(self, address: str) -> str:
        pci, support = self._node.pci, self._node.vf_support
        device = None if isinstance(pci, Unread) else pci.get(address)
        note = bindings.noted(self._host, address)
        if isinstance(note, bindings.BootBinding) and note.vfs is None:
            return _VFIO
        by_driverctl = bindings.driverctl(self._host).get(address, "")
        if by_driverctl or device is None:
            return by_driverctl
        ids = () if isinstance(self._node.bound_ids, Unread) else self._node.bound_ids
        if any((device.vendor, device.device) in bound.ids for bound in ids):
            return _VFIO
        if device.driver and not device.vfio:
            return device.driver
        return "" if isinstance(support, Unread) else support.module(address)
