"""The linters, run as tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lint.source import PROJECT, label, python_files, shell_files


def run(*command: str) -> None:
    """Run a tool in the project's root; its words are the failure."""
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command[:3])}\n{done.stdout}{done.stderr}", pytrace=False)


def ruff(*arguments: str) -> None:
    """Run the ruff that scripts/install-ruff made."""
    program = os.environ.get("PVEHOOKS_RUFF")
    if program is None:
        pytest.fail("ruff could not be had from PyPI, and with CI=true it must", pytrace=False)
    run(program, *arguments, "--output-format=concise", ".")


@pytest.mark.ruff
def test_ruff() -> None:
    ruff("check", "--quiet")


@pytest.mark.ruff
def test_ruff_format() -> None:
    """If it fails: make format."""
    ruff("format", "--check")


def test_mypy_strict() -> None:
    run("mypy", "--no-error-summary")


def test_shellcheck() -> None:
    scripts = shell_files()
    assert scripts
    run("shellcheck", "--external-sources", *map(label, scripts))


def test_every_python_file_compiles(tmp_path: Path) -> None:
    files = [label(path) for path in python_files()]
    run(sys.executable, "-X", f"pycache_prefix={tmp_path}", "-W", "error", "-m", "compileall", "-q", "-f", *files)
