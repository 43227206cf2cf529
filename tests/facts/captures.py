"""The captures of real kernels in ../shared/data/sysfs, each made into a tree once a test run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED_DATA

NAMES = sorted(path.stem for path in (SHARED_DATA / "sysfs").glob("*.json")) or ["none are here"]


def load(name: str) -> dict[str, Any]:
    """The capture as it was written down."""
    captured: dict[str, Any] = json.loads((SHARED_DATA / "sysfs" / f"{name}.json").read_bytes())
    return captured


def materialise(name: str, factory: pytest.TempPathFactory) -> Path:
    """The capture as a tree of sys, proc and dev, by the folder's own program."""
    directory = factory.getbasetemp() / f"capture-{name}"
    if not directory.exists():
        program = SHARED_DATA / "materialise.py"
        former, sys.argv = sys.argv, [str(program), str(SHARED_DATA / "sysfs" / f"{name}.json"), str(directory)]
        try:
            exec(compile(program.read_bytes(), program, "exec"), {"__name__": "__main__"})
        finally:
            sys.argv = former
    return directory
