"""Starts on a kernel on which the VM's devices were never passed through."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.passthrough import PASSING, kernel_change, passes_through
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(applies_to=passes_through, options=PASSING)


@RULES.rule(
    "kernel-untried",
    Severity.INFO,
    "If the start fails, boot the former kernel: proxmox-boot-tool kernel pin RELEASE",
    needs=("kernel_release", "kernels"),
)
def kernel_untried(guest: Guest, node: Node) -> Iterator[Finding]:
    """The next start is the VM's first one on the running kernel; the last accepted start was on another one.

    New kernels sometimes break passthrough of single devices. If a start fails that worked before, the kernel is the first thing to suspect,
    and the former one is the quickest cure.
    Source: the administrator's manual, "Override the Kernel-Version for next Boot".
    """
    before, now = kernel_change(guest, node)
    if before and not isinstance(node.kernels, Unread):
        message = f"the last accepted start was on kernel {before}, the next one is the first on {now}"
        if before in node.kernels.installed:
            remedy = f"If it fails, boot the former kernel: proxmox-boot-tool kernel pin {before} && reboot"
        else:
            remedy = f"If it fails, install and boot the former kernel: apt install proxmox-kernel-{before}-signed"
        yield Finding("kernel", message, remedy)
