"""Memory that VMs share with each other and with the node (ivshmem)."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.sharing import MemoryShare

_MIB = 1 << 20
FILE = "/dev/shm/pve-shm-"  # noqa: S108  PVE's name


def _concerned(guest: Guest) -> bool:
    return not guest.template and "ivshmem" in guest.options


RULES = RuleSet(applies_to=_concerned, order=220, options=("ivshmem",))


def _name(guest: Guest) -> str:
    """The name of the file; PVE's default is the VMID."""
    return str(guest.properties("ivshmem").get("name", guest.vmid))


def _size(guest: Guest) -> int:
    """In MiB, 0 where the option is malformed."""
    size = str(guest.properties("ivshmem").get("size", 0))
    # Python refuses to convert thousands of digits.
    return int(size) if len(size) < 10 else 0


def _others(guest: Guest, node: Node) -> list[MemoryShare]:
    """The other guests with memory of the same name."""
    known = {} if isinstance(node.memory_shares, Unread) else node.memory_shares
    return [share for share in known.get(_name(guest), ()) if share.vmid != guest.vmid]


@RULES.rule("ivshmem-size-odd", Severity.BLOCK, "Take a power of two: qm set {vmid} --ivshmem size=MIB")
def ivshmem_size_odd(guest: Guest, node: Node) -> Iterator[Finding]:
    """The shared memory's size is no power of two, as a PCI region has to be: QEMU does not start.

    PVE takes any size; QEMU then ends with "Assertion 'is_power_of_2(size)' failed" and leaves the file behind.
    Source: QEMU, hw/pci/pci.c (pci_register_bar), docs/system/devices/ivshmem.
    """
    size = _size(guest)
    if size & (size - 1):
        better = 1 << size.bit_length()
        remedy = f"Take a power of two: {remedies.replacing(guest, 'ivshmem', 'size', str(better), 'size')}"
        yield Finding("ivshmem", f"ivshmem has {size} MiB, which is no power of two: QEMU would not start", remedy)


@RULES.rule(
    "ivshmem-file-too-small",
    Severity.BLOCK,
    "If nothing on the node uses it: rm /dev/shm/pve-shm-NAME",
    needs=("memory_files", "memory_shares"),
)
def ivshmem_file_too_small(guest: Guest, node: Node) -> Iterator[Finding]:
    """The file of the shared memory is there already, and smaller than the VM asks for: QEMU does not start.

    Another VM has it, or it was left over by a start that failed. A larger one is taken as it is, and the VM sees its
    beginning.
    Source: QEMU, system/physmem.c (qemu_ram_alloc_from_fd); qemu-server, config_to_command.
    """
    if guest.running:
        return
    name, size = _name(guest), _size(guest)
    if isinstance(node.memory_files, Unread):
        yield not_examined("ivshmem", f"whether {FILE}{name} is there is unknown: {node.memory_files.why}")
        return
    there = node.memory_files.get(name, 0)
    if 0 < there < size * _MIB:
        running = [share.label for share in _others(guest, node) if share.running]
        why = f"{', '.join(running)} runs with it" if running else "no running VM uses it"
        remedy = f"Give both the same size: {remedies.replacing(guest, 'ivshmem', 'size', str(there // _MIB), 'size')}"
        message = f"ivshmem asks for {size} MiB, and {FILE}{name} is there with {amount(there)} ({why}): QEMU would not start"
        yield Finding("ivshmem", message, remedy if running else f"If nothing on the node uses it: rm {FILE}{name}")


def amount(size: int) -> str:
    """A size in bytes, for a message."""
    return f"{size // _MIB} MiB" if size % _MIB == 0 else f"{size} bytes"


@RULES.rule(
    "ivshmem-sizes-differ",
    Severity.WARNING,
    "Give both the same size: qm set {vmid} --ivshmem size=MIB,name=NAME",
    needs=("memory_shares",),
)
def ivshmem_sizes_differ(guest: Guest, node: Node) -> Iterator[Finding]:
    """Two VMs share memory of one name, and want different sizes: which starts first decides whether the other one starts.

    The first one makes the file. A VM that asks for more than that does not start; one that asks for less sees a part of it.
    Source: QEMU, system/physmem.c (qemu_ram_alloc_from_fd); qemu-server, config_to_command.
    """
    size, shares = _size(guest), _others(guest, node)
    for share in shares:
        if share.size != size:
            which = "it does not start while the other one runs" if share.size < size else "the other one does not start while it runs"
            message = f"ivshmem '{_name(guest)}' has {size} MiB, and {share.size} MiB for {share.label}: {which}"
            remedy = f"Give both the same size: {remedies.replacing(guest, 'ivshmem', 'size', str(share.size), 'size')}"
            if len({each.size for each in shares}) > 1:
                remedy = f"Give all {len(shares) + 1} of them the same size (qm set VMID --ivshmem ...)"
            yield Finding("ivshmem", message, remedy)


@RULES.rule("ivshmem-shared", Severity.INFO, "After one of them was stopped, stop and start all of them", needs=("memory_shares",))
def ivshmem_shared(guest: Guest, node: Node) -> Iterator[Finding]:
    """VMs share memory: the first one that stops removes the file, and a VM that starts after that gets another file.

    VMs that still run keep the old file, and share it with none that starts later. Where the sizes differ, ivshmem-sizes-differ
    is reported instead.
    Source: the administrator's manual, "Inter-VM shared memory"; qemu-server, vm_stop_cleanup.
    """
    shares = _others(guest, node)
    labels = [share.label for share in shares]
    if labels and all(share.size == _size(guest) for share in shares):
        others = f"{', '.join(labels[:5])} and {len(labels) - 5} more" if len(labels) > 5 else ", ".join(labels)
        message = f"memory '{_name(guest)}' is shared with {others}: when one of them stops, its file is removed, and a VM that starts later gets another"
        yield Finding("ivshmem", message)
