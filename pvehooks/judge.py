"""The one place that decides: findings + settings -> verdict (what blocks, what is ignored and why, which action is due)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks import settings as settings_module
from pvehooks.errors import SettingsError
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.settings import RngSettings, Settings
from pvehooks.values import Asked, Cure, Finding, Guest, Hold, Injection, Judged, Severity, Verdict


def load_settings(host: Host) -> Settings:
    """The settings in force, with the rule ids in them checked; raises SettingsError."""
    loaded = settings_module.load(host)
    unknown = loaded.unknown_rules(catalogue.RULES)
    if unknown:
        raise SettingsError(unknown, "All rules: pvehooks rules")
    return loaded


def judge(guest: Guest, findings: Iterable[Finding], settings: Settings, asked: Asked = Asked.NO) -> Verdict:
    """The verdict on a guest; `asked` tells whether a person asked for it to be given what it lacks."""
    findings = tuple(findings)
    if not findings:
        return Verdict(guest, False, (), Injection(False, None, ""))
    rng = settings.rng(guest.vmid)
    ignored = settings.ignored(guest.vmid)
    judged = [_judged(finding, ignored, settings.severities, rng) for finding in findings]
    judged = _with_one_remedy(judged)
    injection = _injection(judged, rng, asked)
    shown = tuple(item for item in judged if item.finding.hold is Hold.NONE or _matters(item, judged, rng))
    blocked = any(item.finding.severity is Severity.BLOCK and not item.ignored for item in shown)
    return Verdict(guest, blocked, shown, injection)


def _with_one_remedy(judged: list[Judged]) -> list[Judged]:
    """Where something has to be mended before an rng0 can be given, that is what to type, not the giving."""
    first = next((item.finding for item in judged if item.finding.hold is Hold.NEVER), None)
    if first is None:
        return judged
    return [
        item._replace(finding=item.finding._replace(remedy=first.remedy)) if item.finding.cure is not Cure.NONE else item for item in judged
    ]


def _judged(finding: Finding, ignored: Mapping[str, str], severities: Mapping[str, str], rng: RngSettings) -> Judged:
    if finding.examined and finding.rule in severities:
        finding = finding._replace(severity=Severity(severities[finding.rule]))
    reason = ignored.get(finding.rule, "")
    if not reason and rng.mode == "off" and (finding.cure is not Cure.NONE or finding.hold is not Hold.NONE):
        reason = "[rng] mode = off"
    return Judged(finding, reason)


def wants_rng0(finding: Finding, rng: RngSettings) -> bool:
    """Whether the settings have this finding cured by an rng0."""
    if finding.cure is Cure.RNG0_DESPITE_RDRAND:
        return not rng.skip_with_rdrand
    if finding.cure is Cure.RNG0_FOR_ALL:
        return rng.scope == "all"
    return finding.cure is Cure.RNG0


def _matters(item: Judged, judged: Iterable[Judged], rng: RngSettings) -> bool:
    """Whether a reason to leave the guest as it is counts: only where something would have been done."""
    if item.finding.hold is Hold.EXISTING and rng.existing == "inject":
        return False
    return any(wants_rng0(other.finding, rng) for other in judged)


def _injection(judged: Iterable[Judged], rng: RngSettings, asked: Asked) -> Injection:
    cured = [item for item in judged if item.finding.cure is not Cure.NONE]
    wanted = [item for item in cured if asked is Asked.BY_NAME or wants_rng0(item.finding, rng)]
    if not wanted:
        return Injection(False, None, "")
    if asked is Asked.NO and rng.mode != "inject":
        return Injection(False, None, f"[rng] mode = {rng.mode}")
    if asked is not Asked.BY_NAME:
        if all(item.ignored for item in wanted):
            return Injection(False, None, f"ignored: {wanted[0].ignored}")
    for item in judged:
        if _holds(item, rng, asked):
            return Injection(False, item.finding, item.finding.message, item.finding.rule)
    finding = wanted[0].finding
    return Injection(True, None, finding.message, finding.rule)


def _holds(item: Judged, rng: RngSettings, asked: Asked) -> bool:
    hold = item.finding.hold
    if hold is Hold.NEVER:
        return True
    if asked is Asked.BY_NAME:
        return False
    if hold is Hold.EXISTING:
        return asked is Asked.NO and rng.existing != "inject"
    return hold is Hold.UNASKED
