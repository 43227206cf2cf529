"""Files and functions stay small enough to be read."""

from __future__ import annotations

from tests.lint.source import functions, label, python_files, shell_files

FILE_LIMIT = 500
FUNCTION_LIMIT = 50


def test_no_file_is_long() -> None:
    lines = {label(path): path.read_bytes().count(b"\n") for path in (*python_files(), *shell_files())}
    assert {name: count for name, count in lines.items() if count > FILE_LIMIT} == {}


def test_no_function_is_long() -> None:
    found = [(label(path), name, lines) for path in python_files() for name, lines in functions(path)]
    assert [item for item in found if item[2] > FUNCTION_LIMIT] == []
