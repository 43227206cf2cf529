"""The node's boot loader and its kernels."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.guest_devices import named_by_guests
from pvehooks.derived.kernel_args import loader_of
from pvehooks.derived.kernel_faults import faults_of, without_faults
from pvehooks.derived.passthrough import pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, Severity, Unread

RULES = RuleSet(order=20)


@RULES.rule(
    "boot-loader-unknown",
    Severity.INFO,
    "Ask the firmware: efibootmgr -v, and proxmox-boot-tool status",
    needs=("loader",),
    line="boot loader",
)
def boot_loader_unknown(node: Node) -> Iterator[Finding]:
    """The boot loader of the node is unknown, and so is the file in which its kernel command line is written.

    GRUB reads GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, and a change takes effect with update-grub. systemd-boot reads the
    one line of /etc/kernel/cmdline, and a change takes effect with proxmox-boot-tool refresh. Both need a restart.
    Source: the administrator's manual, "Host Bootloader".
    """
    if isinstance(node.loader, Unread):
        yield not_examined("boot loader", f"which boot loader started the node is unknown: {node.loader.why}")
    elif not node.loader.kind:
        yield Finding("boot loader", "neither the firmware nor the kernel command line shows which boot loader started the node")


@RULES.all_well("boot loader")
def _loader(node: Node) -> str:
    loader = loader_of(node)
    if loader is None:
        return ""
    firmware_words = "UEFI" if loader.uefi else "legacy BIOS"
    if not isinstance(node.firmware, Unread) and node.firmware.secure_boot:
        firmware_words += " with Secure Boot"
    return f"{loader.name}, {firmware_words} ({loader.why}): it reads {loader.file}, and {loader.refresh} applies a change"


@RULES.rule(
    "esp-missing",
    Severity.WARNING,
    "Set up the new disk's ESP: proxmox-boot-tool init PARTITION, then remove the missing one from the list: proxmox-boot-tool clean",
    needs=("loader",),
    line="ESPs",
    at_boot=True,
)
def esp_missing(node: Node) -> Iterator[Finding]:
    """An ESP that proxmox-boot-tool maintains is missing: a replaced disk has none yet, and the node does not boot from it.

    Source: the administrator's manual, "Synchronizing the content of the ESP with proxmox-boot-tool".
    """
    if isinstance(node.loader, Unread):
        return
    for uuid in node.loader.missing:
        left = len(node.loader.esps) - len(node.loader.missing)
        mode = " grub" if node.loader.kind == "grub" and node.loader.uefi else ""
        yield Finding(
            uuid,
            f"the ESP {uuid} of /etc/kernel/proxmox-boot-uuids is missing; the node can boot from {left} other{'' if left == 1 else 's'}",
            "If its disk was replaced, find the ESP of the new disk: lsblk -o NAME,SIZE,PARTTYPENAME,UUID, and set it up (here /dev/sdX2):"
            f" proxmox-boot-tool format /dev/sdX2 && proxmox-boot-tool init /dev/sdX2{mode}. Then remove the missing one from"
            " the list: proxmox-boot-tool clean",
        )


@RULES.all_well("ESPs")
def _esps(node: Node) -> str:
    if isinstance(node.loader, Unread) or not node.loader.esps:
        return ""
    return f"{len(node.loader.esps)} in /etc/kernel/proxmox-boot-uuids, all present"


@RULES.rule(
    "kernel-pin-missing",
    Severity.WARNING,
    "Remove the pin: proxmox-boot-tool kernel unpin",
    needs=("kernels", "loader"),
    line="kernel",
    at_boot=True,
)
def kernel_pin_missing(node: Node) -> Iterator[Finding]:
    """The pinned kernel is not installed, so the boot loader takes the first one that it finds.

    `pvehooks host fix` removes such a pin.
    Source: the administrator's manual, "Override the Kernel-Version for next Boot".
    """
    if isinstance(node.kernels, Unread) or not node.kernels.installed:
        return
    for pinned, option in ((node.kernels.pinned, ""), (node.kernels.next_boot, " --next-boot")):
        if pinned and pinned not in node.kernels.installed:
            message = f"the kernel {pinned} is pinned, but /boot has no vmlinuz-{pinned}"
            yield Finding(pinned, message, f"Remove the pin: proxmox-boot-tool kernel unpin{option}{_refresh(node)}")


@RULES.rule(
    "kernel-pinned",
    Severity.INFO,
    "If the pin is no longer needed: proxmox-boot-tool kernel unpin",
    needs=("kernels", "loader"),
    line="kernel",
)
def kernel_pinned(node: Node) -> Iterator[Finding]:
    """An older kernel is pinned: the node does not boot the newest one and gets no fixes.

    Source: the administrator's manual, "Override the Kernel-Version for next Boot".
    """
    if isinstance(node.kernels, Unread):
        return
    newest = next(iter(node.kernels.installed), "")
    refresh = _refresh(node)
    pinned, once = node.kernels.pinned, node.kernels.next_boot
    if pinned and pinned in node.kernels.installed and pinned != newest:
        message = f"{pinned} is pinned, so the newer {newest} is not booted"
        yield Finding("kernel", message, f"If the pin is no longer needed: proxmox-boot-tool kernel unpin{refresh}")
    if once and once in node.kernels.installed and once != newest:
        remedy = f"If that is not intended: proxmox-boot-tool kernel unpin --next-boot{refresh}"
        yield Finding("next boot", f"only the next boot takes {once}", remedy)


def _refresh(node: Node) -> str:
    """The command that follows a change of the pin: where proxmox-boot-tool maintains no ESPs, it runs update-grub itself."""
    loader = loader_of(node)
    return " && proxmox-boot-tool refresh" if loader is not None and loader.managed else ""


@RULES.rule("kernel-outdated", Severity.INFO, "Restart the node when convenient: reboot", needs=("kernels",), line="kernel")
def kernel_outdated(node: Node) -> Iterator[Finding]:
    """The node runs another kernel than the next boot takes: findings about modules and arguments may differ then.

    Source: the administrator's manual, "Host Bootloader".
    """
    if isinstance(node.kernels, Unread) or not node.kernels.installed or not node.kernels.running:
        return
    coming = node.kernels.next
    if coming in node.kernels.installed and coming != node.kernels.running:
        yield Finding("kernel", f"{node.kernels.running} is running, the next boot takes {coming}")


@RULES.rule(
    "kernel-breaks-passthrough",
    Severity.WARNING,
    "Boot another kernel: proxmox-boot-tool kernel pin RELEASE",
    needs=("guests", "kernels", "loader", "pci"),
    line="kernel",
)
def kernel_breaks_passthrough(node: Node) -> Iterator[Finding]:
    """The running kernel, or the one that the next boot takes, is known to break passthrough of a device that a VM gets.

    The known faults are listed with their ranges of releases in derived/kernel_faults.py of the package.
    Source: the changelogs of Proxmox VE's kernel packages; reports on its forum.
    """
    if isinstance(node.kernels, Unread):
        return
    wanted = named_by_guests(node)
    devices = pci_devices(node)
    for release in dict.fromkeys((node.kernels.running, node.kernels.next)):
        for fault in faults_of(release):
            applies_to = [devices[address] for address in sorted(wanted) if fault.concerns(devices[address])]
            if applies_to:
                first = applies_to[0]
                now = release == node.kernels.running
                state = "is running" if now else "is the next one to boot"
                message = f"{release} {state}, and it {fault.effect}. {wanted[first.address][0].label} gets {first.label}"
                other = without_faults(node.kernels.installed, tuple(faults_of(release)))
                pin = f"Type: proxmox-boot-tool kernel pin {other}{_refresh(node)}{' && reboot' if now else ''}"
                yield Finding(release, message, pin if other else "Install a newer kernel: apt update && apt full-upgrade, then: reboot")


@RULES.all_well("kernel")
def _kernel(node: Node) -> str:
    return (
        f"{node.kernels.running} is running and is the next one to boot"
        if not isinstance(node.kernels, Unread) and node.kernels.installed
        else ""
    )


@RULES.rule(
    "initramfs-unusable",
    Severity.BLOCK,
    "Write it anew: update-initramfs -c -k RELEASE",
    needs=("initramfs", "loader", "next_boot"),
    line="kernel",
    at_boot=True,
)
def initramfs_unusable(node: Node) -> Iterator[Finding]:
    """The initramfs of the next boot's kernel is missing or damaged: the node may not find its root file system.

    A full /boot, or a hook that failed when the kernel was installed (DKMS often), leaves a kernel without one. It is looked at with
    `pvehooks host check --next-boot` only, since it has to be unpacked.
    Source: initramfs-tools(7), update-initramfs(8).
    """
    if isinstance(node.next_boot, Unread):
        return
    if isinstance(node.initramfs, Unread):
        yield not_examined("initramfs", f"whether the node finds its root file system with its initramfs is unknown: {node.initramfs.why}")
        return
    if not node.initramfs.broken:
        return
    release = node.next_boot.release
    message = f"the node may not boot the kernel {release}: {node.initramfs.path} cannot be used, {node.initramfs.broken}"
    yield Finding("initramfs", message, f"Write it anew: update-initramfs -c -k {release}{_refresh(node)}")
