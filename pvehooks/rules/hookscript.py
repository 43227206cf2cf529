"""A guest's hookscript: can it be run, and is the guard among what it runs?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.rules.rule import RuleBook, quoted
from pvehooks.values import Cure, Finding, Guest, Node, Severity
from pvehooks.values.stubs import UnfitName, former_of, is_stub, name_for

OPTION = "hookscript"


def attached(guest: Guest) -> bool:
    """Whether its hookscript is one of the guard's."""
    return is_stub(str(guest.options.get(OPTION, "")))


def why_not(guest: Guest) -> tuple[str, str]:
    """Why the guard cannot be attached to the guest now, and what to type; two empty words if it can."""
    config = guest.config
    if config is None:
        return guest.problems[0][1], "See: pvehooks check {vmid}"
    if config.dropped:
        line = config.dropped[0]
        return (
            f"PVE would lose a line of its config, {quoted(line.text)} ({line.reason})",
            "Mend the line (pvehooks guest {vmid} shows all of them)",
        )
    waiting = sorted({*config.pending, *config.pending_delete} - {OPTION})
    if waiting and not guest.running:
        return (
            f"it is stopped and other changes are pending ({', '.join(waiting)}), which would be applied along",
            "Start the guest or take the changes back (qm pending {vmid}), then: pvehooks attach {vmid}",
        )
    try:
        name_for(str(guest.options.get(OPTION, "")))
    except UnfitName as unfit:
        return (
            f"its own hookscript cannot be run before it: {unfit}",
            "Rename the script and set it anew (qm set {vmid} --hookscript STORAGE:snippets/NAME), then: pvehooks attach {vmid}",
        )
    return "", ""


BOOK = RuleBook(concerned=lambda guest: OPTION in guest.options or guest.needs_guard)


@BOOK.rule("hookscript-missing", Severity.BLOCK, "Put the script there, or take it out of the guest: qm set {vmid} --delete hookscript")
def hookscript_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest's hookscript is not there, or cannot be executed, so Proxmox VE refuses to start the guest.

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
        yield Finding(OPTION, words, f"{cure}, or take all of it out of the guest: qm set {{vmid}} --delete hookscript")
    elif is_stub(script.volid):
        yield Finding(OPTION, words, "Have it made: systemctl restart pvehooks. Or start without the guard: pvehooks detach {vmid}")
    else:
        yield Finding(OPTION, words)


@BOOK.rule("guard-not-attached", Severity.WARNING, "Attach it: pvehooks attach {vmid}")
def guard_not_attached(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guest has passed-through PCI devices, or a firmware image that it was given, and starts without the guard.

    Nothing then looks at what a start takes away from the node: Proxmox VE unbinds every device of an IOMMU group, in use or
    not. And nothing looks whether the image is the one that was set. With `[guard] attach = auto` the daemon attaches the guard by itself, where nothing stands against it.
    """
    if not guest.needs_guard or attached(guest) or guest.attachment is not None:
        return
    why, remedy = why_not(guest)
    words = f"it has {'passed-through devices' if guest.passes_through else 'a firmware image of its own'} and starts without the guard"
    if why:
        yield Finding(OPTION, f"{words}, which cannot be attached now: {why}", remedy, cure=Cure.GUARD_HELD)
    else:
        yield Finding(OPTION, words, cure=Cure.GUARD)


@BOOK.rule("guard-removed-by-admin", Severity.WARNING, "If you want it: pvehooks attach {vmid}")
def guard_removed_by_admin(guest: Guest, node: Node) -> Iterator[Finding]:
    """The guard was attached to the guest, and somebody took it out (or rolled back to a time before it).

    What an administrator removes is not put back. A rollback looks the same: attach it again then.
    """
    if guest.needs_guard and not attached(guest) and guest.attachment is not None:
        yield Finding(OPTION, "it starts without the guard: it was attached and taken out again", cure=Cure.GUARD_HELD)
