"""The look at a start: read, judge, say, bind, note. Source of what PVE does around it: qemu-server, QemuServer.pm (vm_start)."""

from __future__ import annotations

from pvehooks import judge, starts
from pvehooks.errors import PvehooksError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.guarding import settings
from pvehooks.guarding.words import say, sentence
from pvehooks.rules import passthrough, start
from pvehooks.values import NamedTuple, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.guarding.child import Tell
    from pvehooks.guarding.place import Place
    from pvehooks.host import Host
    from pvehooks.settings_compiled import Copy, StartSettings
    from pvehooks.values import Accepted, Allowance, Finding, Guest, Node

STARTS, REFUSED, UNEXAMINED = 0, 1, 2
_LOCK_SECONDS = 1.0


class Unexamined(Exception):
    """What the start depends on could not be read; the words say what."""


class Start(NamedTuple):
    """A start under way: where, whose, by which settings, and the guest seen against the node."""

    host: Host
    place: Place
    settings: StartSettings
    guest: Guest
    node: Node

    @property
    def backup(self) -> bool:
        """Whether the guest is started for its backup (qemu-server, VZDump/QemuServer.pm: paused, with its config locked)."""
        return self.guest.options.get("lock") == "backup"

    @property
    def real(self) -> bool:
        """Whether it is neither for a backup nor the target of a migration, which may still end as if it had not been."""
        return not self.backup and not self.place.migrated


def look(host: Host, place: Place, vmid: int, copy: Copy | None, tell: Tell) -> int:
    """Looks at the start: STARTS or REFUSED; raises Unexamined or an error of the node. `copy` are the compiled settings.

    It tells what the one who waits has to know: "settings DEADLINE ON_ERROR", "verdict STATUS", "binding", "noting".
    """
    used = settings.read(host, copy, vmid)
    settings.tell_of(used, tell)
    if used.guard.mode == "off":
        return STARTS
    guest = _guest(host, place, vmid)
    if not guest.needs_guard:
        return STARTS
    return _judged(Start(host, place, used, guest, hardware.gather(host, place.node)), tell)


def _guest(host: Host, place: Place, vmid: int) -> Guest:
    raw = guests.fetch(host, place.owner, vmid)
    guest = guests.understand(host, place.owner, vmid, raw, guests.starting(host, place.node, vmid))
    if guest.config is None:
        raise Unexamined(f"{node_facts.config_path(place.owner, vmid)}: {guest.problems[0][1]}")
    return guest


def _judged(under_way: Start, tell: Tell) -> int:
    guest, host = under_way.guest, under_way.host
    blocking = {rule.id for book in start.BOOKS for rule in book.rules if rule.severity is Severity.BLOCK}
    verdict = judge.at_start(start.look_at_start(guest, under_way.node), blocking, under_way.settings)
    allowed = guest.allowance is not None
    refused = bool(verdict.refusing) and under_way.settings.guard.mode == "enforce" and not allowed
    if verdict.unexamined and not refused and not allowed:
        _show(under_way, verdict, refused=False)
        raise Unexamined(f"{verdict.unexamined[0].message.removeprefix('not examined: ')} [{verdict.unexamined[0].rule}]")
    tell(f"verdict {REFUSED if refused else STARTS}")
    _show(under_way, verdict, refused)
    if verdict.refusing:
        from pvehooks.guarding import journal

        for found in verdict.refusing:
            journal.finding(host, guest, found, "block" if refused else "allow")
    if refused:
        _say_how_to_start(under_way)
        starts.count(host, starts.REFUSED)
        return REFUSED
    accepted = _accepted(under_way)
    bound = not verdict.due or under_way.settings.guard.mode != "enforce" or _bound(under_way, verdict.due, tell)
    if not bound and not allowed:
        starts.count(host, starts.REFUSED)
        return REFUSED
    despite = (*verdict.refusing, *verdict.unexamined, *(() if bound else verdict.due))
    if guest.allowance is not None:
        _say_who_allowed(under_way, guest.allowance, despite)
    _note(under_way, None if despite else accepted, tell)
    starts.count(host, (starts.ALLOWED if allowed else starts.AUDITED) if despite else starts.PASSED)
    return STARTS


# -- saying -----------------------------------------------------------------------------------------------------------


def _show(under_way: Start, verdict: judge.AtStart, refused: bool) -> None:
    """What refuses, what warns, what is ignored; a finding that was ignored and is harmless is not worth a line."""
    label, purpose = under_way.guest.label, " for its backup" if under_way.backup else ""
    if refused:
        head = f"{label} is not started{purpose}"
    elif under_way.settings.guard.mode == "audit":
        head = f"{label} would not be started{purpose} ([guard] mode = audit)"
    else:
        head = f"{label} would not be started{purpose}"
    _say_findings(head, verdict.refusing)
    _say_findings(f"{label}: warning", verdict.warning)
    for item in verdict.ignored:
        if item.finding.severity is not Severity.INFO:
            say(f"{label}: ignored ({item.ignored}): {sentence(item.finding.message)} [{item.finding.rule}]")


