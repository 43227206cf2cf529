"""How rules are found and asked. A rule is a pure function from facts to findings; a rule set holds the rules of one file.

Each file in guest/, start/, node/, boot/ and target/ has its rule set in RULES. Nothing else names a rule: the folder says when it is asked.

| folder | asked | arguments of a rule |
| --- | --- | --- |
| guest | in an audit of a guest | guest, node |
| start | in an audit, and by the hookscript before a start | guest, node |
| node | in `pvehooks host check`, by the daemon, in reports | node |
| boot | in `pvehooks host check --next-boot` | guest, node (as it will be) |
| target | in `pvehooks check VMID --target NODE` | guest, target |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from pvehooks.derived.passthrough import kernel_change
from pvehooks.errors import NodeError
from pvehooks.values import Cure, Finding, Guest, NamedTuple, Node, Refuser, Severity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Iterator[Finding]])
    AllWell = TypeVar("AllWell", bound=Callable[[Node], str])

GUEST, START, NODE, BOOT, TARGET = FOLDERS = ("guest", "start", "node", "boot", "target")
UNGUARDED = "unguarded"
"""The metric class of rules that find a guest without the guard."""
_LAST = 1000


class Rule(NamedTuple):
    """A rule: what its decorator says of it."""

    id: str
    severity: Severity
    # An imperative sentence; `{vmid}` in it stands for the guest's VMID.
    remedy: str
    # The fields of Node that the rule reads.
    needs: frozenset[str]
    # Its docstring is the explanation.
    function: Callable[..., Iterator[Finding]]
    # The folder that its file lies in.
    folder: str
    # The line of `pvehooks host check` that shows the findings of a rule on the node.
    line: str = ""
    # The gauge of its own that the findings are counted in, beside pvehooks_findings: UNGUARDED, or ''.
    metric: str = ""
    # Whether it reads files of the node that it runs on, so that it can say nothing of another node.
    local: bool = False
    # Whether its finding means that the start cannot be judged.
    undecided: bool = False
    # Whether Proxmox VE and QEMU start the guest all the same, so that only the guard refuses. Other rules that block state what they refuse.
    only_guard_refuses: bool = False
    # Whether what only the guard refuses does harm once QEMU runs, and none where QEMU does not start.
    harmless_until_run: bool = False
    # Whether another kernel may be the cause: drivers, bindings, the IOMMU and its groups, resets.
    kernel_may_explain: bool = False
    # What an audit makes of a finding that refuses a start.
    in_audit: Callable[[Guest, Finding], Finding] | None = None
    # Of a rule on the node: whether its finding is about what a restart does or loses.
    at_boot: bool = False
    # Families of options (hostpci, args) without any of which, live or pending, it finds nothing: an audit does not ask it then. None: it is
    # always asked.
    options: frozenset[str] | None = None

    @property
    def explanation(self) -> str:
        """What the rule is about and where that is known from; its first line is a sentence."""
        return "\n".join(text.strip() for text in (self.function.__doc__ or "").strip().split("\n"))

    @property
    def of_node(self) -> bool:
        """Whether the rule is on the node itself."""
        return self.folder == NODE

    def complete(self, finding: Finding, vmid: int = 0) -> Finding:
        """The finding with what it left to its rule: id, severity, remedy."""
        severity = finding.severity if finding.severity is not Severity.UNSET else self.severity
        remedy = finding.remedy or self.remedy
        remedy = remedy.replace("{vmid}", str(vmid))
        refuser = finding.refuser if finding.refuser is not Refuser.UNSET else self._refuser(severity)
        return Finding(
            finding.subject, finding.message, remedy, severity, self.id, finding.examined, finding.cure, finding.rng0_veto, refuser
        )

    def found(self, guest: Guest, node: Node) -> Iterator[Finding]:
        """What it finds of a guest on a node, complete."""
        for finding in self.function(guest, node):
            yield self.whole(finding, guest, node)

    def whole(self, finding: Finding, guest: Guest, node: Node) -> Finding:
        """The finding, complete; with what changed since the guest's last accepted start, where that may be the cause."""
        whole = self.complete(finding, guest.vmid)
        if self.kernel_may_explain and whole.examined and whole.severity is not Severity.INFO:
            before, now = kernel_change(guest, node)
            if before:
                words = f"{whole.message}. The last accepted start of VM {guest.vmid} was on kernel {before}; now {now} runs"
                whole = whole._replace(message=words)
        return whole

    def _refuser(self, severity: Severity) -> Refuser:
        if severity is Severity.BLOCK and not self.only_guard_refuses:
            return Refuser.PVE
        if self.harmless_until_run:
            return Refuser.GUARD_OF_RUN
        return Refuser.GUARD if self.folder == START else Refuser.NOTHING


