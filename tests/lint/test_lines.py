"""Lines end where the kernel and Proxmox VE end them: at "\\n" alone."""

from __future__ import annotations

import ast

from tests.lint.source import PACKAGE, label, python_files, tree

# They filter bytes, which end lines at "\n" and "\r" only, and keep what they do not take out as it is.
OF_BYTES = ("capture/redact/secrets.py", "capture/collect.py")


def test_no_text_is_split_at_other_characters() -> None:
    """str.splitlines() also splits at U+2028, U+0085, form feeds and more: a free text in a config would become a line of its own."""
    files = [path for path in python_files(PACKAGE) if not str(path).endswith(OF_BYTES)]
    found = [
        f"{label(path)}:{node.lineno}"
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    ]
    assert found == [], 'use .split("\\n")'
