"""Whether the node's resources fit what its VMs ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvehooks.derived.passthrough import devices_at, passes_through
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(order=60)
_GIB = 1 << 30
_MIB = 1 << 20
# What is left for the host itself, and the smallest limit that ZFS accepts (OpenZFS, zfs_arc_max).
_SPARE, _LEAST_ARC = 2 * _GIB, 64 * _MIB
# PVE's default (qemu-server, Memory.pm).
_DEFAULT_MEMORY = 512
# The number of vCPUs from which one queue is a bottleneck.
_SEVERAL = 4
_MOST_QUEUES = 8
# Text that needs no quotes in a shell.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/=+@%-]+")
_VIRTIO = ("virtio=", "virtio,", "model=virtio")


def _guests(node: Node) -> Iterator[Guest]:
    """The VMs that may start here."""
    for guest in () if isinstance(node.guests, Unread) else node.guests:
        if not guest.template:
            yield guest


def _some(labels: list[str]) -> str:
    return f"{', '.join(labels[:5])} and {len(labels) - 5} more" if len(labels) > 5 else ", ".join(labels)


@RULES.rule(
    "network-queues-single",
    Severity.INFO,
    "Give the NIC as many queues as the VM has vCPUs, at most 8: qm set VMID --netN ...,queues=4",
    needs=("guests",),
    line="networks of VMs",
)
def network_queues_single(node: Node) -> Iterator[Finding]:
    """A virtio NIC of a VM with several vCPUs has a single queue: one vCPU does all the work, which limits the throughput.

    Source: the administrator's manual, "Network Device" (Multiqueue).
    """
    labels, cards_alone = [], []
    for guest in _guests(node):
        cpus = guest.number("vcpus", guest.number("sockets", 1) * guest.number("cores", 1))
        if cpus < _SEVERAL:
            continue
        cards = [(option, str(value)) for option, value in guest.options.items() if option.startswith("net") and option[3:].isdecimal()]
        alone = [(option, card) for option, card in cards if card.startswith(_VIRTIO) and "queues=" not in card]
        if alone:
            labels.append(guest.label)
            shown = ((option, card if _PLAIN.fullmatch(card) else "...") for option, card in alone)
            cards_alone += [f"qm set {guest.vmid} --{option} {card},queues={min(cpus, _MOST_QUEUES)}" for option, card in shown]
    if labels:
        message = f"virtio NICs of {_some(labels)} have one queue for {_SEVERAL} or more vCPUs, which limits their throughput"
        others = f", and the same for {len(cards_alone) - 1} more" if len(cards_alone) > 1 else ""
        yield Finding("virtio NICs", message, f"If a VM needs more: {cards_alone[0]}{others}")


@RULES.all_well("networks of VMs")
def _queues(node: Node) -> str:
    return "virtio NICs have enough queues" if not isinstance(node.guests, Unread) and node.guests else ""


@RULES.rule(
    "device-on-other-numa-node",
    Severity.INFO,
    "Run the VM on the CPUs of the device's NUMA node: qm set VMID --affinity CPUS",
    needs=("guests", "layout", "pci"),
    line="resources",
)
def device_on_other_numa_node(node: Node) -> Iterator[Finding]:
    """A VM is bound to CPUs of one NUMA node, and its passed-through device is attached to another one.

    Source: the administrator's manual, "CPU" (affinity), "NUMA"; the kernel's ABI/testing/sysfs-bus-pci (numa_node).
    """
    if isinstance(node.layout, Unread) or len(node.layout.nodes) < 2:
        return
    for guest in _guests(node):
        bound = _cpus(str(guest.options.get("affinity", "")))
        if not bound or not passes_through(guest):
            continue
        for entry in guest.hostpci:
            addresses = entry.addresses
            if isinstance(addresses, Unread) or len(entry.choices) > 1:
                continue
            for device in (device for address in addresses for device in devices_at(address, node)):
                near = node.layout.nodes.get(device.numa, frozenset())
                if near and not near & bound:
                    message = f"{guest.label}: {entry.option} is {device.label} of NUMA node {device.numa}, and its affinity has only CPUs of other nodes"
                    yield Finding(f"VM {guest.vmid} {entry.option}", message, f"Type: qm set {guest.vmid} --affinity {_list(near)}")


def _cpus(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if first.isdecimal() and last.isdecimal() and len(first) < 5 and len(last) < 5:
            found.update(range(int(first), int(last) + 1))
    return frozenset(found)


def _list(cpus: Iterable[int]) -> str:
    """CPUs as PVE takes them: 0-3,8."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in runs)


