"""What a rule is: a pure function from facts to findings, with its id, severity, remedy, explanation and needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pvehooks.values import Cure, Finding, Guest, Node, Severity

_LONGEST = 100
Look = Callable[[Guest, Node], Iterator[Finding]]


class Rule(NamedTuple):
    """A rule; `explanation` is the function's docstring, `needs` are the fields of Node that it reads.

    `remedy` is an imperative sentence; `{vmid}` in it stands for the guest's VMID.
    """

    id: str
    severity: Severity
    remedy: str
    needs: frozenset[str]
    explanation: str
    look: Look

    def complete(self, finding: Finding, vmid: int) -> Finding:
        """The finding with what it left to its rule: id, severity, remedy."""
        severity = finding.severity if finding.severity is not Severity.UNSET else self.severity
        remedy = finding.remedy or self.remedy
        return finding._replace(rule=self.id, severity=severity, remedy=remedy.replace("{vmid}", str(vmid)))


class RuleBook:
    """The rules of one subject, in the order in which they are written down; none of them looks at a guest that is not `concerned`."""

    def __init__(self, concerned: Callable[[Guest], bool]) -> None:
        self.concerned = concerned
        self.rules: list[Rule] = []

    def rule(self, id: str, severity: Severity, remedy: str, needs: Iterable[str] = ()) -> Callable[[Look], Look]:
        """Enters the decorated function as a rule."""

        def enter(look: Look) -> Look:
            text = (look.__doc__ or "").strip()
            explanation = "\n".join(line.strip() for line in text.splitlines())
            self.rules.append(Rule(id, severity, remedy, frozenset(needs), explanation, look))
            return look

        return enter


def not_examined(subject: str, why: str, cure: Cure = Cure.NONE) -> Finding:
    """The finding of a rule that could not read a fact it needs."""
    remedy = "None needed, unless it stays so."
    return Finding(subject, f"not examined: {why}", remedy, Severity.INFO, examined=False, cure=cure)


def quoted(line: str) -> str:
    """A line of a config for a message, cut where it is too long for one."""
    return repr(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
