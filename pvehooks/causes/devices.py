"""Failed starts: devices that do not answer, cannot be reset, or lack something."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import KERNEL, TASK, CauseSet, Rank

CAUSES = CauseSet()
_POWER = "Shut the node down and take its power away for a minute: a restart alone may not bring the device back"


@CAUSES.cause(
    "device-dead",
    r"(?:vfio-pci )?(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): .*(?:[Uu]nable to change power state from (?P<state>\w+) to D0, device inaccessible"
    r"|[Uu]nknown (?:PCI )?header type '?7f)|!!! Unknown header type 7f"
    r"|pci_irq_handler: Assertion|vfio: Unable to power on device, stuck in D3",
    _POWER,
    "the kernel's drivers/pci/pci.c; pciutils",
    logs=(KERNEL, TASK),
    rules=("hostpci-device-dead",),
)
def device_dead(found: Match[str]) -> str:
    """The device answers with ones to everything: it hangs, has lost its power, or did not come back from a reset. Many graphics cards do this
    after the first VM that used them has stopped; bound to vfio-pci from boot on, and never driven by the host, some of them survive. QEMU ends with
    an assertion on the interrupt pin, as it reads ones for it."""
    return f"{found['address'] or 'a device'} does not answer any more"


@CAUSES.cause(
    "not-ready-after-reset",
    r"(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): not ready \d+ms after (?P<how>[\w ]+); giving up",
    f"{_POWER}; if it comes again, choose another way to reset it: see /sys/bus/pci/devices/ADDRESS/reset_method",
    "the kernel's drivers/pci/pci.c (pci_dev_wait)",
    logs=(KERNEL, TASK),
)
def not_ready_after_reset(found: Match[str]) -> str:
    """The kernel reset the device for the VM, and the device did not come back within a minute."""
    return f"{found['address']} did not come back after its reset ({found['how']})"


@CAUSES.cause(
    "reset-not-possible",
    r"[Cc]annot reset device (?P<address>[0-9a-f:.]+), (?P<why>no available reset mechanism|depends on group \d+ which is not owned)",
    "See what shares its bus: pvehooks host groups; give the VM all functions of the slot",
    "QEMU, hw/vfio/pci.c",
    rank=Rank.GENERAL,
    rules=("reset-unavailable",),
)
def reset_not_possible(found: Match[str]) -> str:
    """The device has no reset of its own, and the bus can be reset only when the VM has every device on it. It starts without a reset, in
    whatever state the last user left it, which many devices do not survive."""
    return f"{found['address']} could not be reset: {found['why']}"


@CAUSES.cause(
    "pve-reset-failed",
    r"failed to reset PCI device '(?P<address>[^']+)', but trying to continue",
    "If the VM then misses the device: " + _POWER[0].lower() + _POWER[1:],
    "qemu-server, PVE/QemuServer/PCI.pm",
    rank=Rank.GENERAL,
)
def pve_reset_failed(found: Match[str]) -> str:
    """Proxmox VE resets a device that says it can be reset, and goes on where that fails."""
    return f"the reset of {found['address']} failed before QEMU was started"


@CAUSES.cause(
    "device-not-opened",
    r"error getting device from group (?P<group>\d+): (?P<why>Permission denied|Input/output error|Invalid argument|No such device|.+)",
    "The kernel's log says why: journalctl -k -n 50",
    "QEMU, hw/vfio/container-legacy.c",
    rank=Rank.PLACE,
)
def device_not_opened(found: Match[str]) -> str:
    """vfio has the group but did not open the device. "No such device" is one that is not bound to vfio-pci, "Permission denied" a virtual
    function whose PF is on vfio too, "Input/output error" one that is dead or whose vGPU manager refused."""
    return f"a device of the IOMMU group {found['group']} could not be opened: {found['why']}"


@CAUSES.cause(
    "vf-token",
    r"(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): (?:Failed to authorize VF|VF token|No VF token).*|VF token (?:incorrectly )?(?:provided|required)",
    "Give the PF back to its driver: pvehooks unbind PF; see: pvehooks check {vmid}",
    "the kernel's drivers/vfio/pci/vfio_pci_core.c",
    logs=(KERNEL, TASK),
)
def vf_token(found: Match[str]) -> str:
    """The physical function of this virtual function is bound to vfio-pci itself. A program that has the PF could read along, so both users
    have to share a secret, which Proxmox VE does not set."""
    return "the virtual function's PF is bound to vfio-pci, too"


@CAUSES.cause(
    "bar-reserved",
    r"(?:vfio-pci )?(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): (?P<bar>BAR \d+)(?: \[[^\]]*\])?: can't reserve",
    "Keep the console off the card from the next boot on: pvehooks explain bar-held-by-framebuffer; then: pvehooks bind {address} --persist",
    "the kernel's drivers/pci/pci.c; drivers/video/aperture.c",
    logs=(KERNEL,),
    rules=("bar-held-by-framebuffer",),
)
def bar_reserved(found: Match[str]) -> str:
    """Something of the host still has the device's memory: nearly always the boot screen's framebuffer (efifb, simplefb, vesafb) on the graphics
    card that the firmware started with. The VM starts and its screen stays dark, or it fails."""
    return f"{found['bar']} of {found['address']} is still held by the host"


@CAUSES.cause(
    "invalid-rom",
    r"(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): Invalid PCI (?:option )?ROM (?:header signature|data signature)|Device option ROM contents are probably invalid",
    "Give the VM a ROM file of this very card (romfile=), or none: rombar=0 in the hostpci entry",
    "the kernel's drivers/pci/rom.c; QEMU, hw/vfio/pci.c",
    logs=(KERNEL, TASK),
    rank=Rank.GENERAL,
)
def invalid_rom(found: Match[str]) -> str:
    """The card's ROM cannot be read: the firmware has shadowed it for the card it booted with, or the card has none. A start does not fail
    for that alone; a graphics card may stay dark."""
    return f"the ROM of {found['address'] or 'a device'} cannot be read"


@CAUSES.cause(
    "rom-file-not-there",
    r"failed to find romfile \"(?P<file>[^\"]+)\"",
    "Put the file there, or take romfile= out of the hostpci entry; ROM files lie in /usr/share/kvm",
    "QEMU, hw/pci/pci.c",
    rules=("romfile-missing",),
)
def romfile_missing(found: Match[str]) -> str:
    """The hostpci entry names a ROM file that is not there: after a migration, a new installation, or with a typing error."""
    return f"the ROM file {found['file']} is not there"


@CAUSES.cause(
    "no-vga-region",
    r"(?:does not support|failed getting region info for) (?:requested feature x-vga|VGA region)",
    "Take x-vga=1 out of the hostpci entry",
    "QEMU, hw/vfio/pci.c",
)
def no_vga_region(found: Match[str]) -> str:
    """x-vga=1 asks for the old VGA ranges, which this device does not have (it is no VGA controller), or which the kernel does not give."""
    return "x-vga=1 is set for a device without VGA ranges"


@CAUSES.cause(
    "igd-opregion",
    r"(?:does not support|failed to (?:find|setup|get)) .*OpRegion|IGD device .*(?:unsupported|legacy mode disabled)",
    "Take x-igd-opregion and legacy-igd=1 out, or bind the graphics before i915 uses it: pvehooks bind 0000:00:02.0 --persist",
    "QEMU, hw/vfio/igd.c",
    rules=("opregion-missing",),
)
def igd_opregion(found: Match[str]) -> str:
    """Drivers of Intel processor graphics look for a table of the firmware (OpRegion), which this device does not have: it is a virtual
    function, a discrete card, or vfio was built without it."""
    return "the Intel graphics have no OpRegion that QEMU could pass on"


@CAUSES.cause(
    "device-error-at-start",
    r"(?P<address>[0-9a-f]{4}:[0-9a-f:.]+): (?:AER: .*(?:Uncorrectable|Fatal)|.*PCIe Bus Error: severity=Uncorrected \(Fatal\))",
    "See the link and the slot: pvehooks host check; put the card in anew, or into another slot",
    "the kernel's Documentation/PCI/pcieaer-howto.rst",
    logs=(KERNEL,),
    rank=Rank.PLACE,
)
def device_error(found: Match[str]) -> str:
    """The PCI Express port reported an error that it could not correct, while the VM was started: a bad contact, too long a riser, a card that
    fails, or a slot that is too fast for it."""
    return f"{found['address']} reported a fatal PCI Express error"


@CAUSES.cause(
    "dmar-fault",
    r"(?:DMAR|AMD-Vi): .*(?:\[DMA (?:Read|Write)[^\]]*\] Request device \[(?P<device>[0-9a-f:.]+)\]|IO_PAGE_FAULT device=(?P<other>[0-9a-f:.]+))",
    "If the device works in the VM, nothing; else see what shares its group: pvehooks host groups",
    "the kernel's Documentation/arch/x86/iommu.rst",
    logs=(KERNEL,),
    rank=Rank.GENERAL,
)
def dmar_fault(found: Match[str]) -> str:
    """A device reached for memory that is not its own. While it is handed over this happens with devices that were still at work."""
    return f"{found['device'] or found['other'] or 'a device'} reached for memory that is not its own"


@CAUSES.cause(
    "driver-in-use",
    r"NVRM: .*non-zero usage count",
    "End what uses the card (a display manager, nvidia-persistenced, a container); have it bound from the next boot on: pvehooks bind ADDRESS --persist",
    "NVIDIA's driver",
    logs=(KERNEL,),
    rules=("vfio-not-bound",),
)
def driver_in_use(found: Match[str]) -> str:
    """NVIDIA's driver waits for its last user before it gives the card away, and the start waits with it, or fails."""
    return "the host's graphics driver did not give the card away"


