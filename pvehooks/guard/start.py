"""Examines a start: read, judge, log, bind, record. Source of what PVE does around it: qemu-server, QemuServer.pm (vm_start)."""

from __future__ import annotations

from pvehooks import judge
from pvehooks.derived import passthrough
from pvehooks.errors import PvehooksError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.guard import counters, log
from pvehooks.guard.log import log_line, with_full_stop
from pvehooks.rules import engine
from pvehooks.settings import compiled
from pvehooks.settings.compiled import StartSettings
from pvehooks.values import NamedTuple, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvehooks.guard.supervise import Send
    from pvehooks.host import Host
    from pvehooks.settings.compiled import CompiledSettings
    from pvehooks.values import Accepted, Allowance, Finding, Guest, Node

STARTS, REFUSED, UNEXAMINED = 0, 1, 2
# Of findings; the others are for settings that are not used, for devices that were bound or how to override, and for the record.
_MOST_LINES = log.MOST_LINES - 8
# Of devices that were bound.
_MOST_BOUND = 3
_LOCK_SECONDS = 1.0


class Unexamined(Exception):
    """What the start depends on could not be read; the text says what."""


class StartPlace(NamedTuple):
    """The node that starts the guest, the one whose directory has its config, and whether it is the target of a migration."""

    node: str
    owner: str
    migrated: bool
    trouble: str = ""


class Start(NamedTuple):
    """A start under way: where, whose, by which settings, and the guest seen against the node."""

    host: Host
    place: StartPlace
    settings: StartSettings
    guest: Guest
    node: Node
    # What an administrator allowed for this start, None once another start has used it up.
    override: Allowance | None = None

    @property
    def backup(self) -> bool:
        """Whether the guest is started for its backup (qemu-server, VZDump/QemuServer.pm: paused, with its config locked)."""
        return self.guest.options.get("lock") == "backup"

    @property
    def is_ordinary(self) -> bool:
        """Whether it is neither for a backup nor the target of a migration, which may still end as if it had not been."""
        return not self.backup and not self.place.migrated

    @property
    def is_refusable(self) -> bool:
        """Whether a finding can refuse it: [guard] mode = enforce, and no override for this start."""
        return self.settings.guard.mode == "enforce" and self.override is None


def examine(host: Host, place: StartPlace, vmid: int, compiled_settings: CompiledSettings | None, send: Send) -> int:
    """Examines the start; returns STARTS or REFUSED. Raises Unexamined or an error of the node.

    Sends settings, verdict, found and binding (supervise.MESSAGES).
    """
    settings = read_settings(host, compiled_settings, vmid)
    send_settings(settings, send)
    if settings.guard.mode == "off":
        return STARTS
    guest = _guest(host, place, vmid)
    if not guest.needs_guard:
        return STARTS
    if host.is_node and host.is_dir("/run/pvehooks/binding"):
        from pvehooks.actions.pci import bind

        bind.finish_begun(host)
    if host.is_node and host.is_dir("/run/pvehooks/vfs"):
        from pvehooks.actions.pci import vfs_at_start

        vfs_at_start.restore(host, place.node, guest)
    if settings.devices and host.is_node and settings.guard.mode == "enforce":
        from pvehooks.guard import prepare

        if not prepare.look_again(host, place.node, guest, settings, send):
            counters.count(host, counters.REFUSED)
            send("verdict", REFUSED)
            return REFUSED
    return _decide(Start(host, place, settings, guest, hardware.gather(host, place.node), guest.allowance), send)


def _guest(host: Host, place: StartPlace, vmid: int) -> Guest:
    raw = guests.read_raw_or_error(host, place.owner, vmid)
    guest = guests.parse_guest(host, place.owner, vmid, raw, guests.start_context(host, place.node, vmid))
    if guest.config is None:
        raise Unexamined(f"{node_facts.config_path(place.owner, vmid)}: {guest.problems[0][1]}")
    return guest


