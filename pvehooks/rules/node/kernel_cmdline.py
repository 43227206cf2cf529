"""The node's kernel command line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.kernel_args import (
    QUIET,
    add,
    apply,
    described,
    differences,
    important,
    loader_of,
    name_of,
    place,
    plans,
    remove,
    shown,
    values_of,
    wanted,
)
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, Severity, Unread
from pvehooks.values.boot import GRUB_DEFAULTS, Planned

RULES = RuleSet(order=30)


def _sound(plan: Planned | None, node: Node) -> bool:
    """Whether the plan can be applied: no remedy may ask for a refresh and a restart with a plan that does not boot."""
    loader = loader_of(node)
    if plan is None or loader is None or isinstance(plan.words, Unread) or plan.broken or plan.ignored:
        return False
    return loader.kind == "grub" or any(name_of(word) == "root" for word in plan.words)


def _plan(node: Node) -> Planned | None:
    """What the file of this node's boot loader gives; None where it is unknown or missing."""
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread):
        return None
    return plans(node.command_lines, loader)[0]


@RULES.rule(
    "boot-file-broken",
    Severity.BLOCK,
    "Correct the file, then: update-grub, or proxmox-boot-tool refresh",
    needs=("command_lines", "loader"),
    line="kernel command line",
    at_boot=True,
)
def boot_file_broken(node: Node) -> Iterator[Finding]:
    """The file with the kernel command line has a syntax error, which breaks the boot sooner or later.

    /etc/default/grub and /etc/default/grub.d are shell scripts: where sh cannot read them, update-grub ends with an error, the menu
    stays as it was, and new kernels are not in it. A double quote that is not closed makes the kernel take the rest of
    the line for one argument. In /etc/kernel/cmdline that may be root=, and the node does not boot.
    Source: grub-mkconfig(8), which sources the files in sh with set -e; the kernel's lib/cmdline.c (next_arg).
    """
    loader = loader_of(node)
    if isinstance(node.command_lines, Unread) or loader is None:
        return
    own, other = plans(node.command_lines, loader)
    if own is not None and own.broken:
        effect = "update-grub fails, and new kernels are not in the menu" if isinstance(own.words, Unread) else "the node may not boot"
        yield Finding(own.place, f"{_in(own)}: {effect}", f"{_how(own)}, then: {loader.refresh}")
    elif own is not None and isinstance(own.words, Unread):
        yield not_examined(own.place, own.words.why)
    if other is not None and other.broken:
        message = f"{_in(other)}; {loader.name} does not read it"
        yield Finding(other.place, message, _how(other), severity=Severity.INFO)


def _how(plan: Planned) -> str:
    """How to correct the file."""
    file = re.split(r"[:, ]", plan.broken)[0] if plan.broken.startswith("/") else plan.place
    if "Windows" in plan.broken:
        return f"Type: sed -i 's/\\r$//' {file}"
    if plan.place == GRUB_DEFAULTS and plan.broken.startswith("/"):
        return f"Correct it, then check that sh can read it: nano {file} && sh -n {file}"
    return f"Close or remove the quote: nano {file}"


def _in(plan: Planned) -> str:
    """What is broken, and where."""
    return plan.broken if plan.broken.startswith("/") else f"{plan.place}: {plan.broken}"


@RULES.rule(
    "root-argument-missing",
    Severity.BLOCK,
    "Put root= back into /etc/kernel/cmdline, then: proxmox-boot-tool refresh",
    needs=("command_lines", "loader"),
    line="kernel command line",
    at_boot=True,
)
def root_argument_missing(node: Node) -> Iterator[Finding]:
    """/etc/kernel/cmdline has no root= on its first line, and systemd-boot adds none.

    proxmox-boot-tool then refuses to refresh the ESPs, also where GRUB boots and writes root= itself: they keep the old arguments
    and get no new kernels. Without proxmox-boot-tool the next boot ends in the initramfs.
    Source: proxmox-kernel-helper, zz-proxmox-boot (update_esps); the administrator's manual, "Editing the Kernel Commandline".
    """
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread) or (loader.kind == "grub" and not loader.managed):
        return
    plan = node.command_lines.kernel
    if plan is not None and not isinstance(plan.words, Unread) and not any(name_of(word) == "root" for word in plan.words):
        running = node.command_lines.running
        known = [] if isinstance(running, Unread) else [word for word in running if name_of(word) in ("root", "boot", "rootflags")]
        words = shown(known) or "root=..."
        effect = (
            "proxmox-boot-tool refuses to refresh, and the node gets no new kernels and arguments"
            if loader.managed
            else "after the next refresh the node does not find its root file system"
        )
        yield Finding(
            plan.place,
            f"{plan.place} has no root=: {effect}",
            f"Put it back at the beginning of its one line: {words}, then: {loader.refresh}",
        )


