"""What a set of rules makes of what is written down: findings, questions, lines of `pvehooks host check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.errors import NodeError
from pvehooks.rules import catalogue, engine, start
from pvehooks.values import Cure, Finding, Guest, Hold, Node, Refuser, Severity
from tests.derived.bed import guest_on_node


def nothing(guest: Guest, node: Node) -> Iterator[Finding]:
    """It finds nothing."""
    return iter(())


def test_a_damaged_package_is_named() -> None:
    with pytest.raises(NodeError, match=r"its rules/start lacks (?=.*groups)(?!.*devices)"):
        engine._assert_whole([name for name in start.MODULES if name not in ("groups", "iommu")])
    engine._assert_whole([*start.MODULES, "more"])


def test_the_rules_that_the_hookscript_asks() -> None:
    assert engine.asked_at_start() == {rule.id for rule in catalogue.RULES.values() if rule.folder == engine.START}


def test_a_set_without_a_question_is_asked_of_every_guest(tmp_path: Path) -> None:
    for number, config in enumerate(("name: web\n", "template: 1\n")):
        guest, _ = guest_on_node(tmp_path / str(number), config)
        assert engine.RuleSet().concerned(guest)
        assert engine.no_template(guest) is (number == 0)


def test_a_rule_completes_a_finding() -> None:
    rules = engine.RuleSet()
    rules.rule("new", Severity.WARNING, "Type it for {vmid}", needs=("pci",), line="new")(nothing)
    (rule,) = rules.rules
    assert (rule.function, rule.explanation, rule.folder) == (nothing, "It finds nothing.", "rules")
    assert (rule.id, rule.severity, rule.needs, rule.line, rule.of_node) == ("new", Severity.WARNING, {"pci"}, "new", False)
    assert rule.complete(Finding("x", "y"), 7) == Finding("x", "y", "Type it for 7", Severity.WARNING, "new", refuser=Refuser.NOTHING)
    given = Finding("x", "y", "z {vmid}", Severity.BLOCK, "", False, Cure.RNG0, Hold.NEVER, Refuser.GUARD)
    assert rule.complete(given, 7) == given._replace(remedy="z 7", rule="new")
    for folder, guard_alone, severity, refuser in (
        (engine.START, False, Severity.BLOCK, Refuser.PVE),
        (engine.START, True, Severity.BLOCK, Refuser.GUARD),
        (engine.START, False, Severity.WARNING, Refuser.GUARD),
        (engine.GUEST, False, Severity.BLOCK, Refuser.PVE),
        (engine.GUEST, False, Severity.WARNING, Refuser.NOTHING),
    ):
        assert rule._replace(folder=folder, guard_alone=guard_alone).complete(Finding("x", "y", severity=severity)).refuser is refuser


def test_a_line_of_which_nobody_says_that_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = engine.RuleSet()
    for id, line in (("a", "new"), ("b", "other"), ("c", "new")):
        rules.rule(id, Severity.WARNING, "z", line=line)(nothing)
    rules.all_well("other")(lambda node: "well")
    monkeypatch.setattr(catalogue, "_NODE", (rules,))
    _, node = guest_on_node(tmp_path, "")
    found = [(line.subject, line.rules, line.passed(node)) for line in catalogue._check_lines()]
    assert found == [("new", ("a", "c"), ""), ("other", ("b",), "well")]
