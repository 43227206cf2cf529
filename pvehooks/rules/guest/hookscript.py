"""A VM's hookscript: can it be run, and is the guard among what it runs?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.attachment import OPTION, attached, superfluous, why_not
from pvehooks.rules.engine import UNGUARDED, RuleSet
from pvehooks.values import Cure, Finding, Guest, Node, Severity
from pvehooks.values.stubs import former_of, is_stub

RULES = RuleSet(applies_to=lambda guest: OPTION in guest.options or guest.needs_guard, order=80)


@RULES.rule(
    "hookscript-missing",
    Severity.BLOCK,
    "Put the script there, or take it out of the VM: qm set {vmid} --delete hookscript",
    local=True,
)
def hookscript_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM's hookscript is not there, or cannot be executed, so Proxmox VE refuses to start the VM.

    That happens after a restore or a migration to a node that does not have the script, or when the script was removed.
    The guard's own hookscripts are put there by the daemon.
    Source: pve-guest-common, PVE/GuestHelpers.pm, check_hookscript.
    """
    script = guest.hookscript
    if script is None or not script.trouble or guest.template:
        return
    words = f"PVE refuses to start it: its hookscript {script.volid} cannot be run, {script.trouble}"
    former = former_of(script.volid)
    if former and former in script.trouble:
        cure = f"Make {former} executable (chmod +x)" if "not executable" in script.trouble else f"Put {former} there"
        yield Finding(OPTION, words, f"{cure}, or take all of it out of the VM: qm set {{vmid}} --delete hookscript")
    elif is_stub(script.volid):
        yield Finding(OPTION, words, "Have it made again: systemctl restart pvehooks. Or start without the guard: pvehooks detach {vmid}")
    else:
        yield Finding(OPTION, words)


@RULES.rule("guard-not-attached", Severity.WARNING, "Attach it: pvehooks attach {vmid}", metric=UNGUARDED)
def guard_not_attached(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has passed-through PCI devices, or a firmware image that it was given, and starts without the guard.

    Nothing then examines what a start takes away from the node: Proxmox VE unbinds every device of an IOMMU group, in use or
    not. And nothing checks that the image is the one that was set. With `[guard] attach = auto` the daemon attaches the guard
    automatically, unless the finding names an obstacle.
    """
    if not guest.needs_guard or attached(guest) or guest.attachment is not None:
        return
    why, remedy = why_not(guest)
    words = f"it has {'passed-through devices' if guest.passes_through else 'a firmware image of its own'} and starts without the guard"
    if why:
        yield Finding(OPTION, f"{words}, which cannot be attached now: {why}", remedy, cure=Cure.ATTACH_GUARD_IF_ASKED)
    else:
        yield Finding(OPTION, words, cure=Cure.ATTACH_GUARD)


@RULES.rule("guard-removed-by-admin", Severity.WARNING, "If you want it: pvehooks attach {vmid}", metric=UNGUARDED)
def guard_removed_by_admin(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guard was attached to the VM, and an administrator took it out (or rolled back to a time before it).

    What an administrator removes is not put back. A rollback looks the same: attach the guard again after one.
    """
    if guest.needs_guard and not attached(guest) and guest.attachment is not None:
        yield Finding(OPTION, "it starts without the guard: it was attached and taken out again", cure=Cure.ATTACH_GUARD_IF_ASKED)


@RULES.rule("guard-not-needed", Severity.INFO, "Take it out: pvehooks detach {vmid}")
def guard_not_needed(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guard is attached to a VM that has neither passed-through devices nor a firmware image any more.

    It has nothing left to examine, and a node without the hookscript would refuse to start the VM. With `[guard] attach = auto`
    the daemon takes it out and restores a former hookscript once that has been so for ten minutes (`[watch] detach_after`): a device
    that is removed and added again meanwhile is guarded. After that the guard comes back with the next device. It stays where an
    administrator attached it to such a VM by name.
    """
    if superfluous(guest):
        yield Finding(
            OPTION,
            "it has the guard, and neither passed-through devices nor a firmware image any more: PVE refuses to start it on a node that lacks the hookscript",
            cure=Cure.DETACH_GUARD,
        )