@RULES.rule(
    "cmdline-lines-ignored",
    Severity.WARNING,
    "Join the lines of /etc/kernel/cmdline into one, then: proxmox-boot-tool refresh",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def cmdline_lines_ignored(node: Node) -> Iterator[Finding]:
    """/etc/kernel/cmdline has more than one line, and only the first one reaches the kernel.

    Source: the administrator's manual, "Editing the Kernel Commandline" (placed as one line).
    """
    plan = _plan(node)
    loader = loader_of(node)
    if plan is not None and loader is not None and plan.ignored:
        message = f"{plan.place} must be one line: {shown(plan.ignored)} does not reach the kernel"
        yield Finding(plan.place, message, apply(loader, f"Join the lines of {plan.place} into one"))


@RULES.rule(
    "zfs-root-without-boot-zfs",
    Severity.INFO,
    "Add boot=zfs beside root=ZFS=",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def zfs_root_without_boot_zfs(node: Node) -> Iterator[Finding]:
    """The root file system is ZFS and the command line has no boot=zfs beside root=ZFS=.

    A current zfs-initramfs boots with root=ZFS= alone; older ones need boot=zfs, and the installer of Proxmox VE writes it.
    Source: OpenZFS, contrib/initramfs (conf.d/zfs, scripts/zfs); the administrator's manual, "Host Bootloader".
    """
    plan = _plan(node)
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return
    words = node.command_lines.running if plan is None or isinstance(plan.words, Unread) else plan.words
    on_zfs = any(word.lower().startswith("root=zfs") for word in (*node.command_lines.running, *words))
    if on_zfs and "zfs" not in values_of((*words, *node.command_lines.running), "boot"):
        yield Finding("boot=zfs", "the root file system is ZFS, and boot=zfs is not on the kernel command line", add("boot=zfs", node))


@RULES.rule(
    "cmdline-wrong-file",
    Severity.WARNING,
    "Write the arguments into the file that this node's boot loader reads",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def cmdline_wrong_file(node: Node) -> Iterator[Finding]:
    """Arguments are in a file that this node's boot loader does not read, so they have no effect.

    GRUB reads /etc/default/grub and /etc/default/grub.d; systemd-boot, which boots most nodes with ZFS and UEFI, reads /etc/kernel/cmdline.
    Guides describe both, and each node has one boot loader.
    Source: the administrator's manual, "Editing the Kernel Commandline", "Determine which Bootloader is Used".
    """
    loader = loader_of(node)
    if isinstance(node.command_lines, Unread) or loader is None:
        return
    own, other = plans(node.command_lines, loader)
    if other is None or isinstance(other.words, Unread):
        return
    running = () if isinstance(node.command_lines.running, Unread) else node.command_lines.running
    read = running if own is None or isinstance(own.words, Unread) else own.words
    lost = wanted(differences(wanted(other.words), read)[0], without=QUIET)
    if lost:
        severity = Severity.WARNING if important(lost) else Severity.INFO
        message = f"{shown(lost)} in {other.place} has no effect: {loader.name} boots this node ({loader.why}) and reads {loader.file}"
        yield Finding(other.place, message, apply(loader, f"Write it into {place(loader)}"), severity=severity)


@RULES.rule(
    "cmdline-not-refreshed",
    Severity.WARNING,
    "Write the boot loader's menu: update-grub, or proxmox-boot-tool refresh",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def cmdline_not_refreshed(node: Node) -> Iterator[Finding]:
    """The file with the kernel command line was edited, but the boot loader's menu was not written since.

    Source: the administrator's manual, "Editing the Kernel Commandline".
    """
    plan = _plan(node)
    loader = loader_of(node)
    if plan is None or loader is None or isinstance(plan.words, Unread) or isinstance(node.command_lines, Unread) or not _sound(plan, node):
        return
    if isinstance(node.command_lines.written, Unread) or not node.command_lines.written:
        return
    first = node.command_lines.written[0]
    missing, extra = differences(plan.words, first.words)
    if missing or extra:
        message = f"{loader.file} was edited, but the boot menu was not written since: {first.place} is {described(missing, extra)}"
        yield Finding(loader.file, message, f"Type: {loader.refresh} && reboot")


@RULES.rule(
    "cmdline-not-in-force",
    Severity.WARNING,
    "Restart the node",
    needs=("command_lines", "loader"),
    line="kernel command line",
)
def cmdline_not_in_force(node: Node) -> Iterator[Finding]:
    """The running kernel has other arguments than the next boot will give it: the node was not restarted since the edit.

    Where the boot menu is on an ESP that is not mounted, it is unknown whether the menu is current, so the remedy writes it again.
    Source: the administrator's manual, "Editing the Kernel Commandline".
    """
    plan = _plan(node)
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return
    if plan is not None and not isinstance(plan.words, Unread) and not _sound(plan, node):
        return
    running, written = node.command_lines.running, node.command_lines.written
    if not isinstance(written, Unread) and written:
        missing, extra = differences(written[0].words, running)
        remedy, what = "Restart the node: reboot", written[0].place
    elif plan is not None and not isinstance(plan.words, Unread):
        missing, extra = differences(plan.words, running)
        remedy, what = f"Type: {loader.refresh} && reboot", loader.file
    else:
        return
    if missing or extra:
        severity = Severity.WARNING if important((*missing, *extra)) else Severity.INFO
        yield Finding(
            "kernel command line",
            f"the running kernel does not have the arguments of {what}: it is {described(missing, extra)}",
            remedy,
            severity=severity,
        )


@RULES.all_well("kernel command line")
def _command_line(node: Node) -> str:
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return ""
    plan = plans(node.command_lines, loader)[0]
    if plan is None or isinstance(plan.words, Unread):
        return ""
    others = dict.fromkeys(each.file for each in plan.assignments if each.file != loader.file)
    return f"in effect, from {' and '.join((loader.file, *others))}: {shown(wanted(plan.words)) or 'no arguments'}"


@RULES.rule(
    "acs-override-void",
    Severity.WARNING,
    "Boot a kernel of Proxmox VE, and correct the argument: pcie_acs_override=downstream,multifunction",
    needs=("command_lines", "kernels", "loader"),
    line="ACS",
)
def acs_override_void(node: Node) -> Iterator[Finding]:
    """pcie_acs_override is on the command line without effect: the kernel does not have the patch, or does not know the value.

    Only Proxmox VE's kernels (and a few others) have it. It knows downstream, multifunction and id:VENDOR:DEVICE, with commas between.
    Source: pve-kernel, "pci: Enable overrides for missing ACS capabilities".
    """
    if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread) or isinstance(node.kernels, Unread):
        return
    running = node.command_lines.running
    if not any(name_of(word) == "pcie_acs_override" for word in running):
        return
    if "pve" not in node.kernels.running:
        message = f"pcie_acs_override has no effect with the kernel {node.kernels.running}: only kernels of Proxmox VE have it"
        yield Finding("pcie_acs_override", message, "Boot one of them: apt install proxmox-default-kernel && reboot")
    wrong = [value for value in values_of(running, "pcie_acs_override") if not value.startswith(("downstream", "multifunction", "id:"))]
    if wrong:
        change = f"{remove('pcie_acs_override=' + ','.join(wrong), node)}; the kernel knows downstream, multifunction and id:VENDOR:DEVICE"
        yield Finding("pcie_acs_override", f"the kernel does not know '{','.join(wrong)}' in pcie_acs_override", change)


@RULES.rule(
    "acs-override-in-force",
    Severity.INFO,
    "Avoid it where you can: another slot, ACS in the firmware setup",
    needs=("iommu", "loader"),
    line="ACS",
)
def acs_override_in_force(node: Node) -> Iterator[Finding]:
    """pcie_acs_override splits IOMMU groups that the hardware does not isolate: a VM's device can reach other devices directly.

    Source: pve-kernel, "pci: Enable overrides for missing ACS capabilities"; the administrator's manual, "PCI(e) Passthrough".
    """
    if not isinstance(node.iommu, Unread) and node.iommu.active and node.iommu.acs_override:
        argument = f"pcie_acs_override={node.iommu.acs_override}"
        message = f"{argument} splits IOMMU groups that the hardware does not isolate: run only VMs that you trust"
        yield Finding("pcie_acs_override", message, f"If no VM needs it: {remove(argument, node)}")


@RULES.all_well("ACS")
def _acs(node: Node) -> str:
    return "not overridden" if not isinstance(node.iommu, Unread) and node.iommu.active else ""
