"""Firmware images and confidential VMs: what no start depends on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.firmware_fit import NODE_NAME, confidential
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity

RULES = RuleSet(
    applies_to=lambda guest: (guest.uefi and not {"amd-sev", "intel-tdx", "args"}.isdisjoint(guest.options)) or guest.firmware is not None,
    order=100,
)
_HOLDS_OURS = re.compile(rf"node-name={NODE_NAME}\b|(?:^|\s)-bios \S*/efi-firmware/")
_KINDS = {"std": "SEV", "es": "SEV-ES", "snp": "SEV-SNP", "tdx": "TDX"}


@RULES.rule("firmware-host-provided", Severity.INFO, "Give it its own: pvehooks firmware set {vmid} VOLID")
def firmware_host_provided(guest: Guest, node: Node) -> Iterator[Finding]:
    """A confidential VM starts with the firmware that the node provides, which it therefore has to trust.

    Such a VM is to be safe from its node; its firmware is measured into its attestation, so the verifier of that has to know the
    node's image and each upgrade of it. An image of the VM's own stays as it is.
    Source: the administrator's manual, "AMD SEV" and "Intel TDX"; Proxmox's design of firmware images of a VM's own.
    """
    kind = _KINDS.get(confidential(guest), "")
    if guest.uefi and kind and guest.firmware is None and not _names_one(guest):
        yield Finding("bios", f"a VM with {kind} starts with the firmware of {node.name}, and so has to trust it")


@RULES.rule("firmware-not-pinned", Severity.WARNING, "Have it compared from now on: pvehooks firmware set {vmid} VOLID")
def firmware_not_pinned(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM's args name a firmware image as pvehooks writes it, but no record says which one was meant: nothing compares it.

    A clone has the args of its original, and not its record; so has a VM that was restored, or rolled back to a time when it had
    the image. Or setting the image, or removing it, was interrupted half way.
    Source: the VM's record below /etc/pve/pvehooks.
    """
    pinned = guest.firmware
    if pinned is None and _HOLDS_OURS.search(str(guest.options.get("args", ""))):
        yield Finding("args", "its args hold a firmware image (a clone has those of its original), and nothing compares it before a start")
    elif pinned and pinned.state != "done" and guest.image and not guest.image.in_args:
        yield Finding(
            "args",
            f"a change of its firmware image {pinned.volid} was interrupted: its args do not name the image",
            f"Set it: pvehooks firmware set {guest.vmid} {pinned.volid}. Or remove it: pvehooks firmware unset {guest.vmid}",
        )


def _names_one(guest: Guest) -> bool:
    args = f" {guest.options.get('args', '')}"
    return " -bios " in args or "pflash" in args
