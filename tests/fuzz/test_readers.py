"""No content of a file makes its reader raise, hang, or take much memory; `make fuzz` goes on for longer, and looks where it gets further."""

from __future__ import annotations

import os
import random

import pytest

from tests.fuzz.feeding import Tree, mutated, seed
from tests.fuzz.readers import READERS

EACH = int(os.environ.get("PVEHOOKS_FUZZ_EXAMPLES", "20"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("path", READERS)
def test_any_content(path: str, tree: Tree) -> None:
    chance = random.Random(path)
    tree.feed(path, seed(path))
    for _ in range(EACH):
        tree.feed(path, mutated(seed(path), chance))
