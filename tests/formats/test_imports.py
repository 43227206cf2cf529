"""The parsers are on the way of every guest's start: importing them must not load what is slow to load."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

SLOW = ("asyncio", "dataclasses", "hashlib", "inspect", "json", "logging", "pathlib", "subprocess", "tempfile")


@pytest.mark.parametrize("module", ["guestconfig", "propertystring", "bootorder", "sectionconfig"])
def test_imports_are_light(module: str) -> None:
    program = f"import sys; import pvehooks.formats.{module}; print(*set(sys.modules) & set({SLOW!r}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(PROJECT)}
    )
    assert done.stdout.split() == []