@CAUSES.cause(
    "vgpu-refused",
    r"vfio (?P<mdev>[0-9a-f]{8}-[0-9a-f-]{27}): (?:error getting device from group \d+|failed to read device config space|error opening .+): (?P<why>.+)",
    "See what the vGPU manager said: journalctl -u nvidia-vgpu-mgr -n 50; see whether the host driver works: nvidia-smi vgpu",
    "QEMU, hw/vfio/pci.c; NVIDIA's vGPU manager",
)
def vgpu_refused(found: Match[str]) -> str:
    """The vGPU exists, and the card's manager program on the host did not start it: the profile is not for this card, its memory is taken by other vGPUs or
    not given back yet, or host driver, manager and kernel do not fit together."""
    return f"the vGPU {found['mdev']} was not started: {found['why']}"


@CAUSES.cause(
    "interrupt-not-shared",
    r"VFIO_DEVICE_SET_IRQS failure: Device or resource busy|Failed to set up TRIGGER eventfd signaling for interrupt INTX",
    "See which devices have the line: grep -H . /sys/bus/pci/devices/*/irq; put the card into another slot, or unbind what shares the line from its host driver",
    "QEMU, hw/vfio/device.c; the kernel's drivers/vfio/pci/vfio_pci_intrs.c",
)
def interrupt_not_shared(found: Match[str]) -> str:
    """The device cannot mask its legacy interrupt (INTx), so vfio needs the line for it alone, and another device of the host or of a VM has it."""
    return "the device's interrupt line is used by another device"


@CAUSES.cause(
    "kernel-fault",
    r"BUG: (?:kernel NULL pointer dereference|unable to handle page fault)|(?:Oops|general protection fault)[:,]",
    "Restart the node; have the card bound from the next boot on: pvehooks bind ADDRESS --persist; boot another kernel: proxmox-boot-tool kernel pin VERSION",
    "the kernel's arch/x86/mm/fault.c, kernel/panic.c",
    logs=(KERNEL,),
)
def kernel_fault(found: Match[str]) -> str:
    """The kernel itself failed while the VM was started, often in a graphics driver that is made to give its card away. What waits for that driver hangs until
    the node is restarted."""
    return "the kernel failed while the VM was started"
