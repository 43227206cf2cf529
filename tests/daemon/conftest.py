"""Nodes for the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon.bed import NodeBed


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeBed]]:
    """Makes a node, not yet with a running daemon."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(NodeBed(tmp_path, *arguments, **options))
