"""A rule is there because of the folder that its file lies in: one in a new file, with no other edit, is asked and shown everywhere."""

from __future__ import annotations

import ast
import compileall
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pvehooks.rules import catalogue, engine
from tests.guard import bed
from tests.lint.source import PACKAGE, PROJECT, label, python_files, tree

RULES = PACKAGE / "rules"
ARGUMENTS = {
    engine.GUEST: ["guest", "node"],
    engine.START: ["guest", "node"],
    engine.NODE: ["node"],
    engine.BOOT: ["guest", "node"],
    engine.TARGET: ["guest", "target"],
}
NEW = '''\
"""New things: what nobody listed."""

from collections.abc import Iterator

from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Severity

RULES = RuleSet()


@RULES.rule("new-{folder}", Severity.BLOCK, "Do what is to be done."{line})
def new_rule({arguments}) -> Iterator[Finding]:
    """Something new about {folder} is wrong.

    Because it is. Source: this test.
    """
    yield Finding("thing", "the new thing of {folder} is wrong")
'''


def rules_of(package: Path, *arguments: str) -> str:
    return run(package, "pvehooks", "rules", *arguments)[1]


def run(package: Path, module: str, *arguments: str) -> tuple[int, str]:
    """A program of the package that lies there, as it would run if it were installed."""
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "200", "PVE_MIGRATED_FROM": ""}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program with a new file in each folder of rules."""
    copy = tmp_path_factory.mktemp("package")
    for directory in ("pvehooks", "scripts"):
        shutil.copytree(PROJECT / directory, copy / directory, ignore=shutil.ignore_patterns("__pycache__"))
    # What the page by symptom shows of the causes.
    shutil.copytree(PROJECT / "tests/causes", copy / "tests/causes", ignore=shutil.ignore_patterns("__pycache__"))
    for folder, arguments in ARGUMENTS.items():
        line = ', line="new things"' if folder == engine.NODE else ""
        text = NEW.format(folder=folder, arguments=", ".join(f"{name}: object" for name in arguments), line=line)
        (copy / f"pvehooks/rules/{folder}/anything.py").write_text(text)
    return copy


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of a node with a guest that passes a device through, in a cluster of two."""
    return bed.node(tmp_path_factory.mktemp("node") / "tree", {"etc/pve/nodes/pve2/lrm_status": ""})


def test_rules_lists_it_behind_all_others(package: Path) -> None:
    before = [rule["rule"] for rule in json.loads(rules_of(PROJECT, "--json"))["rules"].values()]
    after = [rule["rule"] for rule in json.loads(rules_of(package, "--json"))["rules"].values()]
    assert [rule for rule in after if not rule.startswith("new-")] == before
    assert [rule for rule in after if rule.startswith("new-")] == ["new-guest", "new-start", "new-node", "new-boot", "new-target"]


@pytest.mark.parametrize("folder", engine.FOLDERS)
def test_explain(folder: str, package: Path) -> None:
    status, text = run(package, "pvehooks", "explain", f"new-{folder}")
    assert (status, text.splitlines()[:3]) == (0, [f"new-{folder} (block)", "", f"Something new about {folder} is wrong."])


def test_documents(package: Path) -> None:
    """The manual, the journal's catalogue and the completion are made from it."""
    run(package, "scripts.docs")
    for folder in engine.FOLDERS:
        assert f"new\\-{folder}" in (package / "man/pvehooks-rules.7").read_text()
        assert f"# finding/new-{folder}\n" in (package / "catalog/pvehooks.catalog").read_text()
        assert f"new-{folder}" in (package / "completion/pvehooks").read_text()
    assert '"anything"' in (package / "pvehooks/rules/start/__init__.py").read_text()
    assert ".SH NEW THINGS\n" in (package / "man/pvehooks-rules.7").read_text()


