"""The node's boot loader and its kernels."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.rules.host.commandline import loader_of
from pvehooks.rules.rule import NodeRuleBook, not_examined
from pvehooks.values import Finding, Node, Severity, Unread

BOOK = NodeRuleBook()


@BOOK.rule(
    "boot-loader-unknown",
    Severity.INFO,
    "Ask the firmware: efibootmgr -v, and proxmox-boot-tool status",
    needs=("loader",),
)
def boot_loader_unknown(node: Node) -> Iterator[Finding]:
    """It cannot be told which boot loader the node uses, and so not where its kernel command line is written.

    GRUB reads GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, and a change takes effect with update-grub. systemd-boot reads the
    one line of /etc/kernel/cmdline, and a change takes effect with proxmox-boot-tool refresh. Both need a restart.
    Source: the administrator's manual, "Host Bootloader".
    """
    if isinstance(node.loader, Unread):
        yield not_examined("boot loader", f"which boot loader is used is unknown: {node.loader.why}")
    elif not node.loader.kind:
        yield Finding("boot loader", "neither the firmware nor the kernel command line tells which boot loader is used")


@BOOK.rule(
    "esp-missing",
    Severity.WARNING,
    "Take what is gone off the list: proxmox-boot-tool clean; set the new disk's ESP up: proxmox-boot-tool init PARTITION",
    needs=("loader",),
)
def esp_missing(node: Node) -> Iterator[Finding]:
    """proxmox-boot-tool is to keep an ESP that is not there: a replaced disk has none yet, and the node does not boot from it.

    Source: the administrator's manual, "Synchronizing the content of the ESP with proxmox-boot-tool".
    """
    if isinstance(node.loader, Unread):
        return
    for uuid in node.loader.missing:
        left = len(node.loader.esps) - len(node.loader.missing)
        yield Finding(uuid, f"the ESP {uuid} of /etc/kernel/proxmox-boot-uuids is not there; the node can boot from {left} other")


@BOOK.rule(
    "kernel-pin-missing",
    Severity.WARNING,
    "Take the pin away: proxmox-boot-tool kernel unpin",
    needs=("kernels",),
)
def kernel_pin_missing(node: Node) -> Iterator[Finding]:
    """The kernel that is pinned is not installed, so the boot loader takes whichever it finds first.

    Source: the administrator's manual, "Override the Kernel-Version for next Boot".
    """
    if isinstance(node.kernels, Unread) or not node.kernels.installed:
        return
    for pinned, option in ((node.kernels.pinned, ""), (node.kernels.next_boot, " --next-boot")):
        if pinned and pinned not in node.kernels.installed:
            message = f"the kernel {pinned} is pinned, and /boot has no vmlinuz-{pinned}"
            yield Finding(pinned, message, f"Take the pin away: proxmox-boot-tool kernel unpin{option}")


@BOOK.rule(
    "kernel-pinned",
    Severity.INFO,
    "If the reason for it is gone: proxmox-boot-tool kernel unpin",
    needs=("kernels", "loader"),
)
def kernel_pinned(node: Node) -> Iterator[Finding]:
    """An older kernel is pinned: the node does not boot the newest one, and gets no fixes.

    Source: the administrator's manual, "Override the Kernel-Version for next Boot".
    """
    if isinstance(node.kernels, Unread):
        return
    newest = next(iter(node.kernels.installed), "")
    loader = loader_of(node)
    refresh = " && proxmox-boot-tool refresh" if loader is not None and loader.managed else ""
    pinned, once = node.kernels.pinned, node.kernels.next_boot
    if pinned and pinned in node.kernels.installed and pinned != newest:
        message = f"{pinned} is pinned, and the newer {newest} is never booted"
        yield Finding("kernel", message, f"If the reason for it is gone: proxmox-boot-tool kernel unpin{refresh}")
    if once and once in node.kernels.installed and once != newest:
        yield Finding(
            "next boot", f"the next boot, and only that, takes {once}", "If that is not meant: proxmox-boot-tool kernel unpin --next-boot"
        )


@BOOK.rule("kernel-outdated", Severity.INFO, "Restart the node when it suits", needs=("kernels",))
def kernel_outdated(node: Node) -> Iterator[Finding]:
    """The node runs another kernel than its next boot will take: what is said of modules and arguments may differ then.

    Source: the administrator's manual, "Host Bootloader".
    """
    if isinstance(node.kernels, Unread) or not node.kernels.installed or not node.kernels.running:
        return
    coming = node.kernels.next
    if coming in node.kernels.installed and coming != node.kernels.running:
        yield Finding("kernel", f"{node.kernels.running} runs, and the next boot takes {coming}")
