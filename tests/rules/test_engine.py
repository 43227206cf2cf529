"""What a set of rules makes of what is written down: findings, questions, lines of `pvehooks host check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pvehooks.errors import NodeError
from pvehooks.rules import catalogue, engine, of_node, start
from pvehooks.values import Cure, Finding, Guest, Node, Refuser, Rng0Veto, Severity
from pvehooks.values.summaries import Standing, Target
from tests.cluster.test_summary_text import SUMMARY
from tests.derived.bed import guest_on_node


def nothing(guest: Guest, node: Node) -> Iterator[Finding]:
    """It finds nothing."""
    return iter(())


def test_a_damaged_package_is_named() -> None:
    with pytest.raises(NodeError, match=r"its rules/start lacks (?=.*groups)(?!.*devices)") as damaged:
        engine._assert_whole([name for name in start.MODULES if name not in ("groups", "iommu")])
    assert damaged.value.hint == "Type: apt install --reinstall pvehooks"
    engine._assert_whole([*start.MODULES, "more"])


def test_the_sets_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their place, then by their name; a damaged folder of the hookscript is noticed, any other one has what it has."""
    read = engine.rule_sets.__wrapped__
    found = read(engine.GUEST, engine.START)
    assert found == engine.rule_sets(engine.GUEST, engine.START)
    assert [each.order for each in found] == sorted(each.order for each in found)
    monkeypatch.setattr(engine, "modules", lambda folder: ["uefi", "bridges", "tpm"])
    assert [each.rules[0].function.__module__.rpartition(".")[2] for each in read(engine.GUEST)] == ["uefi", "tpm", "bridges"]
    with pytest.raises(NodeError):
        read(engine.START)


def test_sets_at_one_place_are_sorted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from pvehooks.rules.guest import bridges, tpm

    monkeypatch.setattr(engine, "modules", lambda folder: ["tpm", "bridges"])
    for module in (bridges, tpm):
        monkeypatch.setattr(module.RULES, "order", 5)
    assert engine.rule_sets.__wrapped__(engine.GUEST) == (bridges.RULES, tpm.RULES)


def test_what_was_not_examined() -> None:
    finding = engine.not_examined("x", "y", Cure.BIND)
    assert finding == Finding("x", "not examined: y", "If it stays so, look at the reason", Severity.INFO, examined=False, cure=Cure.BIND)


def of(folder: str, *rules: tuple[str, Severity, tuple[str, ...], bool]) -> engine.RuleSet:
    """Rules of a folder, each of which finds one thing and could not look at another."""
    found = engine.RuleSet()
    for id, severity, needs, local in rules:

        def both(guest: Guest, node: Node) -> Iterator[Finding]:
            yield Finding("x", "found")
            yield engine.not_examined("y", "unread")

        both.__module__ = f"pvehooks.rules.{folder}.new"
        assert found.rule(id, severity, "z", needs, local=local)(both) is both
    return found


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (True, ["warns x", "blocks x", "blocks y", "other x", "refuses x", "refuses y"]),
        (False, ["blocks x", "blocks y", "other x", "refuses x", "refuses y"]),
    ],
)
def test_which_rules_are_asked_of_another_node(
    hardware: bool, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that refuse a start, and those of a start that look at the node; the others' unread facts are no matter."""
    warning, block = Severity.WARNING, Severity.BLOCK
    sets = (
        of(engine.START, ("warns", warning, ("pci",), False), ("blocks", block, (), False), ("other", warning, ("qemu",), False)),
        of(engine.START, ("silent", warning, (), False), ("here", block, (), True)),
        of(engine.GUEST, ("refuses", block, (), False), ("audits", warning, ("qemu",), False), ("never", block, (), True)),
    )
    monkeypatch.setattr(catalogue, "_AUDIT", sets)
    monkeypatch.setattr(catalogue, "_TARGET", ())
    guest, node = guest_on_node(tmp_path, "")
    standing = Standing("pve2", True, "1.0", SUMMARY if hardware else None)
    found = catalogue.findings_on_target(guest, Target(node, standing, "pve1", 0, "1.0"))
    assert [f"{each.rule} {each.subject}" for each in found] == expected
    assert {each.message for each in found} == {"on pve2: found", "on pve2: not examined: unread"}


def test_the_rules_that_the_hookscript_asks() -> None:
    assert engine.asked_at_start() == {rule.id for rule in catalogue.RULES.values() if rule.folder == engine.START}


def test_a_set_without_a_question_is_asked_of_every_guest(tmp_path: Path) -> None:
    for number, config in enumerate(("name: web\n", "template: 1\n")):
        guest, _ = guest_on_node(tmp_path / str(number), config)
        assert engine.RuleSet().applies_to(guest)
        assert engine.no_template(guest) is (number == 0)


def test_a_rule_completes_a_finding() -> None:
    rules = engine.RuleSet()
    assert rules.rule("new", Severity.WARNING, "Type it for {vmid}", needs=("pci",), line="new")(nothing) is nothing
    (rule,) = rules.rules
    assert (rule.function, rule.explanation, rule.folder) == (nothing, "It finds nothing.", "rules")
    assert (rule.id, rule.severity, rule.needs, rule.line, rule.of_node) == ("new", Severity.WARNING, {"pci"}, "new", False)
    assert rule.complete(Finding("x", "y"), 7) == Finding("x", "y", "Type it for 7", Severity.WARNING, "new", refuser=Refuser.NOTHING)
    given = Finding("x", "y", "z {vmid}", Severity.BLOCK, "", False, Cure.RNG0, Rng0Veto.NEVER, Refuser.GUARD)
    assert rule.complete(given, 7) == given._replace(remedy="z 7", rule="new")
    for folder, only_guard_refuses, severity, refuser in (
        (engine.START, False, Severity.BLOCK, Refuser.PVE),
        (engine.START, True, Severity.BLOCK, Refuser.GUARD),
        (engine.START, False, Severity.WARNING, Refuser.GUARD),
        (engine.GUEST, False, Severity.BLOCK, Refuser.PVE),
        (engine.GUEST, False, Severity.WARNING, Refuser.NOTHING),
    ):
        assert (
            rule._replace(folder=folder, only_guard_refuses=only_guard_refuses).complete(Finding("x", "y", severity=severity)).refuser
            is refuser
        )


def test_a_line_without_words_for_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = engine.RuleSet()
    for id, line in (("a", "new"), ("b", "other"), ("c", "new")):
        rules.rule(id, Severity.WARNING, "z", line=line)(nothing)

    def well(node: Node) -> str:
        return "well"

    assert rules.all_well("other")(well) is well
    monkeypatch.setattr(of_node, "_NODE", (rules,))
    _, node = guest_on_node(tmp_path, "")
    found = [(line.subject, line.rules, line.passed(node)) for line in of_node._check_lines()]
    assert found == [("new", ("a", "c"), ""), ("other", ("b",), "well")]
