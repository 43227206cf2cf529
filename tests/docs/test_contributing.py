"""CONTRIBUTING.md, followed literally in a copy of the checkout: its files are written, its edits made, its commands run."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lint.source import PROJECT

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
STEP = re.compile(
    r"^(?:A new file `(?P<new>[^`]+)`:"
    r"|At the end of (?:`(?P<name>\w+)` in )?`(?P<longer>[^`]+)`:"
    r"|In `(?P<edited>[^`]+)`, `(?P<old>[^`]+)` becomes `(?P<better>[^`]+)`\.)$"
    r"|^```(?P<kind>\w*)\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SECTIONS = ("A rule", "A message", "A fact", "A setting")
RULE = "name-missing"
_LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "build", "dist")


def insert(path: Path, name: str, block: str) -> None:
    """Writes the block at the end of a class, in front of the closing bracket of a tuple, or (no name) at the end of the file."""
    lines = path.read_text().splitlines(keepends=True)
    at = len(lines)
    if name:
        at = next(end for found, end in map(named, ast.parse("".join(lines)).body) if found == name)
    path.write_text("".join((*lines[:at], block, *lines[at:])))


def named(node: ast.stmt) -> tuple[str, int]:
    """What a statement names, and the line behind which more of it can be written."""
    end = node.end_lineno or 0
    if isinstance(node, ast.ClassDef):
        return node.name, end
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return ast.unparse(target), end - 1
    return "", 0


class Reader:
    """Someone who follows the text in a copy of the checkout."""

    def __init__(self, directory: Path) -> None:
        self.checkout = directory / "checkout"
        shutil.copytree(PROJECT, self.checkout, symlinks=True, ignore=_LEFT_OUT)
        # Tools that only other tests need are not fetched.
        for script in ("install-ruff", "install-promtool"):
            (self.checkout / "scripts" / script).write_text("#!/bin/sh\nexit 1\n")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PVEHOOKS_", "PYTEST_", "PYTHON"))},
            "XDG_CACHE_HOME": str(directory / "cache"),
            # Else each run would begin by removing what long runs of the same user have left.
            "PYTEST_DEBUG_TEMPROOT": str(directory),
        }
        self.printed: dict[str, str] = {}

    def follow(self, section: str, after: Callable[[str], None] = lambda _: None) -> None:
        """Follows a section; `after` is called with what each step was: a file's path, or the commands."""
        text = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        place: re.Match[str] | None = None
        for step in STEP.finditer(text):
            if step["edited"]:
                self._edit(step)
            elif step["block"] is None:
                place = step
            elif step["kind"] == "sh":
                for line in step["block"].splitlines():
                    self.printed[line] = self.run(line)
            else:
                assert place is not None, f"where does it go?\n{step['block']}"
                self._write(place, step["block"])
                after(str(place["new"]))
                place = None

    def _edit(self, step: re.Match[str]) -> None:
        path = self.checkout / step["edited"]
        before = path.read_text()
        assert before.count(step["old"]) == 1
        path.write_text(before.replace(step["old"], step["better"]))

    def _write(self, place: re.Match[str], block: str) -> None:
        if place["new"]:
            path = self.checkout / place["new"]
            assert not path.exists()
            path.write_text(block)
        else:
            insert(self.checkout / place["longer"], place["name"], block)

    def run(self, command: str, status: int = 0) -> str:
        """Runs a command as it stands; returns what it prints."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.checkout,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, f"{command}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("contributing"))


def test_every_block_is_followed() -> None:
    """Each section has commands, and no block stands outside of the sections."""
    assert tuple(re.findall(r"^## (.*)$", TEXT, re.MULTILINE)) == SECTIONS
    inside = TEXT.partition("\n## ")[2]
    assert TEXT.count("\n```") == inside.count("\n```") == 2 * sum(step["block"] is not None for step in STEP.finditer(TEXT))
    assert all("```sh\n" in part for part in inside.split("\n## "))


def test_a_rule(reader: Reader) -> None:
    def name_what_is_missing(path: str) -> None:
        if path.startswith("pvehooks/"):
            found = reader.run(f"sh scripts/test -q tests/rules/test_examples.py -k {RULE}", 1)
            assert f"rule {RULE}: make tests/rules/examples/{RULE}.failing.txtar, a node that shows what it finds" in found

    reader.follow("A rule", name_what_is_missing)
    assert len([line for line in reader.printed if line]) == 5
    words = reader.printed[f"cat tests/golden/rules/{RULE}.failing.txt"]
    assert words == "info: name: it has no name. Name it: qm set 100 --name NAME\n"
    assert "it has no name" in (reader.checkout / "build/node.html").read_text()
    assert RULE.replace("-", "\\-") in (reader.checkout / "man/pvehooks-rules.7").read_text()
    assert RULE in reader.run(f"/usr/bin/python3 -m pvehooks explain {RULE}")
    # All that the project asks of a rule.
    reader.run(f"sh scripts/test -q tests/rules/test_examples.py tests/docs/test_drift.py -k '{RULE} or as_the_code_says'")


def test_a_message(reader: Reader) -> None:
    reader.follow("A message")
    assert "messages show its VMID alone" in reader.printed[f"cat tests/golden/rules/{RULE}.failing.txt"]


def test_a_fact(reader: Reader) -> None:
    reader.follow("A fact")


def test_a_setting(reader: Reader) -> None:
    reader.follow("A setting")
    assert "#patience = 60\n" in (reader.checkout / "doc/examples/pvehooks.conf").read_text()
    assert "patience" in reader.run("/usr/bin/python3 -m pvehooks config --root build/node")
    assert "patience" in (reader.checkout / "man/pvehooks.conf.5").read_text()
