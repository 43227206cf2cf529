"""What a rule is: a pure function from facts to findings, with its id, severity, remedy, explanation and needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from pvehooks.values import Cure, Finding, Guest, NamedTuple, Node, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.values.summaries import Target

_LONGEST = 100
Look = Callable[[Guest, Node], Iterator[Finding]]
NodeLook = Callable[[Node], Iterator[Finding]]
TargetLook = Callable[[Guest, "Target"], Iterator[Finding]]


class Rule(NamedTuple):
    """A rule; `explanation` is the function's docstring, `needs` are the fields of Node that it reads.

    `remedy` is an imperative sentence; `{vmid}` in it stands for the guest's VMID. `look` takes a guest and its node, or, for a rule
    on the node itself (`of_node`), the node alone.
    """

    id: str
    severity: Severity
    remedy: str
    needs: frozenset[str]
    explanation: str
    look: Callable[..., Iterator[Finding]]
    of_node: bool = False

    def complete(self, finding: Finding, vmid: int = 0) -> Finding:
        """The finding with what it left to its rule: id, severity, remedy."""
        severity = finding.severity if finding.severity is not Severity.UNSET else self.severity
        remedy = finding.remedy or self.remedy
        remedy = remedy.replace("{vmid}", str(vmid))
        return Finding(finding.subject, finding.message, remedy, severity, self.id, finding.examined, finding.cure, finding.hold)


class RuleBook:
    """The rules of one subject, in the order in which they are written down; none of them looks at a guest that is not `concerned`."""

    def __init__(self, concerned: Callable[[Guest], bool]) -> None:
        self.concerned = concerned
        self.rules: list[Rule] = []

    def rule(self, id: str, severity: Severity, remedy: str, needs: Iterable[str] = ()) -> Callable[[Look], Look]:
        """Enters the decorated function as a rule."""

        def enter(look: Look) -> Look:
            self.rules.append(Rule(id, severity, remedy, frozenset(needs), _explanation(look), look))
            return look

        return enter


class NodeRuleBook:
    """The rules of one subject on the node itself, in the order in which they are written down."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def rule(self, id: str, severity: Severity, remedy: str, needs: Iterable[str] = ()) -> Callable[[NodeLook], NodeLook]:
        """Enters the decorated function as a rule."""

        def enter(look: NodeLook) -> NodeLook:
            self.rules.append(Rule(id, severity, remedy, frozenset(needs), _explanation(look), look, of_node=True))
            return look

        return enter


class TargetRuleBook:
    """The rules on a guest that is to start on another node, in the order in which they are written down."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def rule(self, id: str, severity: Severity, remedy: str, needs: Iterable[str] = ()) -> Callable[[TargetLook], TargetLook]:
        """Enters the decorated function as a rule."""

        def enter(look: TargetLook) -> TargetLook:
            self.rules.append(Rule(id, severity, remedy, frozenset(needs), _explanation(look), look))
            return look

        return enter


def _explanation(look: Callable[..., Iterator[Finding]]) -> str:
    text = (look.__doc__ or "").strip()
    return "\n".join(line.strip() for line in text.splitlines())


def not_examined(subject: str, why: str, cure: Cure = Cure.NONE) -> Finding:
    """The finding of a rule that could not read a fact it needs."""
    remedy = "None needed, unless it stays so."
    return Finding(subject, f"not examined: {why}", remedy, Severity.INFO, examined=False, cure=cure)


def quoted(line: str) -> str:
    """A line of a config for a message, cut where it is too long for one."""
    return repr(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
