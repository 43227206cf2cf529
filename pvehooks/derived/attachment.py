"""Whether the guard is a guest's hookscript, and whether it can become that."""

from __future__ import annotations

from pvehooks.derived.config_lines import quoted
from pvehooks.values import Guest
from pvehooks.values.stubs import UnfitName, is_stub, name_for

OPTION = "hookscript"


def attached(guest: Guest) -> bool:
    """Whether its hookscript is one of the guard's."""
    return is_stub(str(guest.options.get(OPTION, "")))


def superfluous(guest: Guest) -> bool:
    """Whether the guard is attached and has nothing left to examine: the guest's last passed-through device and firmware image are gone.

    A pending removal leaves it in place, since the guest may run with the device until its next start.
    """
    config, attachment = guest.config, guest.attachment
    if config is None or guest.template or guest.needs_guard or not attached(guest) or (attachment is not None and attachment.kept):
        return False
    return not any(
        name.startswith("hostpci") or (name == "args" and "vfio-pci" in str(options[name]))
        for options in (config.main, config.pending)
        for name in options
    )


def why_not(guest: Guest) -> tuple[str, str]:
    """Why the guard cannot be attached to the guest now, and what to type; two empty words if it can."""
    config = guest.config
    if config is None:
        return guest.problems[0][1], "See: pvehooks check {vmid}"
    if config.dropped:
        line = config.dropped[0]
        return (
            f"PVE would lose a line of its config, {quoted(line.text)} ({line.reason})",
            "Fix the line (pvehooks guest {vmid} shows all of them)",
        )
    waiting = sorted({*config.pending, *config.pending_delete} - {OPTION})
    if waiting and not guest.running:
        return (
            f"it is stopped and other changes are pending ({', '.join(waiting)}), which would be applied with it",
            "Start the VM, or revert the changes (qm pending {vmid} lists them), then: pvehooks attach {vmid}",
        )
    try:
        name_for(str(guest.options.get(OPTION, "")))
    except UnfitName as unfit:
        return (
            f"its own hookscript cannot be run before it: {unfit}",
            "Rename the script and set it again (qm set {vmid} --hookscript STORAGE:snippets/NAME), then: pvehooks attach {vmid}",
        )
    return "", ""
