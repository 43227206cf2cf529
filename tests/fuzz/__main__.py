"""Feeds the readers for as long as is asked: python3 -m tests.fuzz MINUTES. The first failure ends it, with the input.

With atheris, where this Python has it, inputs that reach code that no input reached before are taken on; else each is a mutation of a
usual content.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

_HAS_ATHERIS = find_spec("atheris") is not None
if _HAS_ATHERIS:
    import atheris

with atheris.instrument_imports(include=["pvehooks"]) if _HAS_ATHERIS else nullcontext():
    from tests.fuzz.feeding import Tree, mutated, seed
    from tests.fuzz.readers import READERS

PATHS = tuple(READERS)
_LONGEST = 1 << 16


def _by_chance(tree: Tree, seconds: float) -> None:
    chance = random.Random()
    end, fed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        path = chance.choice(PATHS)
        fed += 1
        tree.feed(path, mutated(seed(path), chance))
    print(f"{fed} inputs")


def _by_coverage(tree: Tree, seconds: float, directory: Path) -> None:
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, path in enumerate(PATHS):
        (corpus / f"{number:03}").write_bytes(bytes([number]) + seed(path)[: _LONGEST - 1])

    def one(data: bytes) -> None:
        if data:
            tree.feed(PATHS[data[0] % len(PATHS)], data[1:])

    limits = (f"-max_total_time={seconds:.0f}", f"-max_len={_LONGEST}", "-rss_limit_mb=1024", "-timeout=20", "-print_final_stats=1")
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={tempfile.gettempdir()}/pvehooks-fuzz-", *limits], one)
    atheris.Fuzz()


def main() -> None:
    seconds = float(sys.argv[1]) * 60
    # In memory: each input is a file.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        tree = Tree(Path(name))
        if _HAS_ATHERIS:
            _by_coverage(tree, seconds, Path(name))
        else:
            _by_chance(tree, seconds)


main()
