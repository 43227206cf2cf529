"""The node of bed.py as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actions.pci.bed import TAKES, planted
from tests.beds.drivercore import KernelHost


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return planted(tmp_path / "tree")


@pytest.fixture
def host(tree: Path) -> KernelHost:
    return KernelHost(tree, TAKES)
