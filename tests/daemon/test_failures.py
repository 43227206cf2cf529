"""The daemon reports starts that failed: once, with the cause, and what closes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pvehooks.daemon.failures import FailedStartReporter
from pvehooks.host import Host
from pvehooks.journal.log import Log
from tests.beds.namespace import detach, mount
from tests.beds.tasks import STARTED, TaskLog
from tests.daemon.bed import NodeBed

NO_BRIDGE = """\
bridge 'vmbr9' does not exist
kvm: -netdev type=tap,id=net0,ifname=tap100i0: network script /usr/libexec/qemu-server/pve-bridge failed with status 512
TASK ERROR: start failed: QEMU exited with code 1
"""


@pytest.fixture
def tasks() -> Iterator[TaskLog]:
    mount("tmpfs", "/var/log", "tmpfs")
    yield TaskLog()
    detach("/var/log")


def test_a_failed_start_is_reported_once_with_its_cause(node: Callable[..., NodeBed], tasks: TaskLog) -> None:
    tasks.failed(100, NO_BRIDGE)
    bed = node({"100.conf": "name: web\nmemory: 512\n"}, "[watch]\ninterval = 3600\n")
    bed.start()
    upid = tasks.end(tasks.begin(100), NO_BRIDGE)
    # By inotify: the next poll is an hour away.
    (entry,) = bed.logged("start-failed", 100)
    assert entry["PRIORITY"] == "3"
    assert entry["PVEHOOKS_CAUSE"] == "bridge-not-there"
    assert entry["PVEHOOKS_UPID"] == upid
    assert entry["MESSAGE"] == (
        "VM 100 (web): its start failed: the bridge vmbr9 does not exist on this node [bridge-not-there]. See: pvehooks why 100"
    )
    tasks.end(tasks.begin(101), "generating cloud-init ISO\nTASK ERROR: received interrupt\n")
    upid = tasks.end(tasks.begin(100, int(time.time()) + 1), "TASK OK\n")
    (entry,) = bed.logged("start-works-again", 100)
    assert entry["PRIORITY"] == "6"
    assert entry["PVEHOOKS_UPID"] == upid
    bed.settle()
    assert len(bed.journal.entries("PVEHOOKS_EVENT=start-failed")) == 1


class Bed:
    """Looks at a tree, with what is reported."""

    def __init__(self, tree: Path) -> None:
        (tree / "etc/pve/nodes/pve1/qemu-server").mkdir(parents=True, exist_ok=True)
        (tree / "etc/pve/nodes/pve1/qemu-server/100.conf").write_text("name: web\nmemory: 512\n")
        self.tree = tree
        self.tasks = TaskLog(tree)
        self.anew()

    def anew(self) -> None:
        """Another daemon."""
        self.lines: list[str] = []
        self.failures = FailedStartReporter(Host(str(self.tree)), "pve1", Log("pve1", _Entries(self.lines), lambda: 0.0))  # type: ignore[arg-type]
        self.failures.report_ended_starts()

    def look(self) -> list[str]:
        """What is reported now."""
        del self.lines[:]
        self.failures.report_ended_starts()
        return list(self.lines)


class _Entries:
    """An output that keeps kind, VMID and cause of each entry."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def write(self, entry: object) -> None:
        fields = entry.fields  # type: ignore[attr-defined]
        self._lines.append(" ".join(str(fields.get(f"PVEHOOKS_{name}", "-")) for name in ("EVENT", "VMID", "CAUSE")))


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_what_failed_before_the_first_look_is_no_news(tmp_path: Path) -> None:
    TaskLog(tmp_path).failed(100, NO_BRIDGE)
    bed = Bed(tmp_path)
    assert bed.lines == []
    assert bed.look() == []


def test_a_start_that_works_closes_a_failure_and_nothing_else(bed: Bed) -> None:
    bed.tasks.failed(100, "TASK OK\n", STARTED)
    assert bed.look() == []
    bed.tasks.failed(100, NO_BRIDGE, STARTED + 10)
    assert bed.look() == ["start-failed 100 bridge-not-there"]
    assert bed.look() == []
    bed.tasks.failed(100, "TASK WARNINGS: 1\n", STARTED + 20)
    assert bed.look() == ["start-works-again 100 -"]
    bed.tasks.failed(100, "TASK OK\n", STARTED + 30)
    assert bed.look() == []


def test_each_failure_is_reported(bed: Bed) -> None:
    bed.tasks.failed(100, NO_BRIDGE, STARTED)
    bed.tasks.failed(100, "TASK ERROR: VM is locked (backup)\n", STARTED + 10)
    bed.tasks.failed(101, "TASK ERROR: words of another kind\n", STARTED + 10)
    assert bed.look() == ["start-failed 100 bridge-not-there", "start-failed 100 vm-locked", "start-failed 101 -"]


@pytest.mark.parametrize("status", ["TASK ERROR: received interrupt", "TASK ERROR: command 'x' failed: interrupted by signal", "cut short"])
def test_what_a_person_ended_is_no_failure(bed: Bed, status: str) -> None:
    bed.tasks.failed(100, f"{status}\n")
    assert bed.look() == []


def test_other_tasks_and_containers_are_not_reported(bed: Bed) -> None:
    for kind in ("vzdump", "vzstart", "qmshutdown", "qmigrate"):
        bed.tasks.failed(100, NO_BRIDGE, kind=kind)
    assert bed.look() == []


def test_a_restart_of_the_daemon_repeats_nothing_and_knows_what_is_open(bed: Bed) -> None:
    bed.tasks.failed(100, NO_BRIDGE, STARTED)
    assert len(bed.look()) == 1
    bed.anew()
    assert bed.lines == []
    bed.tasks.failed(100, "TASK OK\n", STARTED + 10)
    assert bed.look() == ["start-works-again 100 -"]


def test_a_rotated_index(bed: Bed) -> None:
    filler = 0
    while not (bed.tasks.directory / "index.1").exists():
        filler += 1
        bed.tasks.failed("", f"{'x' * 90}\nTASK OK\n", STARTED + filler, "aptupdate")
    assert bed.look() == []
    bed.tasks.failed(100, NO_BRIDGE, STARTED + filler + 1)
    assert bed.look() == ["start-failed 100 bridge-not-there"]


def test_an_index_that_was_filled_by_something_else(bed: Bed) -> None:
    for number in range(300):
        bed.tasks.failed(100 + number, NO_BRIDGE, STARTED + number)
    assert len(bed.look()) == 100


def test_hostile_words(bed: Bed) -> None:
    """Nothing of them reaches a terminal."""
    messages: list[str] = []

    class Messages:
        def write(self, entry: object) -> None:
            messages.append(entry.message)  # type: ignore[attr-defined]

    failures = FailedStartReporter(Host(str(bed.tree)), "pve1", Log("pve1", Messages(), lambda: 0.0))  # type: ignore[arg-type]
    failures.report_ended_starts()
    bed.tasks.failed(100, "bridge '\x1b[2J\u202e\udcff' does not exist\nTASK ERROR: start failed: QEMU exited with code 1\n")
    failures.report_ended_starts()
    (message,) = messages
    assert message.isprintable()


def test_no_tasks_and_a_broken_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "run/pvehooks").mkdir(parents=True)
    (tmp_path / "run/pvehooks/failed-starts.json").write_text('{"a": []}')
    bed = Bed(tmp_path)
    assert bed.look() == []
    (bed.tasks.directory / "index").mkdir()
    assert bed.look() == []
