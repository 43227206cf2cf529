"""The project's own files, for the tests that look at them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "pvehooks"
_NOT_OURS = {".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "build", "dist", "deb_dist"}


@cache
def files() -> tuple[Path, ...]:
    """All files of the checkout that are written by hand."""
    found = []
    for directory, names, here in os.walk(PROJECT):
        names[:] = sorted(name for name in names if name not in _NOT_OURS and not name.endswith(".egg-info"))
        found += [Path(directory, name) for name in sorted(here) if name not in _NOT_OURS]
    return tuple(path for path in found if path.is_file() and not path.is_symlink())


def python_files(below: Path = PROJECT) -> list[Path]:
    """The Python files below a directory."""
    return [path for path in files() if path.suffix == ".py" and path.is_relative_to(below)]


def shell_files() -> list[Path]:
    """The shell scripts, by their first line."""
    return [path for path in files() if path.read_bytes()[:64].startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))]


def label(path: Path) -> str:
    """The path from the project's root, for messages and test ids."""
    return str(path.relative_to(PROJECT))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_bytes(), filename=label(path))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file's syntax tree, as ast.walk() finds them."""
    return tuple(ast.walk(tree(path)))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """The functions of a file and how many lines each has."""
    for node in nodes(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