def _decide(start: Start, send: Send) -> int:
    verdict = _judge(start, send)
    overridden = start.override is not None
    refused = bool(verdict.refusing) and start.is_refusable
    if verdict.unexamined and not refused and not overridden:
        _log_verdict(start, verdict, refused=False)
        raise Unexamined(f"{verdict.unexamined[0].message.removeprefix('not examined: ')} [{verdict.unexamined[0].rule}]")
    if overridden:
        used_up = _use_up_override(start, needed=bool(verdict.refusing or verdict.unexamined))
        if used_up is None:
            status = _refuse(start)
            send("verdict", status)
            return status
        start = used_up
    send("verdict", REFUSED if refused else STARTS)
    _log_verdict(start, verdict, refused)
    if verdict.refusing:
        from pvehooks.guard import journal

        for found in verdict.refusing:
            journal.finding(start.host, start.guest, found, "block" if refused else "allow")
    if refused:
        _log_how_to_override(start)
        return _refuse(start)
    return _let_start(start, verdict, send)


def _judge(start: Start, send: Send) -> judge.StartJudgement:
    """What the rules find, weighed by the settings. What takes long to read is read last; what refuses the start already is sent before."""
    blocking = {rule.id for rules in engine.rule_sets(engine.START) for rule in rules.rules if rule.severity is Severity.BLOCK}
    node = start.node
    if isinstance(node, hardware.ThisNode):
        node.postpone()
    verdict = judge.judge_start(engine.findings_at_start(start.guest, node), blocking, start.settings)
    if isinstance(node, hardware.ThisNode) and node.complete():
        if start.is_refusable:
            _send_found(start, verdict.refusing, send)
        verdict = judge.judge_start(engine.findings_at_start(start.guest, node), blocking, start.settings)
    return verdict


def _refuse(start: Start) -> int:
    counters.count(start.host, counters.REFUSED)
    return REFUSED


def _let_start(start: Start, verdict: judge.StartJudgement, send: Send) -> int:
    """Binds what is due, records the start and counts it; refuses it where binding fails."""
    accepted = _accepted_now(start)
    _note_start(start)
    bound = not verdict.to_bind or start.settings.guard.mode != "enforce" or _bind(start, verdict.to_bind, send)
    if not bound and start.override is None:
        return _refuse(start)
    objections = (*verdict.refusing, *verdict.unexamined, *(() if bound else verdict.to_bind))
    if start.override is not None:
        _log_override(start, start.override, objections)
    _record_start(start, None if objections else accepted)
    outcome = counters.AUDITED if start.override is None else counters.ALLOWED
    counters.count(start.host, outcome if objections else counters.PASSED)
    return STARTS


def _send_found(start: Start, refusing: tuple[Finding, ...], send: Send) -> None:
    """Sends what refuses the start already, should the rest of the examination not come to its end."""
    from pvehooks.wording import printable

    for line in _finding_lines(f"{start.guest.label} is not started", refusing):
        send("found", printable(line))


# -- where, and by which settings --------------------------------------------------------------------------------------


def find_place(host: Host, vmid: int, source_node: str) -> StartPlace:
    """The place of a start; `source_node` is PVE_MIGRATED_FROM, the node that a live migration comes from, or ''.

    Raises errors.PvehooksError in a tree that is not of a node.
    """
    here = node_facts.node_name(host)
    if not source_node:
        return StartPlace(here, _owner(host, vmid, here), False)
    # pve-node of PVE's JSONSchema.pm: a label of a host name.
    if (
        len(source_node) > 63
        or not source_node.replace("-", "x").isalnum()
        or not source_node.isascii()
        or source_node[0] == "-"
        or source_node[-1] == "-"
    ):
        return StartPlace(
            here, _owner(host, vmid, here), False, f"PVE_MIGRATED_FROM is no node's name ('{source_node[:80]}'): {here} is looked at"
        )
    return StartPlace(here, _owner(host, vmid, source_node, here), True)


def _owner(host: Host, vmid: int, *nodes: str) -> str:
    """The first of these nodes that has the config, else any that does, else the first."""
    there = (node for node in nodes if host.exists(node_facts.config_path(node, vmid)))
    return next(there, "") or node_facts.owner(host, vmid) or nodes[0]


def read_compiled(host: Host, vmid: int, send: Send) -> CompiledSettings | None:
    """The settings as the daemon compiled them. Their deadline is sent before anything below /etc/pve is read: that may hang."""
    compiled_settings = compiled.read(host, vmid)
    if compiled_settings is not None:
        send_settings(compiled_settings.settings, send)
    return compiled_settings


