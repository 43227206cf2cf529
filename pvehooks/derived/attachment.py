"""Whether the guard is a guest's hookscript, and whether it can become that."""

from __future__ import annotations

from pvehooks.derived.config_lines import quoted
from pvehooks.values import Guest
from pvehooks.values.stubs import UnfitName, is_stub, name_for

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
