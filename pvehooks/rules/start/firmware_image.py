"""A firmware image that we gave a VM: is it there, is it the one, and does the VM start with it?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import derived
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Refuser, Severity

RULES = RuleSet(applies_to=lambda guest: guest.firmware is not None, order=70)
_OPTION = "args"
_SHORT = 16


@RULES.rule(
    "firmware-missing",
    Severity.BLOCK,
    "Import it here (pvehooks firmware import FILE --storage S), or start with the node's own firmware: pvehooks firmware unset {vmid}",
    local=True,
)
def firmware_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The firmware image that the VM was given is not on this node, so QEMU would not start.

    That happens when the VM comes to a node where the image was never imported, or when the file was deleted, or its storage.
    Source: QEMU's manual, -blockdev and -bios; the VM's record below /etc/pve/pvehooks.
    """
    pinned, image = guest.firmware, guest.image
    if pinned and image and image.in_args and image.missing:
        storage, _, name = pinned.volid.replace(":efi-firmware/", ":").partition(":")
        yield Finding(
            _OPTION,
            f"its firmware image {pinned.volid} is not on {node.name}: {image.trouble}",
            f"Import it here: pvehooks firmware import FILE --storage {storage} --name {name}. The node's own firmware instead:"
            f" pvehooks firmware unset {guest.vmid}",
        )


@RULES.rule(
    "firmware-changed",
    Severity.BLOCK,
    "If the new one is meant: pvehooks firmware set {vmid} VOLID. The node's own firmware instead: pvehooks firmware unset {vmid}",
    needs=("cpu_flags",),
    local=True,
    only_guard_refuses=True,
    harmless_until_run=True,
)
def firmware_changed(guest: Guest, node: Node) -> Iterator[Finding]:
    """The firmware image is not the one that the VM was given: its sha256 differs, or others than root could have changed it.

    A VM trusts its firmware before anything else, and one with Secure Boot or confidential memory more than the node. The image must
    be a regular file that belongs to root and that no one else can write. `[firmware] on_change` decides what becomes of the start.
    QEMU itself does not start with what is no regular file, nor with more than fits into a VM's flash.
    Source: the VM's record below /etc/pve/pvehooks, in which the sha256 was noted when the image was set; QEMU, block/file-posix.c
    (raw_open_common), hw/i386/pc_sysfw.c, hw/i386/x86.c (x86_bios_rom_init).
    """
    pinned, image = guest.firmware, guest.image
    if pinned is None or image is None or image.missing or not image.in_args:
        return
    refused = image.is_refused or (
        image.size > 0 and derived.firmware_fit.is_refused(image.size, pinned.style, derived.disks.arch_of(guest, node))
    )
    end, refuser = (", and QEMU would not start with it", Refuser.PVE) if refused else ("", Refuser.UNSET)
    instead = f"The node's own firmware instead: pvehooks firmware unset {guest.vmid}"
    if image.trouble:
        cure = image.remedy or "See: dmesg"
        yield Finding(
            _OPTION, f"its firmware image {pinned.volid} must not be used: {image.trouble}{end}", f"{cure}. {instead}", refuser=refuser
        )
    elif image.sha256 != pinned.sha256:
        now, given = image.sha256[:_SHORT], pinned.sha256[:_SHORT]
        yield Finding(
            _OPTION,
            f"its firmware image {pinned.volid} was changed since it was set: its sha256 is {now}... and was {given}...{end}",
            f"If the new one is meant: pvehooks firmware set {guest.vmid} {pinned.volid}. {instead}",
            refuser=refuser,
        )


@RULES.rule(
    "firmware-args-edited",
    Severity.BLOCK,
    "Set the image again, or remove it: pvehooks firmware unset {vmid}",
    only_guard_refuses=True,
    harmless_until_run=True,
)
def firmware_args_edited(guest: Guest, node: Node) -> Iterator[Finding]:
    """Our words for QEMU are not in the VM's args as they were written, so it would start with another firmware than it was given.

    The args were edited or deleted, or the VM was rolled back or restored to a time before it had the image.
    PVE's own firmware in place of a VM's may not find its boot entries, and a confidential VM would be measured differently.
    Source: qemu-server, QemuServer.pm (args come last); the VM's record below /etc/pve/pvehooks.
    """
    pinned, image = guest.firmware, guest.image
    if pinned and image and pinned.state == "done" and not image.in_args:
        yield Finding(
            _OPTION,
            f"its args do not hold its firmware image {pinned.volid} as they were written (edited, rolled back or restored?):"
            " it would start with another firmware",
            f"Set it again: pvehooks firmware set {guest.vmid} {pinned.volid}. Or remove it: pvehooks firmware unset {guest.vmid}",
        )


@RULES.rule(
    "firmware-unfit",
    Severity.WARNING,
    "Give it one that fits, or the node's own: pvehooks firmware unset {vmid}",
    needs=("cpu_flags", "qemu"),
)
def firmware_unfit(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM was changed since it was given its firmware image, and does not start with it as it is now.

    Below machine version 10.0 QEMU refuses the start, and on a machine of another architecture. Where Proxmox VE hands its firmware to
    QEMU in another way than when the image was set (SEV-SNP and TDX have another one than all others), QEMU may start with Proxmox VE's
    own, and reports nothing. With an EFI disk of another family (2m, 4m) the firmware does not find its variables.
    Source: qemu-server, OVMF.pm (print_ovmf_commandline); QEMU, hw/i386/pc_sysfw.c, hw/block/pflash_cfi01.c.
    """
    pinned, image = guest.firmware, guest.image
    if pinned is None or guest.template or image is None or not image.in_args:
        return
    size = image.size if image.sha256 == pinned.sha256 else 0
    changed = derived.firmware_fit.misfit(guest, pinned.style, node.qemu, size, derived.disks.arch_of(guest, node))
    if changed is not None:
        severity = Severity.BLOCK if changed.no_start else Severity.UNSET
        end = ", and QEMU would not start it" if changed.no_start else ""
        yield Finding(_OPTION, f"its firmware image {pinned.volid} does not fit it any more: {changed.why}{end}", changed.remedy, severity)
