"""Memory and huge pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.node import memory
from pvehooks.host import Host
from pvehooks.values import HugePages, Memory, Unread
from tests.beds.tree import Content, make_fake_tree

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         3000000 kB\nMemAvailable:    4000000 kB\nHugePages_Free:        7\n"
NODES = "/sys/devices/system/node"
ARC = "/proc/spl/kstat/zfs/arcstats"
AVAILABLE = 4000000 * 1024
GIB = 1 << 30


def read(directory: Path, files: dict[str, Content]) -> Memory | Unread:
    return memory.read(Host(str(make_fake_tree(directory, files if "/proc/meminfo" in files else files | {"/proc/meminfo": MEMINFO}))))


def arcstats(**values: int) -> str:
    rows = "".join(f"{name:31} 4    {value}\n" for name, value in values.items())
    return f"9 1 0x01 147 39984 7812345678 987654321098\nname                            type data\n{rows}"


def test_available(tmp_path: Path) -> None:
    assert read(tmp_path, {}) == Memory(AVAILABLE, ())


@pytest.mark.parametrize(
    ("stats", "more"),
    [
        pytest.param(arcstats(size=9 * GIB, c_min=GIB, c_max=12 * GIB), 8 * GIB, id="down to the minimum"),
        pytest.param(arcstats(size=GIB, c_min=2 * GIB), 0, id="below the minimum"),
        pytest.param(
            arcstats(
                size=9 * GIB,
                c_min=GIB,
                mru_evictable_data=GIB,
                mru_evictable_metadata=1,
                mfu_evictable_data=2 * GIB,
                mfu_evictable_metadata=2,
            ),
            3 * GIB + 3,
            id="what can be evicted",
        ),
        pytest.param(
            arcstats(
                size=2 * GIB, c_min=GIB, mru_evictable_data=GIB, mru_evictable_metadata=0, mfu_evictable_data=GIB, mfu_evictable_metadata=0
            ),
            GIB,
            id="the minimum stays",
        ),
        pytest.param(arcstats(size=9 * GIB), 0, id="no minimum known"),
        pytest.param("size 4 " + "9" * 5000 + "\nc_min 4 x\n\xff", 0, id="nonsense"),
    ],
)
def test_the_arc_counts_as_free(tmp_path: Path, stats: str, more: int) -> None:
    assert read(tmp_path, {ARC: stats}) == Memory(AVAILABLE + more, ())


@pytest.mark.parametrize(
    ("meminfo", "why"),
    [
        pytest.param("MemTotal: 1 kB\n", "/proc/meminfo has no MemAvailable", id="not there"),
        pytest.param("MemAvailable: many kB\n", "/proc/meminfo has no MemAvailable", id="no number"),
        pytest.param(b"\xff: \xff kB\n: 1 kB\nMemAvailable:\n", "/proc/meminfo has no MemAvailable", id="no text"),
        pytest.param(None, "/proc/meminfo: Is a directory", id="no file"),
    ],
)
def test_unread(tmp_path: Path, meminfo: Content, why: str) -> None:
    assert read(tmp_path, {"/proc/meminfo": meminfo}) == Unread(why)


def node(number: int, free: int, **pages: str) -> dict[str, Content]:
    meminfo = f"Node {number} MemTotal:        8000000 kB\nNode {number} MemFree:         {free} kB\n"
    sizes = {f"{NODES}/node{number}/hugepages/hugepages-{size[1:]}kB/free_hugepages": text for size, text in pages.items()}
    return {f"{NODES}/node{number}/meminfo": meminfo, **sizes}


def test_huge_pages_by_node_and_size(tmp_path: Path) -> None:
    files = node(10, 1 << 21, _1048576="0\n") | node(2, 5000, _1048576="4\n", _2048="12\n")
    files[f"{NODES}/possible"] = "0-10\n"
    found = read(tmp_path, files)
    assert isinstance(found, Memory)
    assert found.hugepages == (HugePages(2, 2048, 12, 2), HugePages(2, 1048576, 4, 0), HugePages(10, 1048576, 0, 2))


def test_huge_pages_without_nodes(tmp_path: Path) -> None:
    files: dict[str, Content] = {"/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "5\n"}
    assert read(tmp_path, files) == Memory(AVAILABLE, (HugePages(0, 2048, 5, 3000000 // 2048),))


def test_what_is_no_size_or_has_vanished_is_left_out(tmp_path: Path) -> None:
    files: dict[str, Content] = {f"{NODES}/node0/hugepages/{name}": None for name in ("hugepages-2048kB", "hugepages-xkB")}
    files |= {f"{NODES}/nodeX": None, f"{NODES}/node0/hugepages/hugepages-0kB/free_hugepages": "3\n"}
    files |= {f"{NODES}/node0/hugepages/hugepages-64kB/free_hugepages": "3\n"}
    assert read(tmp_path, files) == Memory(AVAILABLE, (HugePages(0, 64, 3, 0),))
