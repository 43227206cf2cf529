"""IOMMU: whether the node has one for the VM's devices, whether it isolates them, and how far it translates."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.derived.passthrough import PASSING, passes_through, taken, working_iommu
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Refuser, Severity, Unread

# Before groups.py: without an IOMMU there are no groups.
RULES = RuleSet(applies_to=passes_through, order=35, options=PASSING)


@RULES.rule(
    "iommu-off",
    Severity.BLOCK,
    "Switch the IOMMU on, in the firmware setup (VT-d, AMD-Vi) or on the kernel command line, and restart the node",
    needs=("command_lines", "firmware", "holders", "iommu", "kernels", "loader", "pci"),
    kernel_may_explain=True,
)
def iommu_off(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has passed-through PCI devices, but the node has no IOMMU groups, or none with its device: the start would fail.

    Either VT-d or AMD-Vi is off in the firmware setup, or the kernel's arguments switch it off, or the hardware has none. The
    ACPI tables and lines about them in the kernel's log are there with the IOMMU off, too: they prove nothing. With igfx_off
    in intel_iommu= only Intel's graphics have none.
    Source: the kernel's Documentation/ABI/testing/sysfs-kernel-iommu_groups; qemu-server, PCI.pm (prepare_pci_device).
    """
    if isinstance(node.iommu, Unread):
        yield not_examined("iommu", f"whether the node has an IOMMU is unknown: {node.iommu.why}")
    elif not node.iommu.active:
        options = ", ".join(dict.fromkeys(entry.option for entry in (*guest.hostpci, *guest.args_pci)))
        message = f"{options} cannot be passed through, {node.name} has no IOMMU groups: {node.iommu.why}"
        yield Finding("iommu", message, derived.iommu_switch.remedy(node))
    for claim, device in taken(guest, node) if working_iommu(node) is not None else ():
        if not (device.group or device.group_unread or device.bridge):
            message = f"{claim.entry.option}: {device.label} is in no IOMMU group, the IOMMU leaves it out: the start would fail"
            remedy = f"Take igfx_off off the kernel command line if it is there, or {derived.remedies.giving_up(guest, claim.entry)}"
            yield Finding(device.address, message, remedy)


@RULES.rule(
    "acs-override-active",
    Severity.WARNING,
    "Run only VMs here that you trust, or take pcie_acs_override off the kernel command line",
    needs=("iommu",),
)
def acs_override_active(guest: Guest, node: Node) -> Iterator[Finding]:
    """The isolation of the VM's devices rests on pcie_acs_override, which splits IOMMU groups that the hardware does not.

    Devices may still reach each other, and so may a VM reach the memory of the host or of another VM through them.
    Source: the administrator's manual, "PCI(e) Passthrough".
    """
    iommu = working_iommu(node)
    if iommu is not None and iommu.acs_override:
        yield Finding("iommu", f"its IOMMU groups rest on pcie_acs_override={iommu.acs_override}: the hardware does not isolate them")


def _refused_by_vfio(guest: Guest, finding: Finding) -> Finding:
    """An audit shows that the start fails; before a start, the guard leaves the refusal to vfio, which does no harm."""
    return finding._replace(severity=Severity.BLOCK) if finding.refuser is Refuser.PVE else finding


@RULES.rule(
    "interrupts-unsafe",
    Severity.WARNING,
    "Switch interrupt remapping on (firmware setup: VT-d, x2APIC; take intremap=off off the kernel command line)",
    needs=("iommu",),
    in_audit=_refused_by_vfio,
    kernel_may_explain=True,
)
def interrupts_unsafe(guest: Guest, node: Node) -> Iterator[Finding]:
    """The node does not remap interrupts: vfio refuses the VM's devices, or its option allows them, which is a hole.

    With allow_unsafe_interrupts=1 vfio gives them all the same, and the VM can then make a device send the host any interrupt.
    Mediated devices are not applies_to.
    Source: the kernel's drivers/vfio/vfio_iommu_type1.c (vfio_iommu_type1_attach_group); the administrator's manual, "PCI(e) Passthrough".
    """
    iommu = working_iommu(node)
    if iommu is None or iommu.remaps_interrupts or all(entry.mdev for entry in (*guest.hostpci, *guest.args_pci)):
        return
    allowed = "vfio is allowed to do without (allow_unsafe_interrupts=1)"
    if iommu.remaps_interrupts is False and not iommu.unsafe_allowed:
        # A guest that runs shows that vfio took its devices.
        if not guest.running:
            message = f"{node.name} has no interrupt remapping, and vfio refuses devices without it: the VM would not start"
            yield Finding("iommu", message, refuser=Refuser.PVE)
    elif iommu.remaps_interrupts is False:
        yield Finding("iommu", f"{node.name} has no interrupt remapping, and {allowed}: the VM can inject interrupts into the host")
    elif iommu.unsafe_allowed:
        message = (
            f"whether {node.name} has interrupt remapping is unknown, and {allowed}: without it the VM can inject interrupts into the host"
        )
        yield Finding("iommu", message)


@RULES.rule(
    "iommu-address-width",
    Severity.WARNING,
    "Show the VM no more address bits than the IOMMU translates: qm set {vmid} --cpu host,phys-bits=BITS",
    needs=("cpu_address_bits", "holders", "pci"),
)
def iommu_address_width(guest: Guest, node: Node) -> Iterator[Finding]:
    """The IOMMU translates fewer address bits than the VM sees, and the VM's firmware places memory of devices above them.

    Intel's client chips have IOMMUs of 39 bits and CPUs of 39 to 46. OVMF takes the CPU's bits and puts 64-bit BARs high. QEMU cannot
    map what lies there: with shared memory (ivshmem, as Looking Glass has it) it ends with "VFIO_MAP_DMA failed: Invalid argument",
    without it devices cannot reach each other's memory, which few need. The option phys-bits of `cpu` limits what the VM sees.
    Source: Intel's Virtualization Technology for Directed I/O, 11.4.2 (MGAW); QEMU, hw/vfio/common.c; edk2, PlatformInitLib/MemDetect.c.
    """
    if not guest.uefi or guest.cpu[0] not in ("host", "max"):
        return
    known = [(device.iommu_bits, device, claim) for claim, device in taken(guest, node) if device.iommu_bits]
    bits, device, claim = min(known, key=lambda each: each[0], default=(None, None, None))
    seen = guest.properties("cpu").get("phys-bits", "host")
    if bits is None or device is None or claim is None:
        return
    # Last, since /proc/cpuinfo is long where there are many processors, and AMD's IOMMUs show no bits.
    shown = node.cpu_address_bits if seen == "host" else int(seen)
    if isinstance(shown, Unread) or shown <= bits:
        return
    fatal = "ivshmem" in guest.options or "ivshmem" in str(guest.options.get("args", ""))
    end = (
        "QEMU would end when the VM's firmware places its shared memory (ivshmem) above that"
        if fatal
        else "devices of the VM may not reach each other"
    )
    message = f"{claim.entry.option}: the IOMMU of {device.label} translates {bits} address bits, and the VM sees {shown}: {end}"
    remedy = f"Show it no more than that: {derived.remedies.replacing(guest, 'cpu', 'phys-bits', str(bits))}"
    yield Finding(device.address, message, remedy, Severity.WARNING if fatal else Severity.INFO)