def _say_findings(head: str, findings: tuple[Finding, ...]) -> None:
    """A line for each, and what to type once for those in a row that have the same cure."""
    for at, found in enumerate(findings):
        say(f"{head}: {sentence(found.message)} [{found.rule}]")
        if found.remedy and found.remedy not in (following.remedy for following in findings[at + 1 : at + 2]):
            say(f"  {found.remedy}")


def _say_how_to_start(under_way: Start) -> None:
    vmid = under_way.guest.vmid
    if under_way.backup:
        say(f"The backup of VM {vmid} is refused: it would start the guest, and take its devices like any start.")
        say(
            f"  Back it up while it runs, or take the devices from it. Once, with all that follows: pvehooks allow {vmid} --once --reason WHY"
        )
    else:
        say(f"  To start it once nevertheless, with all that follows: pvehooks allow {vmid} --once --reason WHY")


def _say_who_allowed(under_way: Start, allowance: Allowance, despite: tuple[Finding, ...]) -> None:
    guest = under_way.guest
    kept = "" if under_way.real else " (that word stays for its next start)"
    if not despite:
        if under_way.real:
            say(f"{guest.label}: {allowance.by}'s word for this start ({allowance.reason}) was not needed, and is used up.")
        return
    words = f"the start goes through because {allowance.by} allowed it: {allowance.reason}{kept}"
    say(f"{guest.label}: {sentence(words)}")
    message = f"{guest.label}: {words}. It would have been refused: {'; '.join(found.message for found in despite)}"
    from pvehooks.guarding import journal

    fields = {"by": allowance.by, "reason": allowance.reason, "verdict": "allow"}
    journal.event(under_way.host, "start-allowed", message, under_way.place.node, guest.vmid, **fields)


# -- doing ------------------------------------------------------------------------------------------------------------


def _accepted(under_way: Start) -> Accepted | None:
    """What this start is to be remembered by, None if it is not; worked out before binding hides the serials of disks."""
    if not under_way.real or not under_way.guest.hostpci:
        return None
    from pvehooks.actions import accept

    return accept.remembering(accept.present(under_way.guest, under_way.node), under_way.guest.accepted)


def _bound(under_way: Start, due: tuple[Finding, ...], tell: Tell) -> bool:
    """Binds the idle devices; whether the start can go on."""
    host, place, guest = under_way.host, under_way.place, under_way.guest
    if not host.is_node:
        say(f"{guest.label}: the guard would bind {', '.join(found.subject for found in due)} to vfio-pci (nothing is done in a tree).")
        return True
    from pvehooks.actions import bind
    from pvehooks.guarding import child, journal

    tell("binding")
    devices = passthrough.bus(under_way.node)
    labels = {found.subject: devices[found.subject].label for found in due}
    try:
        with child.Finishing() as called_off:
            done = bind.bind(host, guest, place.node, labels, called_off)
    except bind.Unbound as failed:
        head = "is not started" if guest.allowance is None else "would not be started"
        say(f"{guest.label} {head}: {sentence(failed.message)} [vfio-not-bound]")
        if failed.hint:
            say(f"  {failed.hint}")
        if guest.allowance is None:
            say("  To have PVE bind it as without the guard: [guard] unbound = leave")
            _say_how_to_start(under_way)
        journal.event(host, "device-not-bound", f"{guest.label}: {failed.message}", place.node, guest.vmid, rule="vfio-not-bound")
        return False
    for each in done:
        words = f"{labels[each.address]} was idle and is bound to vfio-pci now" + (f"; it was on {each.former}" if each.former else "")
        say(f"{guest.label}: {words}.")
        journal.event(host, "device-bound", f"{guest.label}: {words}", place.node, guest.vmid, device=each.address)
    return True


def _note(under_way: Start, accepted: Accepted | None, tell: Tell) -> None:
    """Remembers an accepted start, and uses a person's word up; a record that cannot be written is said and no reason to refuse."""
    guest = under_way.guest
    if not under_way.real or (accepted in (None, guest.accepted) and guest.allowance is None):
        return
    from pvehooks.actions import accept

    tell("noting")
    try:
        accept.started(under_way.host, guest, accepted, _LOCK_SECONDS)
    except PvehooksError as trouble:
        say(f"{guest.label}: what it starts with could not be noted: {trouble.message}")
