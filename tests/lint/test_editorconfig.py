"""What .editorconfig tells editors is how the files are."""

from __future__ import annotations

import re
from pathlib import Path

import editorconfig
import pytest

from tests.lint.source import PROJECT, files, label, python_files, shell_files


def wrong(path: Path) -> list[str]:
    """What a file has otherwise than its settings say."""
    settings, text = editorconfig.get_properties(str(path)), path.read_bytes()
    if b"\0" in text:  # no text
        return []
    checks = {
        "trim_trailing_whitespace": not re.search(rb"[ \t]$", text, re.MULTILINE),
        "insert_final_newline": not text or text.endswith(b"\n"),
        "end_of_line": b"\r\n" not in text,
    }
    return [f"{label(path)}: {name}" for name, kept in checks.items() if settings.get(name, "unset") != "unset" and not kept]


def test_files_are_as_editors_keep_them() -> None:
    assert [each for path in files() for each in wrong(path)] == []


@pytest.mark.parametrize(("paths", "style"), [(python_files(), "space"), (shell_files(), "tab"), ([PROJECT / "Makefile"], "tab")])
def test_indentation(paths: list[Path], style: str) -> None:
    assert paths
    assert [label(path) for path in paths if editorconfig.get_properties(str(path)).get("indent_style") != style] == []