def _always(guest: Guest) -> bool:
    return True


def no_template(guest: Guest) -> bool:
    """Whether the guest can be started."""
    return not guest.template


class RuleSet:
    """The rules of one file, in the order in which they are written down; none of them is asked of a guest that they do not apply to (`applies_to`).

    `order` is the place of the file among others wherever rules are listed; files without one come last, by name. `options` are those of each rule
    that does not name its own.
    """

    def __init__(self, applies_to: Callable[[Guest], bool] = _always, order: int = _LAST, options: Iterable[str] = ()) -> None:
        self.applies_to = applies_to
        self.options = options
        self.order = order
        self.rules: list[Rule] = []
        self.all_well_lines: dict[str, Callable[[Node], str]] = {}

    def rule(
        self,
        id: str,
        severity: Severity,
        remedy: str,
        needs: Iterable[str] = (),
        *,
        line: str = "",
        metric: str = "",
        local: bool = False,
        undecided: bool = False,
        only_guard_refuses: bool = False,
        harmless_until_run: bool = False,
        kernel_may_explain: bool = False,
        in_audit: Callable[[Guest, Finding], Finding] | None = None,
        at_boot: bool = False,
        options: Iterable[str] = (),
    ) -> Callable[[AnyFunction], AnyFunction]:
        """Makes the decorated function a rule; see Rule."""

        def enter(function: AnyFunction) -> AnyFunction:
            folder = function.__module__.split(".")[-2]
            self.rules.append(
                Rule(
                    id,
                    severity,
                    remedy,
                    frozenset(needs),
                    function,
                    folder,
                    line,
                    metric,
                    local,
                    undecided,
                    only_guard_refuses,
                    harmless_until_run,
                    kernel_may_explain,
                    in_audit,
                    at_boot,
                    frozenset(options or self.options) or None,
                )
            )
            return function

        return enter

    def all_well(self, line: str) -> Callable[[AllWell], AllWell]:
        """Has the decorated function say what `pvehooks host check` shows in this line when no rule found anything, '' for nothing."""

        def enter(words: AllWell) -> AllWell:
            self.all_well_lines[line] = words
            return words

        return enter


@cache
def rule_sets(*folders: str) -> tuple[RuleSet, ...]:
    """The rule sets of all files in these folders, in the order in which rules are listed; raises NodeError where one of start/ is gone."""
    found = []
    for folder in folders:
        names = modules(folder)
        if folder == START:
            _assert_whole(names)
        for name in names:
            rules = __import__(f"pvehooks.rules.{folder}.{name}", None, None, ("RULES",)).RULES
            found.append((rules.order, name, rules))
    found.sort(key=lambda each: each[:2])
    return tuple([rules for _, _, rules in found])


def _assert_whole(names: list[str]) -> None:
    """An upgrade that was broken off, or a damaged disk, must not have starts judged by fewer rules: who asks has to know."""
    from pvehooks.rules import start

    gone = [name for name in start.MODULES if name not in names]
    if gone:
        raise NodeError(f"the package is damaged, its rules/start lacks {', '.join(gone)}", hint="Type: apt install --reinstall pvehooks")


def modules(folder: str) -> list[str]:
    """The names of the modules in a folder of this package, also where only their bytecode is installed.

    Listed here because pkgutil and importlib.resources import typing and more, which each start of a guest would pay for.
    """
    files = [name.partition(".") for name in os.listdir(f"{os.path.dirname(__file__)}/{folder}")]
    return sorted({name for name, _, ending in files if ending in ("py", "pyc") and name.isidentifier() and name != "__init__"})


def findings_at_start(guest: Guest, node: Node) -> tuple[Finding, ...]:
    """What the rules find of a guest that is about to start, in the order in which they are listed."""
    rules = [rule for each in rule_sets(START) if each.applies_to(guest) for rule in each.rules]
    return tuple(finding for rule in rules for finding in rule.found(guest, node))


@cache
def asked_at_start() -> frozenset[str]:
    """The ids of the rules that the hookscript asks."""
    return frozenset(rule.id for each in rule_sets(START) for rule in each.rules)


def not_examined(subject: str, why: str, cure: Cure = Cure.NONE) -> Finding:
    """The finding of a rule that could not read a fact it needs."""
    remedy = "If it stays so, look at the reason"
    return Finding(subject, f"not examined: {why}", remedy, Severity.INFO, examined=False, cure=cure)
