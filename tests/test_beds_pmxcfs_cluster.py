"""Two stand-ins for pmxcfs that replicate: a write through one mount is a remote change for the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beds.inotify import recorded
from tests.beds.pmxcfs import Pmxcfs

CONFIG = "bios: ovmf\nmemory: 512\n"
GUEST = "nodes/pve1/qemu-server/100.conf"
NODES = ["pve1", "pve2"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Pmxcfs, Pmxcfs]]:
    first = Pmxcfs(tmp_path / "a", db_dir=tmp_path / "db-a", node="pve1", members=NODES, files={GUEST: CONFIG})
    second = Pmxcfs(tmp_path / "b", db_dir=tmp_path / "db-b", node="pve2", members=NODES, join=[first])
    with first, second:
        yield first, second


def test_a_joining_node_gets_the_tree(pair: tuple[Pmxcfs, Pmxcfs]) -> None:
    first, second = pair
    assert second.path(GUEST).read_text() == CONFIG
    assert second.path("local").readlink() == Path("nodes/pve2")
    members = json.loads(first.path(".members").read_text())
    assert members["cluster"]["quorate"] == 1
    assert {name: entry["online"] for name, entry in members["nodelist"].items()} == {"pve1": 1, "pve2": 1}


def test_writes_go_both_ways_without_an_event_there(pair: tuple[Pmxcfs, Pmxcfs]) -> None:
    first, second = pair
    with recorded(second.path("nodes/pve1/qemu-server")) as tree, recorded(second.db_dir) as doorbell:
        before = second.counters()["vmlist"]
        first.local_write(GUEST, "cores: 1\n")
        assert second.path(GUEST).read_text() == "cores: 1\n"
        assert ("IN_MODIFY", "config.db-wal") in doorbell.seen()
        assert tree.seen() == []
        assert second.counters()["vmlist"] - before == 1
    second.local_write(GUEST, "cores: 2\n")
    assert first.path(GUEST).read_text() == "cores: 2\n"


def test_a_migration_arrives_at_the_target(pair: tuple[Pmxcfs, Pmxcfs]) -> None:
    first, second = pair
    first.config(100).rename(first.config(100, "pve2"))
    assert second.path("qemu-server/100.conf").read_text() == CONFIG


def test_a_killed_peer_catches_up_when_it_returns(pair: tuple[Pmxcfs, Pmxcfs]) -> None:
    first, second = pair
    second.kill()
    first.local_write(GUEST, "cores: 1\n")
    assert json.loads(first.path(".members").read_text())["nodelist"]["pve2"]["online"] == 0
    second.restart()
    assert second.path(GUEST).read_text() == "cores: 1\n"
    assert json.loads(first.path(".members").read_text())["nodelist"]["pve2"]["online"] == 1


def test_a_node_without_quorum_catches_up_when_it_regains_it(pair: tuple[Pmxcfs, Pmxcfs]) -> None:
    first, second = pair
    second.set_quorum(False)
    before = second.counters()["guests"]
    first.local_write(GUEST, "cores: 1\n")
    assert second.path(GUEST).read_text() == CONFIG
    second.set_quorum(True)
    assert second.path(GUEST).read_text() == "cores: 1\n"
    assert second.counters()["guests"] != before
