"""Failed starts: the IOMMU and its groups."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import KERNEL, TASK, CauseSet, Rank

CAUSES = CauseSet()
_QEMU = "QEMU, hw/vfio/container.c and hw/vfio/container-legacy.c"


@CAUSES.cause(
    "group-not-viable",
    r"vfio (?P<address>[0-9a-f:.]+): (?:error: )?group (?P<group>\d+) is not viable",
    "See which device of the group is on a driver of the host, and what uses it: pvehooks host groups --guest {vmid}",
    f"{_QEMU}; the kernel's Documentation/driver-api/vfio.rst",
    rules=("group-in-use-by-host", "vfio-not-bound", "group-shared"),
)
def group_not_viable(found: Match[str]) -> str:
    """The devices of an IOMMU group can reach each other's memory, so the kernel lets a VM have one of them only while no other is on a driver
    of the host. One of the group is; Proxmox VE binds them all, so that driver took its device back, or came later."""
    return f"in the IOMMU group {found['group']} of {found['address']} a device is on a driver of the host"


@CAUSES.cause(
    "group-busy",
    r"(?:[Ff]ailed to open|vfio: error opening) /dev/vfio/(?P<group>\d+): Device or resource busy",
    "See which process has it open: fuser -v /dev/vfio/{group}; end that VM or program first",
    _QEMU,
    rules=("device-in-use-by-guest",),
)
def group_busy(found: Match[str]) -> str:
    """An IOMMU group is open for one user at a time: another VM (also by a device of the same group), or a program such as DPDK or SPDK."""
    return f"the IOMMU group {found['group']} is used by another VM or program"


@CAUSES.cause(
    "group-file-missing",
    r"[Ff]ailed to open /dev/vfio/(?P<group>\d+): No such file or directory",
    "See what the device is bound to: pvehooks host groups --guest {vmid}",
    _QEMU,
    rules=("vfio-not-bound",),
)
def group_file_missing(found: Match[str]) -> str:
    """The kernel makes /dev/vfio/N when a device of group N is bound to vfio-pci. None is: the binding was undone, or another driver was
    faster."""
    return f"no device of the IOMMU group {found['group']} is bound to vfio-pci"


@CAUSES.cause(
    "rmrr",
    r"(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): (?:Device is ineligible for IOMMU domain attach due to platform RMRR requirement"
    r"|Firmware has requested this device have a 1:1 IOMMU mapping, rejecting)",
    "Turn the shared memory features off for this slot in the firmware setup (on HPE servers see their advisory on RMRR), or use another slot",
    "the kernel's drivers/iommu/intel/iommu.c, drivers/iommu/iommu.c",
    logs=(KERNEL, TASK),
    rules=("device-reserved-by-firmware",),
)
def rmrr(found: Match[str]) -> str:
    """The firmware wants to reach the device's memory at fixed addresses while the machine runs (a reserved region, RMRR), so the kernel does
    not let a VM have it. HPE servers do this for many slots."""
    return f"the firmware reserves memory for {found['address']} (RMRR), and the kernel keeps it from VMs"


@CAUSES.cause(
    "no-interrupt-remapping",
    r"No interrupt remapping (?:support|for)",
    "Turn interrupt remapping (x2APIC, VT-d) on in the firmware setup; without it: pvehooks explain interrupts-unsafe",
    "the kernel's drivers/vfio/vfio_iommu_type1.c",
    logs=(KERNEL, TASK),
    rules=("interrupts-unsafe",),
)
def no_interrupt_remapping(found: Match[str]) -> str:
    """Without interrupt remapping a device of a VM could send the host any interrupt. vfio refuses that unless the administrator accepts it."""
    return "the node's IOMMU cannot remap interrupts, and vfio refuses devices because of that"


@CAUSES.cause(
    "iommu-not-set",
    r"[Ff]ailed to set(?:up)? (?:iommu|container) for (?:container|group \d+): (?:Failed to set iommu for container: )?(?P<why>Operation not permitted|.+)",
    "The kernel's log says why: journalctl -k -g 'vfio|iommu|DMAR|AMD-Vi'",
    _QEMU,
    rank=Rank.PLACE,
    rules=("interrupts-unsafe", "device-reserved-by-firmware"),
)
def iommu_not_set(found: Match[str]) -> str:
    """The kernel refused to give the VM's devices an address space of their own. With "Operation not permitted" it is interrupt remapping or
    memory that the firmware reserves (RMRR)."""
    return f"the kernel gave the VM's devices no address space: {found['why']}"


@CAUSES.cause(
    "dma-mapping-memory",
    r"VFIO_MAP_DMA failed: Cannot allocate memory|vfio_\w*dma_map\(.+\) = -12 \(Cannot allocate memory\)",
    "Give the VM less memory: qm set {vmid} --memory MIB; or free some: free -m; see also: pvehooks explain memory-short",
    "QEMU, hw/vfio/container.c; the kernel's Documentation/driver-api/vfio.rst",
    rules=("memory-short",),
)
def dma_mapping_memory(found: Match[str]) -> str:
    """A VM with a device of its own has all its memory from the start on, and none of it can be swapped out. The node could not give
    that much; memory that ZFS' cache holds is given back too slowly."""
    return "the node could not give the VM all its memory at once, as a VM with a PCI device needs it"


