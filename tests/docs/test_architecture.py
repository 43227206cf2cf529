"""doc/architecture.md: every folder is described, and each step of its ways is a function that the step above it refers to."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lint.source import PACKAGE, PROJECT, files, label, tree

PAGE = PROJECT / "doc/architecture.md"
TEXT = PAGE.read_text()
STEP = re.compile(r"^( *)- `([\w./-]+)(?::([\w.]+))?`(?=:|$)", re.MULTILINE)
FUNCTIONS = (ast.FunctionDef, ast.ClassDef)
# A step of four blanks is a call.
INDENT = 4


class Step(NamedTuple):
    """A function of a file, '' for all of it; `depth` says how far its line is indented."""

    depth: int
    file: str
    function: str

    @property
    def path(self) -> Path:
        return PROJECT / self.file

    def __str__(self) -> str:
        return f"{self.file}:{self.function}" if self.function else self.file


def ways() -> dict[str, list[Step]]:
    """The ways by their headlines."""
    parts = re.split(r"^### (.*)$", TEXT, flags=re.MULTILINE)[1:]
    return {
        headline: [Step(len(blanks) // INDENT, file, function) for blanks, file, function in STEP.findall(text)]
        for headline, text in zip(parts[::2], parts[1::2], strict=True)
    }


def calls() -> list[tuple[Step, Step]]:
    """The steps that stand below another one, with that."""
    found = []
    for steps in ways().values():
        above: list[Step] = []
        for step in steps:
            above[step.depth :] = [step]
            if step.depth:
                found.append((above[step.depth - 1], step))
    return found


WAYS, CALLS = ways(), calls()
STEPS = {str(step): step for steps in WAYS.values() for step in steps}


def is_python(path: Path) -> bool:
    return path.suffix == ".py" or path.read_bytes().startswith(b"#!/usr/bin/python3")


def is_defined(step: Step) -> bool:
    """Whether the file has that function, class or method."""
    if not is_python(step.path):
        return re.search(rf"^{re.escape(step.function)}\(\)", step.path.read_text(), re.MULTILINE) is not None
    body: list[ast.stmt] = tree(step.path).body
    for name in step.function.split("."):
        named = [node for node in body if isinstance(node, FUNCTIONS) and node.name == name]
        if not named:
            return False
        body = named[0].body
    return True


@cache
def names(path: Path) -> frozenset[str]:
    """The names that a Python file uses, the parts of the modules that it imports among them."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {*str(node.module).split("."), *(alias.name for alias in node.names)}
    return frozenset(found)


def refers(above: Step, step: Step) -> bool:
    """Whether the file of one step names the function of another, and its module; of a shell script, the script."""
    if not is_python(above.path) or not step.function:
        return re.search(rf"/{step.path.name}$", above.path.read_text(), re.MULTILINE) is not None
    name = step.function.rpartition(".")[2]
    if above.file == "pvehooks/cli/parsers.py" and step.file.startswith("pvehooks/cli/commands/"):
        # A verb's module is imported by its name.
        return name in names(above.path) and "_COMMANDS" in names(above.path)
    module = step.path.parent.name if step.path.stem == "__init__" else step.path.stem
    return name in names(above.path) and (step.path == above.path or module in names(above.path))


# -- the ways ---------------------------------------------------------------------------------------------------------


def test_all_four_ways_are_there() -> None:
    assert [headline[:3] for headline in WAYS] == ["(a)", "(b)", "(c)", "(d)"]
    assert all(len(steps) > 10 for steps in WAYS.values())


def test_no_line_of_a_way_is_overlooked() -> None:
    listed = re.findall(r"^ *- `.*", TEXT.partition("### (a)")[2], re.MULTILINE)
    assert len(listed) == sum(map(len, WAYS.values())), "a line is: - `file:function`, then a colon or nothing"


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
def test_a_step_is_one_deeper_at_most(steps: list[Step]) -> None:
    assert steps[0].depth == 0
    assert [str(after) for before, after in pairwise(steps) if after.depth > before.depth + 1] == []


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_exists(step: Step) -> None:
    assert step.path.is_file(), f"{label(PAGE)}: there is no {step.file}"
    assert not step.function or is_defined(step), f"{label(PAGE)}: {step.file} has no {step.function}"


@pytest.mark.parametrize(("above", "step"), CALLS, ids=[f"{above} - {step}" for above, step in CALLS])
def test_a_step_is_called_where_the_list_has_it(above: Step, step: Step) -> None:
    assert refers(above, step), f"{label(PAGE)}: {above.file} does not refer to {step}"


def test_what_is_not_so_is_noticed() -> None:
    loop = Step(0, "pvehooks/daemon/loop.py", "Daemon.run")
    assert not refers(loop, Step(1, "pvehooks/judge.py", "judge"))
    assert not refers(loop, Step(1, "libexec/guard", ""))
    assert not is_defined(loop._replace(function="Daemon.walk"))
    assert not is_defined(Step(0, "libexec/hookscript", "run_nothing"))


# -- folders ----------------------------------------------------------------------------------------------------------


def test_every_folder_has_its_line() -> None:
    """The folders of the checkout, and those of the package at every depth."""
    there = {f"{label(path).partition('/')[0]}/" for path in files() if "/" in label(path)}
    there |= {f"{label(path.parent)}/" for path in files() if path.is_relative_to(PACKAGE) and path.suffix == ".py"}
    listed = re.findall(r"^\| `([\w./-]+/)` \|", TEXT, re.MULTILINE)
    assert sorted(listed) == sorted(there)


def test_every_loose_module_has_its_line() -> None:
    there = {label(path) for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert sorted(re.findall(r"^\| `(pvehooks/\w+\.py)` \|", TEXT, re.MULTILINE)) == sorted(there)
