"""Failed starts: memory."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import KERNEL, TASK, CauseSet

CAUSES = CauseSet()
_MEMORY = "qemu-server, PVE/QemuServer/Memory.pm"


@CAUSES.cause(
    "memory-not-available",
    r"cannot set up \w+ memory '[^']*': Cannot allocate memory|Failed to allocate memory|unable to (?:map|allocate) backing store for \w+ RAM: Cannot allocate memory",
    "Give the VM less memory: qm set {vmid} --memory MIB; or stop another VM; see what is free: free -m",
    "QEMU, util/oslib-posix.c",
    rules=("memory-short", "memory-overcommitted"),
)
def memory_not_available(found: Match[str]) -> str:
    """The node has not enough memory for the VM: what other VMs and ZFS' cache hold is not free, and with hugepages only free pages of that
    size count."""
    return "the node does not have the memory that the VM is to get"


@CAUSES.cause(
    "hugepages-not-allocated",
    r"hugepage allocation failed|unable to map backing store for \w+ RAM: .*|your system doesn't support hugepages(?: of (?P<size>\d+) MB)?",
    "Reserve them at boot, before memory is fragmented: pvehooks explain hugepages-short; or take hugepages out: qm set {vmid} --delete hugepages",
    _MEMORY,
    rules=("hugepages-short",),
)
def hugepages_not_allocated(found: Match[str]) -> str:
    """Large pages need unbroken memory on the right NUMA node. On a node that has run for some time there is not enough of that; pages that
    the kernel's command line reserves are always there."""
    return "there are not enough hugepages for the VM"


@CAUSES.cause(
    "hugepages-need-numa",
    r"numa needs to be enabled to use hugepages|numa hostnodes need to be defined to use hugepages|more than 1 hostnode value in numa node is not supported when hugepages",
    "Turn NUMA on: qm set {vmid} --numa 1; or take hugepages out: qm set {vmid} --delete hugepages",
    _MEMORY,
    rules=("hugepages-without-numa",),
)
def hugepages_need_numa(found: Match[str]) -> str:
    """Proxmox VE gives hugepages by NUMA node, so the VM needs `numa: 1`, and with a topology of its own a host node for each."""
    return "the VM has hugepages without the NUMA settings that they need"


@CAUSES.cause(
    "numa-settings",
    r"host NUMA node(?P<node>\d+) doesn't exist|total memory for NUMA nodes must be equal to vm static memory|missing NUMA node\d+ (?:memory value|cpus)"
    r"|you need to define a policy for hostnode|NUMA needs to be enabled for memory hotplug|cannot enable memory hotplugging with custom NUMA",
    "Put numa, numaN and memory right: qm config {vmid}",
    _MEMORY,
)
def numa_settings(found: Match[str]) -> str:
    """The VM's NUMA options do not fit each other or this node: after a change of `memory`, or on a node with fewer sockets."""
    return f"the node has no NUMA node {found['node']}" if found["node"] else "the VM's NUMA options do not fit its memory"


@CAUSES.cause(
    "killed-for-memory",
    r"(?:Out of memory|Memory cgroup out of memory|oom-kill).*(?:\(kvm\)|task=kvm|/qemu\.slice/\d+\.scope)",
    "Give the VM less memory: qm set {vmid} --memory MIB; limit ZFS' cache (zfs_arc_max), or stop another VM",
    "the kernel's mm/oom_kill.c",
    logs=(KERNEL,),
    rules=("memory-short",),
)
def killed_for_memory(found: Match[str]) -> str:
    """The node ran out of memory while the VM started, and the kernel ended the largest process: a VM. One with a PCI device needs all of its
    memory at once."""
    return "the node ran out of memory, and the kernel killed a VM"


@CAUSES.cause(
    "memory-not-locked",
    r"[Ff]ailed to (?:lock memory|mlock)|mlockall?\(?.*: (?:Cannot allocate memory|Operation not permitted)|RLIMIT_MEMLOCK .*exceeded",
    "Take mlock settings out of args: qm config {vmid}; see what is free: free -m",
    "QEMU, util/oslib-posix.c; the kernel's drivers/vfio/vfio_iommu_type1.c",
    logs=(TASK, KERNEL),
)
def memory_not_locked(found: Match[str]) -> str:
    """The VM's memory could not be kept from being swapped out, as a passed-through device and `-overcommit mem-lock=on` need it."""
    return "the VM's memory could not be locked"