def send_settings(settings: StartSettings, send: Send) -> None:
    """Sends how long the examination may take, and what becomes of the start if it fails."""
    guard = settings.guard
    send("settings", guard.deadline, "allow" if guard.mode != "enforce" else guard.on_error)


def read_settings(host: Host, compiled_settings: CompiledSettings | None, vmid: int) -> StartSettings:
    """The settings of the guest. Broken files are logged in one line; then the last good copy holds, or the defaults."""
    if compiled_settings is not None and compiled_settings.is_current(host):
        return compiled_settings.settings
    from pvehooks.errors import SettingsError
    from pvehooks.settings import load

    try:
        return load.load(host).start_settings(vmid)
    except SettingsError as error:
        why = error.problems[0]
    except ImportError as error:
        why = f"the settings files cannot be read: {error}"
    instead = "the built-in ones hold" if compiled_settings is None else "the last good ones hold"
    log_line(f"settings not used, {instead}: {why}. See: pvehooks config")
    return StartSettings() if compiled_settings is None else compiled_settings.settings


# -- the task log -----------------------------------------------------------------------------------------------------


def _log_verdict(start: Start, verdict: judge.StartJudgement, refused: bool) -> None:
    """Logs what refuses, what warns, what is ignored; an ignored finding of severity info gets no line."""
    label, purpose = start.guest.label, " for its backup" if start.backup else ""
    if refused:
        head = f"{label} is not started{purpose}"
    elif start.settings.guard.mode == "audit":
        head = f"{label} would not be started{purpose} ([guard] mode = audit)"
    else:
        head = f"{label} would not be started{purpose}"
    lines = [*_finding_lines(head, verdict.refusing), *_finding_lines(f"{label}: warning", verdict.warning)]
    for item in (item for item in verdict.ignored if item.finding.severity is not Severity.INFO):
        lines += [f"{label}: ignored ({item.ignored}): {with_full_stop(item.finding.message)} [{item.finding.rule}]"]
    for line in lines[:_MOST_LINES]:
        log_line(line)
    if len(lines) > _MOST_LINES:
        log_line(f"  {len(lines) - _MOST_LINES} more lines are not shown. See: pvehooks check {start.guest.vmid}")


def _finding_lines(head: str, findings: tuple[Finding, ...]) -> Iterator[str]:
    """A line for each; a remedy that several in a row share comes once, after the last of them."""
    for at, found in enumerate(findings):
        yield f"{head}: {with_full_stop(found.message)} [{found.rule}]"
        if found.remedy and found.remedy not in (following.remedy for following in findings[at + 1 : at + 2]):
            yield f"  {found.remedy}"


def _log_how_to_override(start: Start) -> None:
    vmid = start.guest.vmid
    if start.backup:
        log_line(f"The backup of VM {vmid} is refused: it would start the VM, and take its devices like any start.")
        log_line(
            f"  Back it up while it runs, or take the devices from it. Once, with all that follows: pvehooks allow {vmid} --once --reason WHY"
        )
    else:
        log_line(f"  To start it once nevertheless, with all that follows: pvehooks allow {vmid} --once --reason WHY")


def _log_override(start: Start, override: Allowance, objections: tuple[Finding, ...]) -> None:
    """Logs whether the override was needed; if so, also in the journal."""
    guest = start.guest
    kept = "" if start.is_ordinary else " (the override stays for its next start)"
    if not objections:
        if start.is_ordinary:
            log_line(f"{guest.label}: the override of {override.by} for this start ({override.reason}) was not needed, and is used up.")
        return
    words = f"the start goes through because {override.by} allowed it: {override.reason}{kept}"
    log_line(f"{guest.label}: {with_full_stop(words)}")
    message = f"{guest.label}: {words}. It would have been refused: {'; '.join(found.message for found in objections)}"
    from pvehooks.guard import journal

    fields = {"by": override.by, "reason": override.reason, "verdict": "allow"}
    journal.event(start.host, "start-allowed", message, start.place.node, guest.vmid, **fields)


# -- changes ----------------------------------------------------------------------------------------------------------


