"""Who reads JSON has an answer to brackets within brackets: json.loads raises RecursionError then, and that is no ValueError."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.lint.source import PACKAGE, label, nodes, python_files


@pytest.mark.parametrize("path", python_files(PACKAGE), ids=label)
def test_every_reader_of_json_survives_depth(path: Path) -> None:
    prepared = {
        id(node)
        for attempt in nodes(path)
        if isinstance(attempt, ast.Try) and any("RecursionError" in ast.unparse(each.type) for each in attempt.handlers if each.type)
        for statement in attempt.body
        for node in ast.walk(statement)
    }
    calls = [node for node in nodes(path) if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load")]
    assert [call.lineno for call in calls if id(call) not in prepared] == [], "json.loads outside of a try that names RecursionError"
