"""What becomes of a start that could not be examined ([guard] on_error)."""

from __future__ import annotations

from pvehooks.guarding import known
from pvehooks.guarding.words import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host

_LOCK_SECONDS = 1.0
_SETTINGS = "as the settings have it ([guard] on_error, mode)"
_KNOWN = "its devices and their IOMMU groups are those of its last accepted start"


def decide(host: Host, vmid: int, source: str, on_error: str, cause: str) -> int:
    """The status for the start, which is said, and noted in the journal with its cause.

    `on_error` is known, allow or block; against a refusal a person's word for this start counts. `source` is PVE_MIGRATED_FROM.
    """
    why = "[guard] on_error = block" if on_error == "block" else ""
    allowed = _SETTINGS if on_error == "allow" else _KNOWN
    if on_error != "allow":
        try:
            seen = known.look(host, vmid, source)
            why = known.trouble(host, seen) if on_error == "known" else why
            if why and seen.allowance:
                why, allowed = "", seen.allowance
                if seen.real:
                    _use_up(host, vmid, *known.identity(seen.config))
        except OSError as error:
            why = why or f"{error.filename or 'its config'} cannot be read: {error.strerror}"
    if why:
        say_refused(vmid, why)
    else:
        say(f"VM {vmid} starts unexamined: {allowed}.")
    words = f"VM {vmid} is not started: {why}" if why else f"VM {vmid} starts unexamined: {allowed}"
    _note(host, vmid, f"{words}. The start could not be examined: {cause}", "block" if why else "allow")
    _count(host, bool(why))
    return 1 if why else 0


def say_refused(vmid: int, why: str) -> None:
    """Says that it is refused, and how to start it nevertheless."""
    say(f"VM {vmid} is not started: it could not be examined, and {why}.")
    say(f"  To start it once nevertheless: pvehooks allow {vmid} --once --reason WHY. For good: [guard] on_error = allow")


def _use_up(host: Host, vmid: int, uuid: str | None, ctime: int | None) -> None:
    """Takes a person's word for one start out of the record, where what was wrong lets it."""
    try:
        from pvehooks.records import guests as records

        records.update(host, vmid, records.Identity(uuid, ctime), lambda record: record._replace(allowance=None), _LOCK_SECONDS)
    except Exception as error:  # noqa: BLE001 - something has failed before, that is why we are here
        say(f"VM {vmid}: the word for this one start could not be taken back ({error}): pvehooks allow {vmid} --cancel")


def _count(host: Host, refused: bool) -> None:
    try:
        from pvehooks import starts

        starts.count(host, starts.UNEXAMINED_REFUSED if refused else starts.UNEXAMINED)
    except Exception:  # noqa: BLE001 - the same: the decision stands without being counted
        return


def _note(host: Host, vmid: int, message: str, verdict: str) -> None:
    try:
        from pvehooks.guarding import journal

        journal.event(host, "start-unexamined", message, "", vmid, verdict=verdict)
    except Exception:  # noqa: BLE001 - the same: the decision stands without a note of it
        return
