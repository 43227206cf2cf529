"""scripts/remove-old-trees: of the systems that tests run in, those go that a newer one has replaced."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
NEW = "trixie-node-00000000ff"


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """A directory in which system-tree has made the newest one a moment ago."""
    asked_for(tmp_path / NEW, days=0)
    return tmp_path


def asked_for(tree: Path, days: float) -> Path:
    """A system with a file in it, for which system-tree was called so many days ago; its lock."""
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/hostname").write_text("node\n")
    lock = tree.with_name(f"{tree.name}.lock")
    lock.touch()
    moment = time.time() - days * 86400
    os.utime(lock, (moment, moment))
    return lock


def left(trees: Path) -> set[str]:
    subprocess.run(["sh", str(PROJECT / "scripts/remove-old-trees"), str(trees / NEW)], check=True)
    return {path.name for path in trees.iterdir()} - {NEW, f"{NEW}.lock"}


def test_an_older_one_goes_with_its_lock(trees: Path) -> None:
    asked_for(trees / "trixie-node-0123456789", days=2)
    (trees / "trixie-node-0123456789.log").touch()
    assert left(trees) == set()


@pytest.mark.parametrize("name", ["bookworm-node-0123456789", "trixie-build-0123456789", "trixie-node-extra-0123456789"])
def test_of_another_suite_or_purpose(name: str, trees: Path) -> None:
    asked_for(trees / name, days=2)
    assert left(trees) == {name, f"{name}.lock"}


def test_one_that_was_asked_for_today_may_be_in_use(trees: Path) -> None:
    asked_for(trees / "trixie-node-0123456789", days=0.5)
    assert left(trees) == {"trixie-node-0123456789", "trixie-node-0123456789.lock"}


def test_one_that_is_being_built(trees: Path) -> None:
    with asked_for(trees / "trixie-node-0123456789", days=2).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert left(trees) == {"trixie-node-0123456789", "trixie-node-0123456789.lock"}
    assert left(trees) == set()


def test_the_newest_is_never_removed(tmp_path: Path) -> None:
    asked_for(tmp_path / NEW, days=9)
    assert left(tmp_path) == set() and (tmp_path / NEW / "etc/hostname").exists()
