"""Failed starts: processor, machine type, firmware."""

from __future__ import annotations

from re import Match

from pvehooks.causes.registry import KERNEL, TASK, CauseSet, Rank

CAUSES = CauseSet()
_SERVER = "qemu-server, PVE/QemuServer.pm"


@CAUSES.cause(
    "kvm-not-available",
    r"KVM virtualisation configured, but not available|Could not access KVM kernel module: (?P<why>.+)|failed to initialize kvm: (?P<other>.+)",
    "Turn VT-x or AMD-V (SVM) on in the firmware setup; see: dmesg | grep -i kvm",
    f"{_SERVER}; QEMU, accel/kvm/kvm-all.c",
    rules=("kvm-unavailable",),
)
def kvm_not_available(found: Match[str]) -> str:
    """The processor's virtualisation is off in the firmware setup, kvm_intel or kvm_amd is not loaded, or the node is itself a VM whose host
    does not pass virtualisation on. "Device or resource busy" means that another hypervisor has it."""
    return "KVM is not available on this node" + (f": {found['why'] or found['other']}" if found["why"] or found["other"] else "")


@CAUSES.cause(
    "cpus-beyond-node",
    r"MAX (?P<count>\d+) vcpus allowed per VM on this node",
    "Give the VM no more: qm set {vmid} --sockets 1 --cores {count}",
    _SERVER,
    rules=("cpus-too-many",),
)
def cpus_beyond_node(found: Match[str]) -> str:
    """Proxmox VE starts no VM with more virtual CPUs than the node has CPUs: after a migration, or with a broken core."""
    return f"the VM has more virtual CPUs than this node's {found['count']}"


@CAUSES.cause(
    "cpu-model-unknown",
    r"unable to find CPU model '(?P<model>[^']+)'|Custom cputype '(?P<custom>[^']+)' not found|Built-in cputype '(?P<built>[^']+)' is not defined"
    r"|CPU model '(?P<arch>[^']+)' does not exist for configured vCPU architecture",
    "Choose another CPU type: qm set {vmid} --cpu host; custom ones are in /etc/pve/virtual-guest/cpu-models.conf",
    "QEMU, target/i386/cpu.c; qemu-server, PVE/QemuServer/CPUConfig.pm",
)
def cpu_model_unknown(found: Match[str]) -> str:
    """The VM's CPU type is not known to this node's QEMU, or is a custom one whose definition is gone."""
    return f"the CPU type {found['model'] or found['custom'] or found['built'] or found['arch']} does not exist here"


@CAUSES.cause(
    "cpu-features-missing",
    r"Host doesn't support requested features",
    "Choose a CPU type that this node can serve: qm set {vmid} --cpu x86-64-v2-AES; an older processor: qm set {vmid} --cpu x86-64-v2; on this node alone: qm set {vmid} --cpu host",
    "QEMU, target/i386/cpu.c",
)
def cpu_features_missing(found: Match[str]) -> str:
    """The CPU type has features that this node's processor does not have, or that its microcode has turned off. The warnings before it name them;
    alone, without `enforce`, such a warning stops nothing."""
    return "the processor lacks features that the VM's CPU type has"


@CAUSES.cause(
    "cpu-feature-warned",
    r"warning: host doesn't support requested feature: (?P<what>.+)",
    "Choose a CPU type that this node can serve: qm set {vmid} --cpu x86-64-v2-AES",
    "QEMU, target/i386/cpu.c",
    rank=Rank.GENERAL,
)
def cpu_feature_warned(found: Match[str]) -> str:
    """The VM's CPU type, or args, name a feature that this node's processor does not have. The VM starts without it; a start fails for it only where
    QEMU says so on a line of its own."""
    return f"the processor does not have {found['what']}"


@CAUSES.cause(
    "cpu-register-refused",
    r"failed to set MSR (?P<register>0x[0-9a-f]+)|Failed to put registers after (?:init|reset|migration): (?P<why>.+)|kvm_arch_init_vcpu failed \(\d+\): (?P<other>.+)",
    "Update kernel and microcode; or choose another CPU type: qm set {vmid} --cpu x86-64-v2-AES",
    "QEMU, target/i386/kvm/kvm.c, accel/kvm/kvm-all.c",
    logs=(TASK, KERNEL),
)
def cpu_register_refused(found: Match[str]) -> str:
    """QEMU made a virtual CPU and set its registers, which this kernel, this processor's microcode, or an outer hypervisor does not let it do."""
    if found["register"]:
        return f"KVM refused to set the processor register {found['register']}"
    return f"KVM refused to set up a virtual CPU: {found['why'] or found['other']}"


@CAUSES.cause(
    "machine-not-known",
    r"unsupported machine type '?(?P<type>[^'\s]+)|Use -machine help to list supported machines",
    "Choose one that this QEMU has: qm set {vmid} --machine q35 (or pc); list them: qemu-system-x86_64 -machine help",
    "QEMU, system/vl.c",
    rules=("machine-too-new", "machine-too-old"),
)
def machine_not_known(found: Match[str]) -> str:
    """The VM's machine version does not exist in this node's QEMU: it was made on a newer node, or QEMU has dropped versions that old."""
    return f"this QEMU has no machine type {found['type'] or 'of that name'}"


@CAUSES.cause(
    "qemu-too-old-for-machine",
    r"Installed QEMU version '(?P<version>[^']+)' is too old to run machine type '(?P<type>[^']+)'|Installed qemu-server \(max feature level",
    "Update this node: apt update && apt full-upgrade; or start the VM on the node it comes from",
    _SERVER,
    rules=("machine-too-new",),
)
def qemu_too_old(found: Match[str]) -> str:
    """The VM was created, suspended, or given a snapshot on a node with a newer QEMU."""
    return f"this node's QEMU {found['version'] or ''} is too old for the VM's machine type {found['type'] or ''}".replace(
        "  ", " "
    ).rstrip()


