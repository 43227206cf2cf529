"""Which of a guest's findings the daemon says by themselves, and which are said in one line with other guests', or need not be said."""

from __future__ import annotations

from pvehooks.judge import RNG0, wants_rng0
from pvehooks.rules import start
from pvehooks.settings import RngSettings
from pvehooks.values import Cure, Finding, Hold, Verdict


def standing(verdict: Verdict) -> list[Finding]:
    """What there is to say; what the sandbox keeps from us (other processes' files) the guard examines at the start."""
    findings = [item.finding for item in verdict.findings if not item.ignored]
    return [finding for finding in findings if finding.examined or finding.rule not in start.RULES]


def with_others(verdict: Verdict) -> bool:
    """Whether what it says of entropy is said in one line of all guests that were there before us."""
    return not verdict.injection.due and verdict.guest.acquaintance.untouched and any(map(_about_entropy, standing(verdict)))


def divided(verdict: Verdict, entropy: bool, guard: bool) -> tuple[list[Finding], list[Finding]]:
    """What is to be said now, and what is not: what is about entropy where that is `entropy`, about the guard where that is `guard`."""
    findings = standing(verdict)
    unsaid = [finding for finding in findings if (entropy and _about_entropy(finding)) or (guard and finding.cure is Cure.GUARD)]
    return [finding for finding in findings if finding not in unsaid], unsaid


def could_be_given(verdict: Verdict, settings: RngSettings) -> bool:
    """Whether a person who asks for it would have the guest given its rng0."""
    wanted = any(wants_rng0(item.finding, settings) and not item.ignored for item in verdict.findings)
    return wanted and not any(item.finding.hold is Hold.NEVER for item in verdict.findings)


def only_by_name(verdict: Verdict) -> bool:
    """Whether that person has to name the guest."""
    return any(item.finding.hold is Hold.UNASKED and not item.ignored for item in verdict.findings)


def _about_entropy(finding: Finding) -> bool:
    return finding.cure in RNG0 or finding.hold is not Hold.NONE
