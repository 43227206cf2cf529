"""The documents as the code makes them now: that the committed ones are the same is for test_drift.py alone to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.docs import documents


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all documents, by their names in the checkout; not to be changed."""
    directory = tmp_path_factory.mktemp("made")
    documents.write(directory)
    return directory
