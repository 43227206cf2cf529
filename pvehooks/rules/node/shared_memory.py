"""Memory that VMs share with each other and with the node (ivshmem): files of it that are left over."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.rules.engine import RuleSet
from pvehooks.rules.guest.ivshmem import FILE, amount
from pvehooks.values import Finding, Node, Severity, Unread

RULES = RuleSet(order=70)


@RULES.rule(
    "ivshmem-left-over",
    Severity.INFO,
    "If nothing on the node uses it: rm /dev/shm/pve-shm-NAME",
    needs=("memory_files", "memory_shares"),
    line="shared memory",
)
def ivshmem_left_over(node: Node) -> Iterator[Finding]:
    """A file of shared memory exists that no VM of the node names: it occupies memory until the next restart.

    PVE removes the file when a VM with its name stops, not when the option was renamed, or the VM was deleted or moved.
    Source: qemu-server, vm_stop_cleanup; the manual of tmpfs(5).
    """
    if isinstance(node.memory_files, Unread) or not node.memory_files or isinstance(node.memory_shares, Unread):
        return
    for name, size in node.memory_files.items():
        if name not in node.memory_shares:
            message = f"{FILE}{name} ({amount(size)}) is shared memory that no VM uses"
            yield Finding(f"{FILE}{name}", message, f"If nothing on the node uses it: rm {FILE}{name}")


@RULES.all_well("shared memory")
def _shared_memory(node: Node) -> str:
    return "each file belongs to a VM" if not isinstance(node.memory_files, Unread) and node.memory_files else ""
