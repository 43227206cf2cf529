"""Nodes for the daemon, on which node_exporter's directory is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from tests.daemon.bed import NodeBed


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeBed]]:
    """Makes a node, not yet with a running daemon."""
    directory = Path(textfile.DIRECTORY)
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        yield lambda *arguments, **options: stack.enter_context(NodeBed(tmp_path, *arguments, **options))
