"""What a field means stands at the field, where its reader looks, not in a paragraph of the class."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.lint.source import PACKAGE, label, nodes

FILES = sorted(PACKAGE.rglob("*.py"))


def in_paragraph(node: ast.ClassDef) -> list[str]:
    """The fields that the docstring of a value explains instead of a comment."""
    fields = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)]
    text = ast.get_docstring(node) or ""
    return [field for field in fields if f"`{field}`" in text] if len(fields) > 3 else []


def values(path: Path) -> list[ast.ClassDef]:
    """The classes of a file that are values."""
    return [
        node for node in nodes(path) if isinstance(node, ast.ClassDef) and any("NamedTuple" in ast.unparse(base) for base in node.bases)
    ]


def test_fields_are_documented_at_the_field() -> None:
    found = {f"{label(path)}: {node.name}": in_paragraph(node) for path in FILES for node in values(path)}
    assert len(found) > 100
    assert {name: fields for name, fields in found.items() if len(fields) > 1} == {}, "put the text above the field, as a comment"


def test_a_paragraph_is_noticed() -> None:
    text = '"""A thing: `one` is first, `two` follows."""'
    (node,) = ast.parse(f"class Thing(NamedTuple):\n    {text}\n    one: int\n    two: int\n    three: int\n    four: int\n").body
    assert isinstance(node, ast.ClassDef)
    assert in_paragraph(node) == ["one", "two"]
