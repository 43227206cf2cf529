"""Passthrough and the rest of the node: memory, ids that vfio-pci takes at boot, guests that want the same device."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.passthrough import blocking_uses, bus, claims, named, passes_through
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Memory, Node, Severity, Unread

RULES = RuleSet(concerned=passes_through, order=60)
_MIB = 1 << 20
# PVE's default (qemu-server, Memory.pm).
_DEFAULT_MEMORY = 512
# The least that PVE takes (qemu-server, Memory.pm).
_LEAST_MEMORY = 16
_LARGE, _SMALL = 1 << 20, 2048


@RULES.rule(
    "ids-bind-host-device",
    Severity.WARNING,
    "Bind by address instead: pvehooks bind ADDRESS --persist",
    needs=("bound_ids", "pci", "holders", "uses"),
)
def ids_bind_host_device(guest: Guest, node: Node) -> Iterator[Finding]:
    """vfio-pci is told to take all devices of a kind at boot, and the host uses one of them, or has a twin of the guest's.

    `vfio-pci.ids=` and `options vfio-pci ids=` do not tell two cards of the same kind apart: at the next restart the host may
    lose its own, at the latest when the order changes in which drivers are loaded.
    Source: the kernel's Documentation/driver-api/vfio.rst; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.bound_ids, Unread):
        yield not_examined("vfio-pci", f"which ids vfio-pci takes at boot is unknown: {node.bound_ids.why}")
        return
    own = named(guest, node)
    for bound in node.bound_ids:
        for vendor, product in bound.ids:
            same = [device for device in bus(node).values() if (device.vendor, device.device) == (vendor, product)]
            twin_of_ours = any(device.address in own for device in same)
            for device in same:
                if device.address in own:
                    continue
                held = blocking_uses(device, guest, node)
                if not held and (not twin_of_ours or device.vfio):
                    continue
                why = f"which {held[0].sentence}" if held else "which nobody named"
                message = f"{bound.place} has vfio-pci take every {vendor:04x}:{product:04x} at boot, also {device.label}, {why}"
                guests_own = next((each.address for each in same if each.address in own), "ADDRESS")
                remedy = f"Take the id out there, and bind by address: pvehooks bind {guests_own} --persist"
                yield Finding(device.address, message, remedy)


@RULES.rule(
    "memory-short", Severity.WARNING, "Stop other guests, or give it less: qm set {vmid} --memory MIB", needs=("holders", "memory", "pci")
)
def memory_short(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node has not enough free memory for the guest, which needs all of it at once.

    With a passed-through device all memory of a guest is pinned at the start; ballooning and KSM give nothing back. What ZFS
    has cached (ARC) and can give back is counted as free.
    Source: the administrator's manual, "PCI(e) Passthrough"; the kernel's /proc/meminfo.
    """
    if guest.running or "hugepages" in guest.options or not any(claim.entry.taken_whole for claim in claims(guest, node)):
        return
    if isinstance(node.memory, Unread):
        yield not_examined("memory", f"how much memory is free is unknown: {node.memory.why}")
        return
    needed = _memory(guest)
    free = node.memory.available // _MIB
    if needed > free:
        message = f"it needs {needed} MiB at once, because devices are passed through, and {node.name} has {free} MiB free"
        less = f"Stop other guests, or give it less: {remedies.replacing(guest, 'memory', 'current', str(free), 'current')}"
        yield Finding("memory", message, less if free >= _LEAST_MEMORY else "Stop other guests")


def _memory(guest: Guest) -> int:
    """The guest's memory in MiB: a number, or current=N (qemu-server, Memory.pm)."""
    text = str(guest.options.get("memory", _DEFAULT_MEMORY)).removeprefix("current=")
    return int(text) if text.isdecimal() else _DEFAULT_MEMORY


@RULES.rule(
    "hugepages-short",
    Severity.WARNING,
    "Stop other guests, or reserve the pages at boot: hugepagesz= hugepages= on the kernel command line",
    needs=("memory",),
)
def hugepages_short(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node has too few huge pages for the guest, free ones and those that its free memory would give.

    PVE makes the pages at the start, and large ones can often not be had any more on a node that has run for long.
    Source: qemu-server, Memory.pm (hugepages_allocate); the administrator's manual, "Memory".
    """
    wanted = str(guest.options.get("hugepages", ""))
    if guest.running or not wanted:
        return
    if isinstance(node.memory, Unread):
        yield not_examined("hugepages", f"how many huge pages are free is unknown: {node.memory.why}")
        return
    needed = _memory(guest)
    sizes = {"2": _SMALL, "1024": _LARGE}
    size = sizes.get(wanted, _LARGE if needed % 1024 == 0 and any(pages.size == _LARGE for pages in node.memory.hugepages) else _SMALL)
    pages = -(-needed * 1024 // size)
    there = _pages(node.memory, size)
    if pages > there:
        unit = "1 GiB" if size == _LARGE else "2 MiB"
        yield Finding("hugepages", f"it needs {pages} huge pages of {unit}, and {node.name} can give {there}")


def _pages(memory: Memory, size: int) -> int:
    return sum(pages.free + pages.allocatable for pages in memory.hugepages if pages.size == size)
