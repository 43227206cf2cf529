"""Failed starts: devices taken from the host before QEMU runs."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import CauseSet, Rank

CAUSES = CauseSet()
_PCI = "qemu-server, PVE/QemuServer/PCI.pm"
_SYSFS = "pve-common, PVE/SysFSTools.pm"


@CAUSES.cause(
    "device-not-there",
    r"no PCI device found for '(?P<address>[^']+)'|no pci device info for device '(?P<other>[^']+)'",
    "See where it is now: pvehooks check {vmid}; if it is gone for good, take it out: qm set {vmid} --delete hostpciN",
    _PCI,
    rules=("hostpci-device-missing", "device-changed"),
)
def device_not_there(found: Match[str]) -> str:
    """The VM's config names a PCI address where no device is. A card that was removed, a slot that was changed, or a firmware setting that
    was reset gives the devices behind it other addresses; a virtual function is there only after something has made it."""
    return f"there is no PCI device {found['address'] or found['other']} on this node"


@CAUSES.cause(
    "device-used-by-other-guest",
    r"PCI device '(?P<address>[^']+)' (?:already in use|is currently reserved for use) by (?:running )?VMID '(?P<other>\d+)'",
    "Shut the other VM down first: qm shutdown {other}; then: qm start {vmid}",
    _PCI,
    rules=("device-in-use-by-guest",),
)
def device_used_by_other_guest(found: Match[str]) -> str:
    """A PCI device serves one VM at a time. Proxmox VE reserves it by its address for the VM that started first, and for half a minute
    for one whose start did not come to its end."""
    return f"PCI device {found['address']} belongs to VM {found['other']}, which runs or is starting"


@CAUSES.cause(
    "iommu-not-present",
    r"cannot prepare PCI pass-through, IOMMU not present|no iommu_group found: No such file or directory",
    "See what is missing: pvehooks host check",
    _PCI,
    rules=("iommu-off",),
)
def iommu_not_present(found: Match[str]) -> str:
    """Without an IOMMU the kernel puts no device into a group, and vfio takes none. It is off in the firmware setup (VT-d, AMD-Vi, IOMMU),
    or on the kernel's command line: on Intel with kernels older than 6.8 `intel_iommu=on` is needed."""
    return "the node's IOMMU is off"


@CAUSES.cause(
    "vfio-module-missing",
    r"Cannot find vfio-pci module!",
    "Reinstall the running kernel's package: apt install --reinstall proxmox-kernel-$(uname -r); then: modprobe vfio-pci",
    _SYSFS,
)
def vfio_module_missing(found: Match[str]) -> str:
    """The kernel that runs has no module vfio-pci: its package was removed or replaced while it runs, or it is a kernel of one's own."""
    return "the running kernel has no module vfio-pci"


@CAUSES.cause(
    "cannot-bind-to-vfio",
    r"Cannot bind (?P<address>\S+) to vfio|can't unbind/bind PCI group to VFIO '(?P<other>[^']+)'",
    "See what holds it: pvehooks check {vmid}; have it bound from the next boot on: pvehooks bind ADDRESS --persist",
    _SYSFS,
    rank=Rank.PLACE,
    rules=("group-in-use-by-host", "vfio-not-bound"),
)
def cannot_bind(found: Match[str]) -> str:
    """Proxmox VE takes each device of the IOMMU group from its driver and gives it to vfio-pci. The driver did not let go of it, or vfio-pci
    did not accept it; the kernel's log says which. Bound to vfio-pci from boot on, no driver has it first."""
    return f"{found['address'] or found['other']} could not be bound to vfio-pci"


@CAUSES.cause(
    "write-to-sysfs-failed",
    r"error writing '(?P<text>[^']*)' to '(?P<path>/sys/bus/pci/[^']+)': (?P<why>.+)",
    "See what holds the device: pvehooks check {vmid}",
    _SYSFS,
    rank=Rank.PLACE,
)
def write_to_sysfs_failed(found: Match[str]) -> str:
    """Proxmox VE binds devices by writing to files of /sys/bus/pci. The kernel refused one of these writes. With "Device or resource busy"
    the driver is still at work, with "No such device" the device is gone, with "File exists" the ids were given to vfio-pci before,
    which does no harm."""
    return f"the kernel refused to write '{found['text']}' to {found['path']}: {found['why']}"


@CAUSES.cause(
    "mapping-not-there",
    r"(?P<kind>PCI|USB) device mapping not found for '(?P<name>[^']+)'",
    "See the mappings: pvesh get /cluster/mapping/pci; add this node to it, or name another one in the VM's hardware",
    "qemu-server, PVE/QemuServer/PCI.pm and USB.pm",
    rules=("mapping-missing",),
)
def mapping_not_there(found: Match[str]) -> str:
    """The VM names a resource mapping that does not exist, or that has no entry for this node: after a migration, or since it was renamed."""
    return f"the {found['kind']} mapping {found['name']} has no entry for this node"


