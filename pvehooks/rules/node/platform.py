"""The node's firmware, CPU and IOMMU."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.iommu_switch import INTEL, is_arm, remedy
from pvehooks.derived.kernel_args import add, remove, values_of
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, Severity, Unread
from pvehooks.values.boot import release

RULES = RuleSet(order=10)
_AMD = ("AuthenticAMD", "HygonGenuine")
_UNSAFE = "vfio_iommu_type1.allow_unsafe_interrupts"


@RULES.rule(
    "kvm-unavailable",
    Severity.WARNING,
    "Enable VT-x or SVM in the firmware setup, and restart the node",
    needs=("cpu_flags", "firmware"),
    line="CPU",
)
def kvm_unavailable(node: Node) -> Iterator[Finding]:
    """The CPU does not offer hardware virtualization, without which no VM starts with KVM.

    Source: the kernel's /proc/cpuinfo (vmx, svm); the administrator's manual, "System Requirements".
    """
    if isinstance(node.cpu_flags, Unread) or isinstance(node.firmware, Unread):
        return
    if node.firmware.cpu in (INTEL, *_AMD) and not {"vmx", "svm"} & node.cpu_flags:
        name = "VT-x" if node.firmware.cpu == INTEL else "SVM"
        yield Finding("cpu", f"the CPU of {node.name} does not show {name}: it is disabled in the firmware setup, and no VM can use KVM")


@RULES.all_well("CPU")
def _cpu(node: Node) -> str:
    if isinstance(node.firmware, Unread) or isinstance(node.cpu_flags, Unread):
        return ""
    vendor = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}.get(node.firmware.cpu, node.firmware.cpu)
    kind = "VT-x" if "vmx" in node.cpu_flags else "SVM" if "svm" in node.cpu_flags else ""
    return f"{vendor}, {kind}" if vendor and kind else ""


@RULES.rule(
    "iommu-inactive",
    Severity.WARNING,
    "Enable VT-d or AMD-Vi in the firmware setup, or the IOMMU on the kernel command line, and restart the node",
    needs=("iommu", "firmware", "kernels", "command_lines", "loader"),
    line="IOMMU",
)
def iommu_inactive(node: Node) -> Iterator[Finding]:
    """The node has no working IOMMU: no PCI device can be passed through, and the web interface offers none.

    VT-d or AMD-Vi has to be on in the firmware setup and in the kernel. Kernels that are built with
    CONFIG_INTEL_IOMMU_DEFAULT_ON, as Proxmox VE's from 6.8 on, need no argument; older ones need intel_iommu=on. AMD needs none.
    An ACPI table (DMAR, IVRS) and lines about it in the kernel's log do not prove that it is on.
    Source: the kernel's admin-guide/kernel-parameters; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.iommu, Unread):
        yield not_examined("IOMMU", f"whether there is an IOMMU is unknown: {node.iommu.why}")
        return
    if node.iommu.active:
        return
    yield Finding("IOMMU", f"the IOMMU is off, and no PCI device can be passed through: {node.iommu.why}", remedy(node))


@RULES.all_well("IOMMU")
def _iommu(node: Node) -> str:
    if isinstance(node.iommu, Unread) or not node.iommu.active or isinstance(node.firmware, Unread):
        return ""
    maker = {"dmar": "Intel", "ivhd": "AMD", "smmu": "SMMU"}.get((*node.firmware.units, "")[0][:4], "")
    return f"on ({maker + ', ' if maker else ''}{node.firmware.groups} groups)"


@RULES.rule(
    "iommu-translates-host",
    Severity.INFO,
    "If the host's own devices are slower than expected, add iommu=pt to the kernel command line",
    needs=("firmware", "loader"),
    line="IOMMU mode",
)
def iommu_translates_host(node: Node) -> Iterator[Finding]:
    """The IOMMU also translates what the host's own devices do, which costs some of them speed; with iommu=pt it does not.

    It makes no difference to devices that are passed through, and protects the host from its own devices. Many guides
    add iommu=pt without this reason.
    Source: the kernel's admin-guide/kernel-parameters (iommu.passthrough), ABI/testing/sysfs-kernel-iommu_groups (type).
    """
    if isinstance(node.firmware, Unread):
        return
    translated = sorted(kind for kind in node.firmware.translation if kind.startswith("DMA"))
    if translated:
        argument = _pass_through(node)
        message = f"the IOMMU also translates for the host's own devices ({translated[0]}), because {argument} is not set"
        yield Finding(argument, message, f"Only if they are slower than expected: {add(argument, node)}")


def _pass_through(node: Node) -> str:
    """The argument that has the host's own devices go untranslated; the short one is of x86 alone (the kernel's arch/x86/kernel/pci-dma.c)."""
    return "iommu.passthrough=1" if is_arm(node) else "iommu=pt"


@RULES.all_well("IOMMU mode")
def _host_translation(node: Node) -> str:
    if isinstance(node.firmware, Unread) or node.firmware.translation != {"identity"}:
        return ""
    return f"no translation for the host's own devices ({_pass_through(node)})"


