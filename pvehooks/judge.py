"""The one place that decides: findings + settings -> verdict (what blocks, what is ignored and why, which action is due)."""

from __future__ import annotations

from pvehooks.values import (
    Asked,
    Cure,
    Finding,
    Guest,
    Judged,
    NamedTuple,
    Refuser,
    Rng0Decision,
    Rng0Veto,
    Severity,
    StartVerdict,
    Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pvehooks.settings.compiled import GuardSettings, StartSettings
    from pvehooks.settings.effective import Settings
    from pvehooks.settings.sections import RngSettings

_NOT_DUE = Rng0Decision(False, None, "")
_GUARD = (Cure.ATTACH_GUARD, Cure.ATTACH_GUARD_IF_ASKED)
_WILL_BIND = "The guard binds it when the VM starts ([guard] unbound = bind)"
RNG0 = (Cure.RNG0, Cure.RNG0_DESPITE_RDRAND, Cure.RNG0_FOR_ALL, Cure.RNG0_IF_ASKED)


class StartJudgement(NamedTuple):
    """What becomes of a start."""

    # The findings that refuse it.
    refusing: tuple[Finding, ...]
    # Those that are shown.
    warning: tuple[Finding, ...]
    # Those that are ignored, and why.
    ignored: tuple[Judged, ...]
    # Those of rules that refuse starts, where a needed fact could not be read.
    unexamined: tuple[Finding, ...]
    # Those that binding cures.
    to_bind: tuple[Finding, ...]


def judge(guest: Guest, findings: Iterable[Finding], settings: Settings, asked: Asked = Asked.NO, mode: str = "") -> Verdict:
    """The verdict on a guest.

    `asked`: whether a person asked for it to be given what it lacks. `mode` is the [guard] mode of the node where it is to start, '' for
    that of the settings.
    """
    findings = tuple(findings)
    if not findings:
        return Verdict(guest, False, (), _NOT_DUE)
    rng = settings.rng(guest.vmid)
    start_settings = settings.start_settings(guest.vmid)
    guard = start_settings.guard
    judged = _with_one_remedy([_ignored_if_off(item, rng, guard) for item in _with_settings(findings, start_settings)])
    injection = _injection(judged, rng, asked)
    relevant = tuple(item for item in judged if item.finding.rng0_veto is Rng0Veto.NONE or _veto_matters(item, judged, rng))
    blocked = any(item.finding.severity is Severity.BLOCK and not item.ignored for item in relevant)
    automatic = [item.finding.cure for item in judged if not item.ignored] if guard.attach == "auto" else []
    attach, detach = Cure.ATTACH_GUARD in automatic, Cure.DETACH_GUARD in automatic
    start, unguarded = _start(guest, relevant, mode or guard.mode)
    return Verdict(guest, blocked, relevant, injection, attach, detach, start, unguarded)


def _start(guest: Guest, judged: Iterable[Judged], mode: str) -> tuple[StartVerdict, str]:
    """What a start would come to; for MUST_NOT also why the guard does not prevent it.

    A start that takes devices from the host takes them before QEMU fails, so that this harm without a guard outweighs any other refusal.
    What does harm only once QEMU runs does none where Proxmox VE or QEMU refuses.
    """
    refusers = {item.finding.refuser for item in judged if item.finding.severity is Severity.BLOCK and not item.ignored}
    if not refusers:
        return StartVerdict.WOULD, ""
    harmful = refusers - ({Refuser.PVE, Refuser.GUARD_OF_RUN} if Refuser.PVE in refusers else set())
    why = _why_not_refused(guest, mode) if harmful else ""
    if harmful and not why and Refuser.NOTHING in harmful:
        why = "the guard does not check this at a start"
    return (StartVerdict.MUST_NOT, why) if why else (StartVerdict.WOULD_NOT, "")


def guarded(guest: Guest, mode: str) -> bool:
    """Whether the guard refuses a harmful start of the guest. Raises RecordsUnavailable."""
    return not _why_not_refused(guest, mode)


def _why_not_refused(guest: Guest, mode: str) -> str:
    """Why the guard would not refuse a start of the guest; '' where it would."""
    from pvehooks.derived.attachment import attached

    if not attached(guest):
        return "the guard is not attached"
    if mode != "enforce":
        return f"[guard] mode = {mode}"
    return f"{guest.allowance.by} allowed the next start" if guest.config is not None and guest.allowance is not None else ""


def counts_by_severity(findings: Iterable[tuple[Severity, bool, bool]]) -> dict[str, int]:
    """How many findings count, by severity, the most severe first. Each is given as (severity, examined, ignored).

    What was not examined does not count, nor what the settings ignore: `status`, systemd's status line and the metrics agree in that.
    """
    found = {severity.value: 0 for severity in (Severity.BLOCK, Severity.WARNING, Severity.INFO)}
    for severity, examined, ignored in findings:
        if examined and not ignored:
            found[severity.value] += 1
    return found


def needs_action(item: Judged) -> bool:
    """Whether it asks for something to be done, or was not examined; all else is for information, shown on request."""
    return item.finding.severity is not Severity.INFO or not item.finding.examined


def _with_one_remedy(judged: list[Judged]) -> list[Judged]:
    """Where something must be fixed before an rng0 can be given, the remedy of that replaces the remedy of the rng0."""
    first = next((item.finding for item in judged if item.finding.rng0_veto is Rng0Veto.NEVER), None)
    if first is None:
        return judged
    return [item._replace(finding=item.finding._replace(remedy=first.remedy)) if item.finding.cure in RNG0 else item for item in judged]


def with_configured_severity(finding: Finding, severities: Mapping[str, str], unbound: str) -> Finding:
    """The finding with the severity that the settings give it: [rules], and [guard] unbound for what the guard may bind."""
    if finding.cure is Cure.BIND:
        if unbound == "bind" and finding.severity is Severity.WARNING:
            # The guard binds it as well, but taking it from its driver is risky.
            return finding
        if unbound == "bind":
            return finding._replace(severity=Severity.INFO, remedy=_WILL_BIND)
        finding = finding._replace(severity=Severity.BLOCK if unbound == "block" else Severity.WARNING)
    if finding.examined and finding.rule in severities:
        return finding._replace(severity=Severity(severities[finding.rule]))
    return finding


def _with_settings(findings: Iterable[Finding], settings: StartSettings) -> Iterator[Judged]:
    """The findings with the severities of the settings, and the reasons of those that are ignored."""
    for finding in findings:
        yield Judged(with_configured_severity(finding, settings.severities, settings.guard.unbound), settings.ignored.get(finding.rule, ""))


def _ignored_if_off(item: Judged, rng: RngSettings, guard: GuardSettings) -> Judged:
    """The finding, ignored where the settings turn off what would cure it."""
    if item.ignored:
        return item
    finding = item.finding
    reason = ""
    if rng.mode == "off" and (finding.cure in RNG0 or finding.rng0_veto is not Rng0Veto.NONE):
        reason = "[rng] mode = off"
    elif finding.cure in _GUARD and "off" in (guard.attach, guard.mode):
        reason = f"[guard] {'attach' if guard.attach == 'off' else 'mode'} = off"
    return Judged(finding, reason) if reason else item


def judge_start(findings: Iterable[Finding], blocking: Collection[str], settings: StartSettings) -> StartJudgement:
    """What becomes of a start with these findings; `blocking` are the ids of the rules whose own severity refuses it."""
    judged = tuple(_with_settings(findings, settings))
    counted = [item.finding for item in judged if not item.ignored]

    def blocks(finding: Finding) -> bool:
        return settings.severities.get(finding.rule, "block" if finding.rule in blocking else "") == "block"

    return StartJudgement(
        refusing=tuple(finding for finding in counted if finding.examined and finding.severity is Severity.BLOCK),
        warning=tuple(finding for finding in counted if finding.examined and finding.severity is Severity.WARNING),
        unexamined=tuple(finding for finding in counted if not finding.examined and blocks(finding)),
        ignored=tuple(item for item in judged if item.ignored),
        to_bind=tuple(finding for finding in counted if finding.cure is Cure.BIND and settings.guard.unbound == "bind"),
    )


def wants_rng0(finding: Finding, rng: RngSettings) -> bool:
    """Whether the settings have this finding cured by an rng0."""
    if finding.cure is Cure.RNG0_DESPITE_RDRAND:
        return not rng.skip_with_rdrand
    if finding.cure is Cure.RNG0_FOR_ALL:
        return rng.scope == "all"
    return finding.cure is Cure.RNG0


def _veto_matters(item: Judged, judged: Iterable[Judged], rng: RngSettings) -> bool:
    """Whether a reason to leave the guest as it is counts: only where something would have been done."""
    if item.finding.rng0_veto is Rng0Veto.EXISTING and rng.existing == "inject":
        return False
    return any(wants_rng0(other.finding, rng) for other in judged)


def _injection(judged: Iterable[Judged], rng: RngSettings, asked: Asked) -> Rng0Decision:
    cured = [item for item in judged if item.finding.cure in RNG0]
    wanted = [item for item in cured if asked is Asked.BY_NAME or wants_rng0(item.finding, rng)]
    if not wanted:
        return _NOT_DUE
    if asked is Asked.NO and rng.mode != "inject":
        return Rng0Decision(False, None, f"[rng] mode = {rng.mode}")
    if asked is not Asked.BY_NAME:
        if all(item.ignored for item in wanted):
            return Rng0Decision(False, None, f"ignored: {wanted[0].ignored}")
    for item in judged:
        if _forbids(item, rng, asked):
            return Rng0Decision(False, item.finding, item.finding.message, item.finding.rule)
    finding = wanted[0].finding
    return Rng0Decision(True, None, finding.message, finding.rule)


def _forbids(item: Judged, rng: RngSettings, asked: Asked) -> bool:
    hold = item.finding.rng0_veto
    if hold is Rng0Veto.NEVER:
        return True
    if asked is Asked.BY_NAME:
        return False
    if hold is Rng0Veto.EXISTING:
        return asked is Asked.NO and rng.existing != "inject"
    return hold is Rng0Veto.UNLESS_ASKED_BY_NAME
