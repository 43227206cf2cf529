"""Nodes for the hookscript."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hookscript import bed


@pytest.fixture(autouse=True)
def node() -> Iterator[None]:
    """Mounts of its own for each test."""
    with bed.mounts():
        yield