def test_check_and_report(package: Path, node: Path) -> None:
    status, text = run(package, "pvehooks", "check", "100", "--root", str(node), "--json")
    (guest,) = json.loads(text)["guests"]
    assert [found["rule"] for found in guest["findings"] if found["rule"].startswith("new-")] == ["new-guest", "new-start"]
    assert (status, guest["verdict"]) == (1, "block")
    _, page = run(package, "pvehooks", "report", "--html", "-", "--root", str(node))
    for folder in (engine.GUEST, engine.START, engine.NODE):
        assert f"the new thing of {folder} is wrong" in page
        assert f"Something new about {folder} is wrong." in page
    assert "the new thing of target" not in page


def test_host_check(package: Path, node: Path) -> None:
    status, text = run(package, "pvehooks", "host", "check", "--root", str(node))
    (line,) = (line for line in text.splitlines() if "new things" in line)
    assert (status, line.split()) == (1, "FAIL new things the new thing of node is wrong. Do what is to be done. [new-node]".split())


def test_check_for_another_node(package: Path, node: Path) -> None:
    _, text = run(package, "pvehooks", "check", "100", "--target", "pve2", "--root", str(node), "--json")
    (guest,) = json.loads(text)["guests"]
    assert [found["rule"] for found in guest["findings"] if found["rule"].startswith("new-")] == ["new-target", "new-guest", "new-start"]


def test_the_hookscript(package: Path, node: Path) -> None:
    """Asks what lies in start/, and nothing else."""
    _, text = run(package, "pvehooks.guard", "100", "pre-start", "--root", str(node))
    assert "pvehooks: VM 100 (gpu) is not started: the new thing of start is wrong. [new-start]\n" in text
    assert "new-guest" not in text


def test_from_bytecode_alone(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(package / "pvehooks", copy / "pvehooks")
    assert compileall.compile_dir(str(copy), quiet=1, legacy=True)
    for source in copy.rglob("*.py"):
        source.unlink()
    assert rules_of(copy) == rules_of(package)


def test_what_lies_beside_the_modules_is_none(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(package / "pvehooks", copy / "pvehooks")
    for name in ("old.py.bak", ".hidden.py", "two.dots.py", "notes.txt", "with-dash.py"):
        (copy / "pvehooks/rules/guest" / name).write_text("raise RuntimeError\n")
    assert rules_of(copy) == rules_of(package)


# -- what no rule can do without being noticed ------------------------------------------------------------------------


@pytest.mark.parametrize("path", python_files(RULES), ids=label)
def test_a_rule_set_lies_where_it_is_found(path: Path) -> None:
    """Each file of a folder has one, named RULES; no other file has any."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("RuleSet")]
    named = [
        node for node in tree(path).body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "RULES" and node.value in calls
    ]
    wanted = path.parent.name in engine.FOLDERS and path.name != "__init__.py"
    where = f"below {RULES.name}/{{{','.join(engine.FOLDERS)}}}"
    assert len(calls) == len(named) == wanted, (
        f"{label(path)}: each file {where} has just one RULES = RuleSet(...), and no other file has one"
    )


@pytest.mark.parametrize("path", python_files(RULES / engine.START), ids=label)
def test_rules_of_a_start_load_no_others(path: Path) -> None:
    """The hookscript pays for whatever they import."""
    named = {node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}
    assert {module for module in named if str(module).startswith("pvehooks.rules")} <= {"pvehooks.rules.engine"}


@pytest.mark.parametrize("rule", catalogue.RULES.values(), ids=lambda rule: rule.id)
def test_a_rule_takes_what_its_folder_gives(rule: engine.Rule) -> None:
    assert list(inspect.signature(rule.function).parameters) == ARGUMENTS[rule.folder]


def test_an_id_is_given_once() -> None:
    every = [rule.id for rules in engine.rule_sets(*engine.FOLDERS) for rule in rules.rules]
    assert sorted(every) == sorted(catalogue.RULES)
