"""Every rule against its examples: examples/RULE.failing*.txtar must show the rule's finding, examples/RULE.passing*.txtar must not.

The findings of each failing example are golden: tests/golden/rules/.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvehooks import judge
from pvehooks import wording as words
from pvehooks.facts import hardware, nextboot
from pvehooks.facts.cluster import summaries
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.host.readonce import read_once
from pvehooks.records import baseline
from pvehooks.rules import catalogue, of_node
from pvehooks.rules.engine import BOOT, Rule
from pvehooks.settings.load import checked
from pvehooks.values import Finding, Node, Unread
from pvehooks.values.base import fact_names
from pvehooks.values.summaries import Target
from tests.beds.tree import make_fake_tree
from tests.conftest import GOLDEN
from tests.lint.source import PROJECT, label
from tests.rules import texts_of_findings
from tests.rules.example_tree import CONFIG, tree_of

EXAMPLES = Path(__file__).parent / "examples"
NOW = 1_800_000_000


def examples(kind: str) -> list[Path]:
    return sorted(EXAMPLES.glob(f"*.{kind}*.txtar"))


def rule_of(example: Path) -> str:
    return example.name.split(".")[0]


def findings_in(host: Host) -> tuple[Finding, ...]:
    # As `check` looks.
    host = read_once(host, configs=True)
    guest_context = guests.gather_context(host, "pve1", baseline.read(host, "pve1"))
    node = hardware.gather(host, "pve1")
    guest = guests.read(host, "pve1", 100, guest_context)
    return (*catalogue.findings(guest, node), *of_node.findings_of_node(node), *at_next_boot(host), *at_target(host))


def at_next_boot(host: Host) -> tuple[Finding, ...]:
    """What the rules find that ask for the node as it will be, where the example has a kernel."""
    node = nextboot.gather(host, "pve1")
    if isinstance(node, Unread):
        return ()
    guest_context = guests.gather_context(host, "pve1", baseline.read(host, "pve1"))._replace(running=frozenset())
    found = (
        *catalogue.findings_at_next_boot(guests.read(host, "pve1", 100, guest_context), node),
        *of_node.losses_at_next_boot(node),
    )
    rules = catalogue.RULES
    return tuple(each for each in found if rules[each.rule].folder == BOOT or "next_boot" in rules[each.rule].needs)


def at_target(host: Host) -> tuple[Finding, ...]:
    """What is found of the guest's start on another node, where the example names one ("-- target --")."""
    if not host.exists("/target"):
        return ()
    (standing,) = (each for each in summaries.standings(host, "pve1") if each.node == host.read_text("/target"))
    guest_context = guests.gather_context(host, standing.node, None)
    guest = guests.parse_guest(host, standing.node, 100, guests.read_raw_or_error(host, "pve1", 100), guest_context)
    return catalogue.findings_on_target(guest, Target(summaries.node(host, standing), standing, "pve1", NOW, "0.1.0"))


def effects(finding: Finding) -> str:
    """What follows from a finding beside its words, where anything does."""
    known = [finding.cure.value and f"cure: {finding.cure.value}", finding.rng0_veto.value and f"holds: {finding.rng0_veto.value}"]
    if finding.refuser is not catalogue.RULES[finding.rule].complete(Finding("", "", severity=finding.severity)).refuser:
        known.append(f"refused by {finding.refuser.value}")
    return f" ({'; '.join(filter(None, known))})" if any(known) else ""