@CAUSES.cause(
    "mapping-changed",
    r"(?P<kind>PCI|USB) (?:device m|M)apping invalid \(hardware probably changed\): (?P<why>.+)",
    "See what differs: pvehooks check {vmid}; put the mapping right in Datacenter > Resource Mappings",
    "qemu-server, PVE/QemuServer/PCI.pm and USB.pm; pve-guest-common, PVE/Mapping/PCI.pm",
    rules=("mapping-mismatch",),
)
def mapping_changed(found: Match[str]) -> str:
    """A mapping holds vendor, device, subsystem and IOMMU group beside the address. Proxmox VE does not start the VM if one of them
    differs now: another card is at that address, or a new kernel numbers the groups anew."""
    return f"the {found['kind']} mapping no longer fits the device: {found['why']}"


@CAUSES.cause(
    "no-free-device-of-mapping",
    r"could not find a free device for '(?P<slot>hostpci\d+)'",
    "See who has them: pvehooks host groups; stop one of these VMs, or add a device of this node to the mapping",
    _PCI,
)
def no_free_device(found: Match[str]) -> str:
    """Each device of the mapping (or each instance of the vGPU type) is used by a running VM, or is reserved for one that is starting."""
    return f"no device that {found['slot']} may take is free"


@CAUSES.cause(
    "device-assigned-twice",
    r"device '(?P<address>[^']+)' assigned more than once",
    "See which entries name it: qm config {vmid}; take one of them out: qm set {vmid} --delete hostpciN",
    _PCI,
)
def device_assigned_twice(found: Match[str]) -> str:
    """Two hostpci entries of the VM name the same device, one of them perhaps as a whole slot or through a mapping."""
    return f"the VM's config names {found['address']} twice"


@CAUSES.cause(
    "no-mediated-devices",
    r"pci device '(?P<address>[^']+)' does not support mediated devices",
    "See whether the vGPU driver of the host is loaded: lspci -nnk -s {address}; on SR-IOV cards make the virtual functions first: sriov-manage -e {address}",
    "qemu-server, PVE/QemuServer/PCI/Mdev.pm",
)
def no_mediated_devices(found: Match[str]) -> str:
    """The device offers no vGPU types. Its host driver is not loaded (after a kernel update its DKMS module may not be built), or the types
    lie on its virtual functions, which are not there yet."""
    return f"{found['address']} offers no vGPU types now"


@CAUSES.cause(
    "vgpu-type-unknown",
    r"pci device '(?P<address>[^']+)' has no type '(?P<type>[^']+)'|vgpu type '(?P<model>[^']+)' not available for '(?P<other>[^']+)'",
    "See the types that there are: pvesh get /nodes/$(hostname)/hardware/pci/ADDRESS/mdev; put one of them into the VM's hostpci entry",
    "qemu-server, PVE/QemuServer/PCI/Mdev.pm",
)
def vgpu_type_unknown(found: Match[str]) -> str:
    """The vGPU type of the VM's config does not exist on that card, or not any more: another driver release numbers them differently, and the
    first VM on a card may decide which types remain."""
    return f"{found['address'] or found['other']} has no vGPU of type {found['type'] or found['model']}"


@CAUSES.cause(
    "vgpu-exhausted",
    r"pci device '(?P<address>[^']+)' has no available instances of '(?P<type>[^']+)'",
    "Stop a VM that uses one, or take a smaller type",
    "qemu-server, PVE/QemuServer/PCI/Mdev.pm",
)
def vgpu_exhausted(found: Match[str]) -> str:
    """A card has so many vGPUs of a type; all of them are taken, or vGPUs of other types leave no room."""
    return f"no vGPU of type {found['type']} is left on {found['address']}"


@CAUSES.cause(
    "vgpu-not-created",
    r"could not create '?(?P<type>[\w.-]+)'? for pci devices '(?P<address>[^']+)'|could not create mediated device"
    r"|failed to query NVIDIA vGPU types for \S+|no nvidia sysfs api for '[^']+'|unable to reset vgpu type for '[^']+'|could not set vgpu type to '[^']+' for"
    r"|mdev instance '[^']+' already exists, but type is not '[^']+'",
    "See the kernel's log: journalctl -k -n 50",
    "qemu-server, PVE/QemuServer/PCI/Mdev.pm",
    rank=Rank.PLACE,
)
def vgpu_not_created(found: Match[str]) -> str:
    """The card's driver refused to make a vGPU; what it logged says why (no licence is needed for that, but a supported driver release is)."""
    return "the driver refused to make the vGPU"


@CAUSES.cause(
    "pcie-needs-q35",
    r"q35 machine model is not enabled",
    "Choose the machine type q35: qm set {vmid} --machine q35; or take pcie=1 out of the hostpci entry",
    _PCI,
)
def pcie_needs_q35(found: Match[str]) -> str:
    """A device with pcie=1 sits on a PCIe port, which only the machine type q35 has. A change of the machine type has Windows find its
    devices anew."""
    return "a hostpci entry has pcie=1, and the VM is no q35 machine"


@CAUSES.cause(
    "legacy-igd",
    r"legacy IGD assignment (?P<why>.+)|only one device can be assigned in legacy-igd mode",
    "Take legacy-igd=1 out of the hostpci entry, or give the VM what it asks for (i440fx, SeaBIOS, vga: none, the device 00:02.0 alone)",
    _PCI,
    rules=("hostpci-invalid",),
)
def legacy_igd(found: Match[str]) -> str:
    """legacy-igd=1 gives an Intel processor graphics the place and the ROM that its old drivers need, which fits only one kind of machine."""
    return f"legacy IGD assignment {found['why'] or 'takes one device only'}"
