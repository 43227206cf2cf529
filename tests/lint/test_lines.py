"""Lines end where the kernel and Proxmox VE end them: at "\\n" alone."""

from __future__ import annotations

import ast

from tests.lint.source import PACKAGE, label, nodes, python_files


def test_no_text_is_split_at_other_characters() -> None:
    """str.splitlines() also splits at U+2028, U+0085, form feeds and more, bytes.splitlines() at carriage returns: a free text would become a line of its own."""
    found = [
        f"{label(path)}:{node.lineno}"
        for path in python_files(PACKAGE)
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    ]
    assert found == [], 'use .split("\\n")'