@RULES.rule(
    "hugepages-idle",
    Severity.WARNING,
    "Remove hugepages= from the kernel command line, or have a VM use them: qm set VMID --hugepages 1024",
    needs=("guests", "layout"),
    line="resources",
)
def hugepages_idle(node: Node) -> Iterator[Finding]:
    """Huge pages are reserved and no VM of the node asks for them: nothing can use that memory.

    Source: the administrator's manual, "Memory"; the kernel's admin-guide/mm/hugetlbpage.
    """
    if isinstance(node.layout, Unread) or isinstance(node.guests, Unread) or any("hugepages" in guest.options for guest in node.guests):
        return
    reserved = sum(size * count << 10 for size, count in node.layout.reserved.items())
    if reserved >= _MIB:
        largest = max(size for size, count in node.layout.reserved.items() if count)
        remedy = f"Remove hugepages= from the kernel command line, or have a VM use them: qm set VMID --hugepages {largest >> 10}"
        yield Finding("huge pages", f"{_size(reserved)} are reserved as huge pages, but no VM uses any", remedy)


@RULES.rule(
    "isolated-cpus-idle",
    Severity.INFO,
    "Bind a VM to them: qm set VMID --affinity CPUS, or remove isolcpus= from the kernel command line",
    needs=("guests", "layout"),
    line="resources",
)
def isolated_cpus_idle(node: Node) -> Iterator[Finding]:
    """CPUs are isolated from the scheduler, and no VM is bound to them: nothing runs there.

    Source: the kernel's admin-guide/kernel-parameters (isolcpus); the administrator's manual, "CPU" (affinity).
    """
    if isinstance(node.layout, Unread) or isinstance(node.guests, Unread) or not node.layout.isolated:
        return
    bound = {cpu for guest in node.guests for cpu in _cpus(str(guest.options.get("affinity", "")))}
    idle = node.layout.isolated - bound
    if idle:
        remedy = f"Bind a VM to them: qm set VMID --affinity {_list(idle)}, or remove isolcpus= from the kernel command line"
        yield Finding("isolated CPUs", f"the CPUs {_list(idle)} are isolated, but no VM is bound to them", remedy)


@RULES.rule(
    "memory-overcommitted",
    Severity.WARNING,
    "Lower the limit of the ARC (zfs_arc_max in /etc/modprobe.d/zfs.conf), or give the VMs less memory",
    needs=("guests", "layout"),
    line="resources",
)
def memory_overcommitted(node: Node) -> Iterator[Finding]:
    """The memory of VMs with passed-through devices, which is pinned as a whole, and the ZFS cache together exceed the node's memory.

    The ARC gives memory back, but slowly: a VM that needs all its memory at once may not start, or the kernel kills other processes.
    VMs that run or start at boot are counted.
    Source: the administrator's manual, "Limit ZFS Memory Usage", "PCI(e) Passthrough".
    """
    if isinstance(node.layout, Unread) or not node.layout.memory or not node.layout.arc_limit:
        return
    pinned = [guest for guest in _guests(node) if passes_through(guest) and (guest.running or guest.options.get("onboot"))]
    needed = sum(guest.number("memory", _DEFAULT_MEMORY) * _MIB for guest in pinned)
    if needed and needed + node.layout.arc_limit > node.layout.memory:
        message = (
            f"{_size(needed)} are pinned by {_some([guest.label for guest in pinned])}, and ZFS can cache {_size(node.layout.arc_limit)}: together more than the"
            f" {_size(node.layout.memory)} of {node.name}"
        )
        room = max(node.layout.memory - needed - _SPARE, _LEAST_ARC)
        remedy = (
            f"Give the VMs less memory, or limit the ARC: write options zfs zfs_arc_max={room} into /etc/modprobe.d/zfs.conf, then:"
            " update-initramfs -u -k all && reboot"
        )
        yield Finding("memory", message, remedy)


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count // _MIB} MiB"


@RULES.all_well("resources")
def _memory(node: Node) -> str:
    return "" if isinstance(node.layout, Unread) or isinstance(node.guests, Unread) else "memory, huge pages and isolated CPUs fit the VMs"


@RULES.rule(
    "ksm-between-owners",
    Severity.INFO,
    "Disable it: systemctl disable --now ksmtuned, then: echo 2 > /sys/kernel/mm/ksm/run",
    needs=("guests", "ksm"),
    line="KSM",
)
def ksm_between_owners(node: Node) -> Iterator[Finding]:
    """Kernel samepage merging is active while VMs of different pools run: a VM can learn about another one's memory from write times.

    Proxmox's manual recommends to disable it where VMs belong to different owners. Pools stand for owners here.
    Source: the administrator's manual, "Kernel Samepage Merging (KSM)".
    """
    if isinstance(node.ksm, Unread) or not node.ksm.runs or not node.ksm.pools:
        return
    pools = dict.fromkeys(node.ksm.pools[guest.vmid] for guest in _guests(node) if guest.running and guest.vmid in node.ksm.pools)
    if len(pools) > 1:
        message = f"KSM merges memory of VMs of the pools {', '.join(sorted(pools)[:4])}: harmless only if all belong to the same owner"
        yield Finding("KSM", message)


@RULES.all_well("KSM")
def _ksm(node: Node) -> str:
    return "" if isinstance(node.ksm, Unread) else "KSM does not merge memory of different pools" if node.ksm.runs else "KSM is off"
