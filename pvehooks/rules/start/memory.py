"""The VM's memory at its start: passed-through devices pin all of it, and huge pages have to be there."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import PASSING, claims
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Memory, Node, Severity, Unread


def _concerned(guest: Guest) -> bool:
    return not guest.template and (guest.passes_through or "hugepages" in guest.options)


RULES = RuleSet(applies_to=_concerned, order=60, options=(*PASSING, "hugepages"))
_MIB = 1 << 20
# PVE's default (qemu-server, Memory.pm).
_DEFAULT_MEMORY = 512
# The least that PVE takes (qemu-server, Memory.pm).
_LEAST_MEMORY = 16
_LARGE, _SMALL = 1 << 20, 2048


@RULES.rule(
    "memory-short", Severity.WARNING, "Stop other VMs, or give it less: qm set {vmid} --memory MIB", needs=("holders", "memory", "pci")
)
def memory_short(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node has not enough free memory for the VM, which needs all of it at once.

    With a passed-through device all memory of a VM is pinned at the start; ballooning and KSM give nothing back. What ZFS
    has cached (ARC) and can give back is counted as free.
    Source: the administrator's manual, "PCI(e) Passthrough"; the kernel's /proc/meminfo.
    """
    if guest.running or "hugepages" in guest.options or not any(claim.entry.taken_whole for claim in claims(guest, node)):
        return
    if isinstance(node.memory, Unread):
        yield not_examined("memory", f"how much memory is free is unknown: {node.memory.why}")
        return
    needed = guest.number("memory", _DEFAULT_MEMORY)
    free = node.memory.available // _MIB
    if needed > free:
        message = f"it needs {needed} MiB at once, because devices are passed through, and {node.name} has {free} MiB free"
        less = f"Stop other VMs, or give it less: {derived.remedies.replacing(guest, 'memory', 'current', str(free), 'current')}"
        yield Finding("memory", message, less if free >= _LEAST_MEMORY else "Stop other VMs")


@RULES.rule(
    "hugepages-short",
    Severity.WARNING,
    "Stop other VMs, or reserve the pages at boot with hugepagesz= and hugepages= on the kernel command line",
    needs=("memory",),
)
def hugepages_short(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node has too few huge pages for the VM, free ones and those that its free memory would give.

    PVE makes the pages at the start, and a node that has run for long often has no room for large ones.
    Source: qemu-server, Memory.pm (hugepages_allocate); the administrator's manual, "Memory".
    """
    wanted = str(guest.options.get("hugepages", ""))
    if guest.running or not wanted:
        return
    if isinstance(node.memory, Unread):
        yield not_examined("hugepages", f"how many huge pages are free is unknown: {node.memory.why}")
        return
    needed = guest.number("memory", _DEFAULT_MEMORY)
    sizes = {"2": _SMALL, "1024": _LARGE}
    size = sizes.get(wanted, _LARGE if needed % 1024 == 0 and any(pages.size == _LARGE for pages in node.memory.hugepages) else _SMALL)
    pages = -(-needed * 1024 // size)
    there = _pages(node.memory, size)
    if pages > there:
        unit = "1 GiB" if size == _LARGE else "2 MiB"
        argument = "hugepagesz=1G" if size == _LARGE else "hugepagesz=2M"
        remedy = f"Stop other VMs, or reserve pages for all VMs at boot: {argument} hugepages=NUMBER on the kernel command line"
        yield Finding("hugepages", f"it needs {pages} huge pages of {unit}, and {node.name} can give {there}", remedy)


def _pages(memory: Memory, size: int) -> int:
    return sum(pages.free + pages.allocatable for pages in memory.hugepages if pages.size == size)


@RULES.rule("hugepages-without-numa", Severity.BLOCK, "Switch NUMA on for the VM: qm set {vmid} --numa 1")
def hugepages_without_numa(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM is to have huge pages, and its NUMA is off: PVE refuses the start ("numa needs to be enabled to use hugepages").

    Source: qemu-server, Memory.pm (config).
    """
    if "hugepages" in guest.options and not guest.options.get("numa"):
        size = guest.options["hugepages"]
        yield Finding("hugepages", f"hugepages: {size} needs numa: 1, which it lacks: PVE would refuse the start")