@CAUSES.cause(
    "qemu-binary-too-old",
    r"Detected old QEMU binary",
    "Update: apt update && apt full-upgrade",
    _SERVER,
)
def qemu_binary_too_old(found: Match[str]) -> str:
    """The package qemu-server was updated, and pve-qemu-kvm was not: an upgrade was broken off, or a package is held back."""
    return "pve-qemu-kvm is too old for the installed qemu-server"


@CAUSES.cause(
    "firmware-image-missing",
    r"EFI (?:base|vars) image '(?P<file>[^']+)' not found|[Cc]ould not load (?:PC )?(?:BIOS|bios) '(?P<other>[^']+)'",
    "Reinstall the firmware: apt install --reinstall pve-edk2-firmware pve-qemu-kvm; a file of your own: pvehooks check {vmid}",
    "qemu-server, PVE/QemuServer/OVMF.pm; QEMU, hw/i386/x86-common.c",
    rules=("ovmf-image-missing", "firmware-missing"),
)
def firmware_image_missing(found: Match[str]) -> str:
    """The firmware that the VM is to start with is not on this node."""
    return f"the firmware {found['file'] or found['other']} is not there"


@CAUSES.cause(
    "efi-disk-size",
    r"requires (?P<wanted>\d+) bytes, (?:[\w-]+ )?block backend provides (?P<given>\d+) bytes|system firmware block device .* has invalid size",
    "Make the EFI disk anew (its boot entries are lost): qm set {vmid} --delete efidisk0; then: qm set {vmid} --efidisk0 STORAGE:1,efitype=4m,pre-enrolled-keys=1",
    "QEMU, hw/block/pflash_cfi01.c",
)
def efi_disk_size(found: Match[str]) -> str:
    """The VM's EFI disk does not have the size of its firmware's variables: it was resized, restored from elsewhere, or belongs to another
    type (2m or 4m)."""
    return (
        f"the EFI disk has {found['given']} bytes, and the firmware needs {found['wanted']}"
        if found["given"]
        else "the EFI disk has a wrong size"
    )


@CAUSES.cause(
    "confidential-computing",
    r"Your CPU does not support (?:AMD|Intel) (?P<what>\S+)\.|sev_kvm_init.*failed|To use (?:AMD SEV|Intel TDX), you need|SEV: (?:\w+ )?failed|kvm_create_guest_memfd|tdx.*not supported",
    "Turn it on in the firmware setup, or take it out: qm set {vmid} --delete amd-sev",
    "qemu-server, PVE/QemuServer/CPUConfig.pm; QEMU, target/i386/sev.c",
)
def confidential_computing(found: Match[str]) -> str:
    """Encrypted memory needs a processor, a firmware setup and a kernel that support it, and a UEFI guest."""
    return f"this node cannot encrypt the VM's memory{' (' + found['what'] + ')' if found['what'] else ''}"


@CAUSES.cause(
    "viommu-settings",
    r"to use Intel vIOMMU please set the machine type to q35|Intel vIOMMU supports only 39 or 48|cannot set aw-bits if no vIOMMU"
    r"|group \d+ used in multiple address spaces|Interrupt Remapping cannot work with kernel-irqchip=on",
    "Choose q35 with one of the two: qm set {vmid} --machine q35,viommu=intel (or virtio)",
    "qemu-server, PVE/QemuServer/Machine.pm; QEMU, hw/i386/intel_iommu.c",
)
def viommu_settings(found: Match[str]) -> str:
    """The virtual IOMMU needs the machine type q35, takes few address widths, and gives each PCI function of the VM an address space of its own: two functions
    of one IOMMU group of the node (a card and its audio) cannot be separate ones there."""
    return "the VM's virtual IOMMU does not fit its machine type"


@CAUSES.cause(
    "qemu-crashed",
    r"kvm\[\d+\]: segfault|traps: kvm\[\d+\]|QEMU exited with code 13\d|Assertion [`'].+' failed",
    "Report it with the log, or try the former QEMU: apt policy pve-qemu-kvm",
    "the kernel's arch/x86/mm/fault.c; QEMU",
    rank=Rank.PLACE,
    logs=(TASK, KERNEL),
)
def qemu_crashed(found: Match[str]) -> str:
    """QEMU itself failed, or was killed by a signal. That is a bug of QEMU, of a library, or broken memory."""
    return "QEMU crashed"


@CAUSES.cause(
    "tsc-or-clock",
    r"TSC scaling (?:not supported|unavailable)|TSC frequency mismatch",
    "Start the VM anew without its saved state: qm set {vmid} --delete vmstate; or take tsc settings out of args",
    "QEMU, target/i386/kvm/kvm.c",
    rank=Rank.PLACE,
)
def tsc_or_clock(found: Match[str]) -> str:
    """The saved or migrated VM ran with another clock rate than this processor can give it."""
    return "this processor cannot give the VM the clock that it ran with"


@CAUSES.cause(
    "boot-file-not-usable",
    r"(?:invalid kernel header|[Cc]ould not (?:open|load|read) (?:kernel|initrd)(?: file)? '?(?P<file>[^':]*)'?)",
    "Name a Linux kernel for this architecture, or take -kernel and -initrd out of args: qm config {vmid}",
    "QEMU, hw/i386/x86-common.c, system/vl.c",
)
def boot_file_not_usable(found: Match[str]) -> str:
    """args have QEMU boot a kernel of the node's (-kernel, -initrd), and the file is not there, or is no kernel in the form that QEMU loads."""
    return f"QEMU cannot boot the kernel that args name{': ' + found['file'] if found['file'] else ''}"
