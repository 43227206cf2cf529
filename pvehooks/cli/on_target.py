"""The verdict on a VM's start on another node, by what that node publishes."""

from __future__ import annotations

from pvehooks.cli.view import View
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.judge import judge
from pvehooks.records import baseline
from pvehooks.rules import catalogue
from pvehooks.values import Finding, Verdict
from pvehooks.values.summaries import Target


def context_on(seen: View, node: str) -> guest_facts.GuestContext:
    """What VMs are read with as if they were on that node, none of them running."""
    known = guest_facts.gather_context(seen.host, node, baseline.read(seen.host, node))
    return known._replace(running=frozenset())


def judged_on(seen: View, vmid: int, raw: bytes | OSError, target: Target, context: guest_facts.GuestContext) -> Verdict:
    """The verdict; `raw` is what the config holds."""
    guest = guest_facts.parse_guest(seen.host, target.name, vmid, raw, context)
    mode = target.summary.guard_mode if target.summary else ""
    return judge(guest, catalogue.findings_on_target(guest, target), seen.settings, mode=mode)


def answer(verdict: Verdict) -> str:
    """Whether the guest would start: yes, no or unknown."""
    if verdict.blocked:
        return "no"
    counted = [item.finding for item in verdict.findings if not item.ignored]
    return "unknown" if any(map(undecides, counted)) or verdict.guest.config is None else "yes"


def undecides(finding: Finding) -> bool:
    """Whether the finding means that the start cannot be judged."""
    return not finding.examined or catalogue.RULES[finding.rule].undecided