@CAUSES.cause(
    "dma-mapping-address",
    r"VFIO_MAP_DMA failed: Invalid argument|vfio_\w*dma_map\(.+\) = -22 \(Invalid argument\)|kvm_set_phys_mem: error registering slot: Invalid argument",
    "Give the VM no more address bits than the IOMMU has: qm set {vmid} --cpu host,phys-bits=39; take ivshmem and large PCI windows out of args",
    "QEMU, hw/vfio/container.c; Intel VT-d specification, Capability Register (MGAW)",
    rules=("iommu-address-width",),
)
def dma_mapping_address(found: Match[str]) -> str:
    """The VM has memory or a PCI window at an address that the node's IOMMU cannot reach: client chips have 39 bits, their processors more."""
    return "the VM uses addresses that the node's IOMMU cannot reach"


@CAUSES.cause(
    "dma-mapping-limit",
    r"VFIO_MAP_DMA failed: No space left on device|vfio_\w*dma_map\(.+\) = -28 \(No space left on device\)",
    "Use larger pages for the VM's memory (hugepages), or raise the limit: echo 131070 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
    "the kernel's drivers/vfio/vfio_iommu_type1.c (dma_entry_limit)",
)
def dma_mapping_limit(found: Match[str]) -> str:
    """vfio keeps at most 65,535 mappings for a container, and the VM needs more: many small pieces, as with virtio-mem or a vIOMMU."""
    return "the VM needs more DMA mappings than vfio allows"


@CAUSES.cause(
    "dma-mapping-bad-address",
    r"VFIO_MAP_DMA failed: Bad address|vfio_\w*dma_map\(.+\) = -14 \(Bad address\)",
    "If the VM runs all the same, nothing; a driver in the VM that uses peer-to-peer DMA fails then",
    "QEMU, hw/vfio/container.c",
    rank=Rank.GENERAL,
)
def dma_mapping_bad_address(found: Match[str]) -> str:
    """QEMU tried to make a region of one device reachable for others, and the region cannot be pinned. QEMU goes on without that."""
    return "a device's region could not be made reachable for other devices"


@CAUSES.cause(
    "iommufd-missing",
    r"(?:Could not|Failed to) open (?:/dev/iommu|iommufd)|iommufd.*(?:No such file|not supported)",
    "Take iommufd out of args: qm config {vmid}; Proxmox VE uses vfio's own containers",
    "QEMU, backends/iommufd.c",
)
def iommufd_missing(found: Match[str]) -> str:
    """The VM's args ask for iommufd, which this kernel does not have or has not loaded."""
    return "args ask for iommufd, and this kernel has none"