@RULES.rule(
    "interrupt-remapping-off",
    Severity.WARNING,
    "Enable x2APIC or interrupt remapping in the firmware setup, and remove intremap=off from the kernel command line if it is there",
    needs=("iommu",),
    line="interrupt remapping",
)
def interrupt_remapping_off(node: Node) -> Iterator[Finding]:
    """The IOMMU does not remap interrupts, so vfio refuses to pass devices through unless the risk is accepted.

    With allow_unsafe_interrupts=1 it passes them through all the same, and a VM can then inject any interrupt into the host.
    Source: the kernel's drivers/vfio/vfio_iommu_type1.c; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.iommu, Unread) or not node.iommu.active or node.iommu.remaps_interrupts is not False:
        return
    what = "vfio refuses to pass devices through"
    if node.iommu.unsafe_allowed:
        what = "devices are passed through all the same (allow_unsafe_interrupts=1), and a VM can inject interrupts into the host"
    yield Finding("interrupt remapping", f"interrupts are not remapped: {what}")


@RULES.all_well("interrupt remapping")
def _interrupts(node: Node) -> str:
    known = not isinstance(node.iommu, Unread) and node.iommu.active and node.iommu.remaps_interrupts
    return "interrupts are remapped" if known else ""


@RULES.rule(
    "advice-void",
    Severity.INFO,
    "Remove it: it has no effect, or a harmful one",
    needs=("command_lines", "firmware", "iommu", "kernels", "loader", "modules"),
    line="outdated advice",
)
def advice_void(node: Node) -> Iterator[Finding]:
    """A setting that guides recommend has no effect any more, or a harmful one.

    vfio_virqfd is part of vfio since kernel 6.2. The kernel never knew amd_iommu=on: AMD-Vi is on by default.
    allow_unsafe_interrupts weakens the isolation without a benefit where interrupts are remapped.
    Source: the kernel's admin-guide/kernel-parameters, drivers/vfio; the administrator's manual, "PCI(e) Passthrough".
    """
    if not isinstance(node.modules, Unread) and not isinstance(node.kernels, Unread) and release(node.kernels.running) >= (6, 2):
        for name, file in node.modules.listed:
            if name == "vfio_virqfd":
                yield Finding(
                    file,
                    f"{file} loads vfio_virqfd, which is part of vfio since kernel 6.2: systemd-modules-load.service fails at boot",
                    f"Remove the line vfio_virqfd from {file}",
                )
    if not isinstance(node.command_lines, Unread) and not isinstance(node.command_lines.running, Unread):
        running = node.command_lines.running
        arm = is_arm(node)
        for name in ("intel_iommu", "amd_iommu") if arm else ():
            if "on" in values_of(running, name):
                yield Finding(f"{name}=on", f"{name}=on has no effect on an ARM CPU", remove(f"{name}=on", node))
        if not arm and "on" in values_of(running, "amd_iommu"):
            yield Finding("amd_iommu=on", "amd_iommu=on has no effect: AMD-Vi is on by default", remove("amd_iommu=on", node))
        if not isinstance(node.firmware, Unread) and node.firmware.cpu in _AMD and "on" in values_of(running, "intel_iommu"):
            yield Finding("intel_iommu=on", "intel_iommu=on has no effect on a CPU of AMD", remove("intel_iommu=on", node))
    if not isinstance(node.iommu, Unread) and node.iommu.unsafe_allowed and node.iommu.remaps_interrupts:
        message = "vfio_iommu_type1 allows unsafe interrupts although interrupts are remapped: it is not needed and weakens the isolation"
        lines = node.command_lines
        words = () if isinstance(lines, Unread) or isinstance(lines.running, Unread) else lines.running
        word = next((each for each in words if each.partition("=")[0].replace("-", "_") == _UNSAFE), "")
        in_files = "Remove allow_unsafe_interrupts from /etc/modprobe.d, then: update-initramfs -u -k all && reboot"
        yield Finding("allow_unsafe_interrupts", message, remove(word, node) if word else in_files)


@RULES.all_well("outdated advice")
def _advice(node: Node) -> str:
    return "" if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread) else "no outdated setting"


@RULES.rule(
    "microcode-missing", Severity.INFO, "Install it: apt install intel-microcode, or amd64-microcode", needs=("firmware",), line="microcode"
)
def microcode_missing(node: Node) -> Iterator[Finding]:
    """The package with the CPU's microcode is not installed, so fixes for CPU faults come only with updates of the firmware.

    Source: the administrator's manual, "Firmware Updates" (it is in Debian's non-free-firmware).
    """
    if isinstance(node.firmware, Unread) or not node.firmware.microcode or node.firmware.microcode_there:
        return
    package = node.firmware.microcode
    message = f"{package} is not installed: fixes for CPU faults come only with firmware updates"
    remedy = (
        f"Type: apt install {package}; where apt does not know it, add non-free-firmware behind main in Debian's lines of"
        " /etc/apt/sources.list or /etc/apt/sources.list.d/debian.sources, then: apt update"
    )
    yield Finding("microcode", message, remedy)


@RULES.all_well("microcode")
def _microcode(node: Node) -> str:
    return f"{node.firmware.microcode} is installed" if not isinstance(node.firmware, Unread) and node.firmware.microcode else ""