def _use_up_override(start: Start, needed: bool) -> Start | None:
    """Removes the override from the record before the start goes on, so that it lets no second start through; None if the start cannot go on.

    `needed`: without the override the start would be refused, or could not be examined. Where it is not, and cannot be removed, the start
    goes on without it: a device that cannot be bound then refuses it.
    """
    if not start.is_ordinary:
        return start
    from pvehooks.actions import accept

    try:
        accept.use_up(start.host, start.guest, _LOCK_SECONDS)
    except PvehooksError as trouble:
        if needed and start.settings.guard.mode == "enforce":
            label = start.guest.label
            log_line(f"{label} is not started: the override for this one start cannot be used up: {with_full_stop(trouble.message)}")
            log_line(
                f"  {with_full_stop(trouble.hint or 'Start it again')} To start it without the guard: pvehooks detach {start.guest.vmid}"
            )
            return None
        return start._replace(override=None)
    return start


def _accepted_now(start: Start) -> Accepted | None:
    """What the record will hold of this start, None for nothing; read before binding hides the serial numbers of disks."""
    if not start.is_ordinary or not start.guest.passes_through:
        return None
    from pvehooks.actions import accept

    new = accept.remembering(accept.would_start_with(start.guest, start.node), start.guest.accepted)
    return accept.on_kernel(start.host, new)


def _note_start(start: Start) -> None:
    """Notes what the start takes, for its end; trouble with that is logged, and does not refuse."""
    from pvehooks.actions import accept

    try:
        if not start.guest.passes_through:
            return
        troubles = accept.note_start(start.host, start.guest, start.node, start.settings)
        if start.settings.devices and start.host.is_node and start.settings.guard.mode == "enforce":
            from pvehooks.actions.pci import started

            troubles += started.apply_states(start.host, start.guest.vmid)
        for trouble in troubles:
            log_line(f"{start.guest.label}: {trouble}")
    except OSError as error:
        log_line(f"{start.guest.label}: what it takes could not be noted, so nothing is given back at its end: {error.strerror}")


def _bind(start: Start, due: tuple[Finding, ...], send: Send) -> bool:
    """Binds the idle devices; returns whether the start can go on."""
    host, place, guest = start.host, start.place, start.guest
    if not host.is_node:
        log_line(
            f"{guest.label}: the guard would bind {', '.join(found.subject for found in due)} to vfio-pci (nothing is done in a tree)."
        )
        return True
    from pvehooks.actions.pci import bind
    from pvehooks.guard import journal, supervise

    send("binding")
    devices = passthrough.pci_devices(start.node)
    labels = {found.subject: devices[found.subject].label for found in due}
    try:
        with supervise.DeferTermination() as is_cancelled:
            done = bind.bind(host, guest, place.node, labels, is_cancelled)
    except bind.Unbound as failed:
        head = "is not started" if start.override is None else "would not be started"
        log_line(f"{guest.label} {head}: {with_full_stop(failed.message)} [vfio-not-bound]")
        if failed.hint:
            log_line(f"  {failed.hint}")
        if start.override is None:
            log_line("  To have PVE bind it as without the guard: [guard] unbound = leave")
            _log_how_to_override(start)
        journal.event(host, "device-not-bound", f"{guest.label}: {failed.message}", place.node, guest.vmid, rule="vfio-not-bound")
        return False
    send("verdict", STARTS)
    for number, each in enumerate(done):
        words = f"{labels[each.address]} was idle and is bound to vfio-pci now" + (f"; it was on {each.former}" if each.former else "")
        if number < _MOST_BOUND:
            log_line(f"{guest.label}: {words}.")
        journal.event(host, "device-bound", f"{guest.label}: {words}", place.node, guest.vmid, device=each.address)
    if len(done) > _MOST_BOUND:
        log_line(
            f"{guest.label}: {len(done) - _MOST_BOUND} more of its devices were idle and are bound now. See: journalctl -t {journal.IDENTIFIER}"
        )
    return True


def _record_start(start: Start, accepted: Accepted | None) -> None:
    """Records an accepted start, and removes the override that it used; a record that cannot be written is logged, and does not refuse."""
    guest = start.guest
    if not start.is_ordinary or (accepted in (None, guest.accepted) and start.override is None):
        return
    from pvehooks.actions import accept

    try:
        accept.record_real_start(start.host, guest, accepted, _LOCK_SECONDS)
    except PvehooksError as trouble:
        log_line(f"{guest.label}: what it starts with could not be noted: {trouble.message}")