@pytest.mark.parametrize("example", examples("failing"), ids=lambda path: path.name[:-6])
def test_failing_example(example: Path, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    found = [finding for finding in findings_in(tree_of(example, tmp_path)) if finding.rule == rule_of(example)]
    lines = [
        f"{finding.severity.value}: {finding.subject}: {words.printable(words.sentence(finding))}{effects(finding)}\n" for finding in found
    ]
    assert lines, f"{label(example)}: the rule {rule_of(example)} finds nothing in it; let the example show what the rule is about"
    assert all(finding.examined for finding in found)
    for finding in found:
        texts_of_findings.assert_whole(finding)
        texts_of_findings.assert_typable(finding.remedy)
    golden(f"rules/{example.stem}.txt", "".join(lines))


@pytest.mark.parametrize("example", examples("passing"), ids=lambda path: path.name[:-6])
def test_passing_example(example: Path, tmp_path: Path) -> None:
    found = [finding.message for finding in findings_in(tree_of(example, tmp_path)) if finding.rule == rule_of(example)]
    assert not found, f"{label(example)}: the rule {rule_of(example)} is to find nothing in it"


def lacking(rule: Rule, below: Path = PROJECT) -> str:
    """What has to be written for a rule, '' if nothing: an explanation, a remedy, an example of each kind, words."""
    if not rule.explanation.splitlines()[:1] or not rule.explanation.splitlines()[0].endswith("."):
        return f"rule {rule.id}: its function's docstring is its explanation; let it begin with a line that is a sentence"
    if not rule.remedy:
        return f"rule {rule.id}: say what to do in its decorator (remedy)"
    directory, golden = below / EXAMPLES.relative_to(PROJECT), below / GOLDEN.relative_to(PROJECT)
    for kind, shows in (("failing", "what it finds"), ("passing", "what it does not find")):
        if not any(directory.glob(f"{rule.id}.{kind}*.txtar")):
            return f"rule {rule.id}: make {(directory / f'{rule.id}.{kind}.txtar').relative_to(below)}, a node that shows {shows}"
    for example in directory.glob(f"{rule.id}.failing*.txtar"):
        words = golden / "rules" / f"{example.stem}.txt"
        if not words.exists():
            return f"rule {rule.id}: make {words.relative_to(below)}: sh scripts/test tests/rules/test_examples.py -k {rule.id} --golden-update"
    return ""


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_rule_is_complete(rule: Rule) -> None:
    assert not lacking(rule), lacking(rule)


def test_what_a_rule_lacks_is_named(tmp_path: Path) -> None:
    rule = catalogue.RULES["rng-unlimited"]._replace(id="new-rule")
    directory, words = tmp_path / "tests/rules/examples", tmp_path / "tests/golden/rules"
    directory.mkdir(parents=True)
    words.mkdir(parents=True)
    assert "docstring" in lacking(rule._replace(function=lambda guest, node: iter(())), tmp_path)
    assert "remedy" in lacking(rule._replace(remedy=""), tmp_path)
    assert lacking(rule, tmp_path) == "rule new-rule: make tests/rules/examples/new-rule.failing.txtar, a node that shows what it finds"
    (directory / "new-rule.failing.txtar").touch()
    assert (
        lacking(rule, tmp_path)
        == "rule new-rule: make tests/rules/examples/new-rule.passing.txtar, a node that shows what it does not find"
    )
    (directory / "new-rule.passing.txtar").touch()
    assert lacking(rule, tmp_path).startswith("rule new-rule: make tests/golden/rules/new-rule.failing.txt: sh scripts/test ")
    (words / "new-rule.failing.txt").touch()
    assert lacking(rule, tmp_path) == ""


def test_no_example_without_rule() -> None:
    unknown = {path.name for path in EXAMPLES.iterdir() if rule_of(path) not in catalogue.RULES}
    assert not unknown, "no rule has the id before the first dot"


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_rule_declares_what_it_needs(rule: Rule) -> None:
    """`needs` names just the node's facts that the rule and the functions it calls read."""
    read = sorted(set(_node_facts(rule.function)))
    written = f"needs=({', '.join(map(json.dumps, read))}{',' if len(read) == 1 else ''})" if read else "no needs="
    assert set(read) == rule.needs, f"rule {rule.id} in {rule.function.__module__}: write {written} into its decorator"


def _node_facts(function: Callable[..., object]) -> Iterator[str]:
    names = set(fact_names(Node))
    within = list(ast.walk(ast.parse(inspect.getsource(function).lstrip())))
    known = dict(vars(inspect.getmodule(function)))
    for part in within:
        if isinstance(part, ast.ImportFrom):
            module = importlib.import_module(str(part.module))
            known |= {alias.asname or alias.name: getattr(module, alias.name, None) for alias in part.names}
    for part in within:
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "node" and part.attr in names:
            yield part.attr
        if isinstance(part, ast.Call):
            called = inspect.unwrap(_named(part.func, known))
            if inspect.isfunction(called) and "node" in inspect.signature(called).parameters:
                yield from _node_facts(called)


def _named(expression: ast.expr, known: dict[str, Any]) -> Any:
    """What a name, or a name in a module, stands for; `len` where that is neither."""
    if isinstance(expression, ast.Name):
        return known.get(expression.id, len)
    if isinstance(expression, ast.Attribute) and inspect.ismodule(holder := _named(expression.value, known)):
        return getattr(holder, expression.attr)
    return len


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param("hostpci0: 0000:01:00.0\nboot: order=hostpci0\n", id="device absent"),
        pytest.param("hostpci0: mapping=disk\nboot: order=hostpci0\n", id="no mapping on this node"),
    ],
)
def test_nvme_not_examined(tree: str, tmp_path: Path) -> None:
    """A class that cannot be read is no reason to say anything about the device."""
    host = Host(str(make_fake_tree(tmp_path, {CONFIG: f"bios: ovmf\n{tree}", "sys/bus/pci/devices/": None})))
    found = [finding for finding in findings_in(host) if finding.rule == "rng-missing-nvme"]
    assert [finding.examined for finding in found] == [False]
    assert "not examined" in found[0].message


@pytest.mark.parametrize(
    ("cpu", "flags", "rdrand"),
    [
        ("", "", False),
        ("cpu: kvm64\n", "rdrand", False),
        ("cpu: x86-64-v4\n", "rdrand", False),
        ("cpu: host\n", "rdrand", True),
        ("cpu: host\n", "aes", False),
        ("cpu: max\n", "rdrand", True),
        ("cpu: SandyBridge\n", "rdrand", False),
        ("cpu: IvyBridge\n", "", True),
        ("cpu: EPYC-Milan-v2\n", "", True),
        ("cpu: Opteron_G5\n", "", False),
        ("cpu: custom-mine\n", "", True),
        ("cpu: custom-mine,flags=+aes\n", "", True),
        ("cpu: custom-plain\n", "rdrand", False),
    ],
)
def test_rdrand(cpu: str, flags: str, rdrand: bool, tmp_path: Path) -> None:
    """With RDRAND a network-booting guest is information only, and not given an rng0 automatically."""
    models = "cpu-model: mine\n\tflags +rdrand\n\treported-model kvm64\n\ncpu-model: plain\n\treported-model qemu64\n"
    files = {
        CONFIG: f"bios: ovmf\nefidisk0: local-lvm:vm-100-disk-0,efitype=4m\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n{cpu}",
        "proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu {flags}\n",
        "etc/pve/virtual-guest/cpu-models.conf": models,
    }
    host = Host(str(make_fake_tree(tmp_path, files)))
    guest_context = guests.gather_context(host, "pve1", None)
    guest = guests.read(host, "pve1", 100, guest_context)
    found = [finding for finding in findings_in(host) if finding.rule == "rng-missing-netboot"]
    assert [finding.severity.value for finding in found] == ["info" if rdrand else "warning"]
    assert judge.judge(guest, found, checked(host, catalogue.RULES)).rng0_decision.due is not rdrand
