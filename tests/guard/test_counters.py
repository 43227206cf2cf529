"""Starts are counted by what became of them, and no count hinders one."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pvehooks.guard import counters
from pvehooks.host import Host
from tests.guard import bed
from tests.guard.bed import broken, iommu_unreadable

AUDIT = "[guard]\nmode = audit\n"


def counted(root: Path) -> dict[str, int]:
    return {outcome: number for outcome, number in counters.counts(Host(str(root))).items() if number}


@pytest.mark.parametrize(
    ("hostpci", "settings", "status", "outcomes"),
    [
        pytest.param("0000:01:00,pcie=1", "", 0, {"passed": 1}, id="passed"),
        pytest.param("0000:01:00,pcie=1", AUDIT, 0, {"passed": 1}, id="passed in audit"),
        pytest.param(bed.SHARED_WITH_PORT, "", 1, {"refused": 1}, id="refused"),
        pytest.param(bed.SHARED_WITH_PORT, AUDIT, 0, {"audited": 1}, id="audited"),
        pytest.param(bed.SHARED_WITH_PORT, "[guard]\nmode = off\n", 0, {}, id="off"),
    ],
)
def test_by_outcome(hostpci: str, settings: str, status: int, outcomes: dict[str, int], tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=hostpci)
    bed.settings(root, settings)
    assert bed.start(root).status == status
    assert counted(root) == outcomes


def test_allowed_by_an_override(tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    bed.pvehooks(root, "allow", "100", "--once", "--reason", "the bridge is empty")
    assert bed.start(root).status == 0
    assert bed.start(root).status == 1
    assert counted(root) == {"allowed": 1, "refused": 1}


def test_unexamined(tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    iommu_unreadable(root)
    assert bed.start(root).status == 1
    bed.settings(root, "[guard]\non_error = allow\n")
    assert bed.start(root).status == 0
    assert counted(root) == {"unexamined": 1, "unexamined-refused": 1}


@pytest.mark.parametrize(
    ("look", "outcome"),
    [
        ("os.kill(os.getpid(), 9)", "unexamined-refused"),
        ("send('settings', 1, 'allow'); time.sleep(30)", "unexamined"),
        ("send('verdict', 1); raise KeyError", "refused"),
        ("send('verdict', 0); send('binding'); send('verdict', 0); os.kill(os.getpid(), 9)", "passed"),
        ("send('verdict', 0); send('binding'); os.kill(os.getpid(), 9)", "refused"),
    ],
)
def test_looks_that_do_not_come_to_their_end(look: str, outcome: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    broken(root, look)
    assert counted(root) == {outcome: 1}


def test_many_at_once(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: counters.count(host, counters.PASSED), range(2000)))
    assert counters.counts(host)["passed"] == 2000


@pytest.mark.parametrize("obstacle", ["file", "fifo", "directory", "link"])
def test_no_count_hinders_a_start(obstacle: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path)
    place = root / "run/pvehooks/starts"
    place.parent.mkdir(parents=True)
    if obstacle == "file":
        place.touch()
    else:
        place.mkdir()
        path = place / "passed"
        {"fifo": os.mkfifo, "directory": os.mkdir, "link": lambda path: path.symlink_to("/proc/self/mem")}[obstacle](path)
    assert bed.start(root) == (0, "")
