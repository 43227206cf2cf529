"""The tasks of a node and their logs: as PVE writes them, cut short, rotated, rewritten meanwhile, and endless."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pvehooks.causes import registry
from pvehooks.causes.registry import diagnose
from pvehooks.facts.node import tasks
from pvehooks.host import CommandTrouble, Completed, Host
from pvehooks.values import Unread
from pvehooks.values.tasks import Task
from tests.beds.tasks import STARTED, TaskLog, upid

FAILED = "bridge 'vmbr9' does not exist\nTASK ERROR: start failed: QEMU exited with code 1\n"


@pytest.fixture
def log(tmp_path: Path) -> TaskLog:
    return TaskLog(tmp_path)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path))


def ended(host: Host) -> tuple[Task, ...]:
    found = tasks.ended(host)
    assert not isinstance(found, Unread)
    return found


def test_a_task_as_pve_writes_it(log: TaskLog, host: Host) -> None:
    log.failed(100, FAILED)
    (task,) = ended(host)
    assert task == Task(upid(100), "pve1", "qmstart", "100", "root@pam", STARTED, STARTED + 2, "start failed: QEMU exited with code 1")
    assert task.failed
    assert not task.interrupted


@pytest.mark.parametrize(
    ("log_text", "failed", "interrupted"),
    [
        ("TASK OK\n", False, False),
        ("TASK WARNINGS: 2\n", False, False),
        ("TASK ERROR: received interrupt\n", True, True),
        ("TASK ERROR: x failed: interrupted by signal\n", True, True),
        ("generating cloud-init ISO\n", True, True),
        ("TASK ERROR: OK\n", False, False),
    ],
)
def test_how_it_ended(log_text: str, failed: bool, interrupted: bool, log: TaskLog, host: Host) -> None:
    log.failed(100, log_text)
    (task,) = ended(host)
    assert (task.failed, task.interrupted) == (failed, interrupted)


def test_running_tasks_and_broken_lines_are_left_out(log: TaskLog, host: Host) -> None:
    log.begin(101, STARTED)
    log.failed(100, FAILED)
    with (log.directory / "index").open("ab") as file:
        file.write(b"UPID:pve1:cut\n\xff\xfe\x00\n" + upid(102).encode() + b" 674B7B42")
    assert [task.id for task in ended(host)] == ["100"]


def test_nothing_there_is_no_task_and_an_error_is_one(host: Host, log: TaskLog) -> None:
    assert ended(host) == ()
    for name in ("active", "index", "index.1"):
        (log.directory / name).mkdir()
    assert tasks.ended(host) == Unread("/var/log/pve/tasks/index.1: Is a directory")


def test_the_last_start(log: TaskLog, host: Host) -> None:
    log.failed(100, FAILED, STARTED)
    log.failed(100, "TASK OK\n", STARTED + 10, "qmshutdown")
    log.failed(101, "TASK OK\n", STARTED + 20)
    log.failed(100, "TASK ERROR: received interrupt\n", STARTED + 30)
    log.failed("", FAILED, STARTED + 40)
    found = ended(host)
    last = tasks.last_start(found, 100)
    assert last is not None
    assert last.started == STARTED
    assert [task.id for task in tasks.starts_that_failed(found)] == ["100"]
    assert tasks.last_start(found, 105) is None


def test_rotated(log: TaskLog, host: Host) -> None:
    log.failed(100, FAILED, STARTED)
    (log.directory / "index").rename(log.directory / "index.1")
    (log.directory / "active").unlink()
    log.failed(101, FAILED, STARTED + 10)
    assert [task.id for task in ended(host)] == ["100", "101"]


def test_rotated_while_read(log: TaskLog, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """PVE renames the index between two of our reads: no task is missed."""
    log.failed(100, FAILED)
    (log.directory / "active").unlink()
    real = Host.read_end

    def read_end(self: Host, path: str, limit: int) -> tuple[int, bytes]:
        if path.endswith("/index") and (log.directory / "index").exists():
            (log.directory / "index").rename(log.directory / "index.1")
        return real(self, path, limit)

    monkeypatch.setattr(Host, "read_end", read_end)
    assert [task.id for task in ended(host)] == ["100"]


def test_an_index_that_is_not_rotated(log: TaskLog, host: Host) -> None:
    log.failed(100, FAILED)
    with (log.directory / "index").open("wb") as file:
        file.write(f"{upid(300, STARTED, 'aptupdate')} 674B7B42 {'x' * 500}\n".encode() * 5000)
        file.write(f"{upid(101)} 674B7B42 words\n".encode())
    assert [task.id for task in ended(host) if task.id != "300"] == ["100", "101"]


def test_of_a_long_log_the_end_is_read(log: TaskLog, host: Host) -> None:
    """A hundred megabytes, as a hookscript can print them: no more than its end comes into memory."""
    log.failed(100, FAILED)
    path = log.path(upid(100))
    with path.open("wb") as file:
        file.write(b"bridge 'first' does not exist\n")
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"noise\n" * 1000 + FAILED.encode())
    (task,) = ended(host)
    failure = tasks.failed_start(host, task)
    assert len(failure.lines) <= 500
    assert {line.number for line in failure.lines} == {0}
    assert next(each.evidence.text for each in diagnose(failure)) == "bridge 'vmbr9' does not exist"


def test_a_long_line_keeps_both_ends(log: TaskLog, host: Host) -> None:
    """Its status names QEMU's whole command line before it says why."""
    log.failed(100, f"TASK ERROR: start failed: command '/usr/bin/kvm {'-x ' * 5000}' failed: got timeout\n")
    (task,) = ended(host)
    (line,) = tasks.failed_start(host, task).lines
    assert len(line.text) < 1100
    assert line.text.startswith("TASK ERROR: start failed: command '/usr/bin/kvm")
    assert line.text.endswith("failed: got timeout")
    assert task.status.endswith("failed: got timeout")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x00", b"bridge 'vmbr9' does n"])
def test_cut_short(content: bytes, log: TaskLog, host: Host) -> None:
    """What is left of it, and else the words that PVE noted in its index."""
    log.failed(100, "TASK ERROR: VM is locked (backup)\n")
    log.path(upid(100)).write_bytes(content)
    (task,) = ended(host)
    failure = tasks.failed_start(host, task)
    assert failure.unread == ("the kernel's log is not part of what is looked at",)
    assert failure.lines


def test_one_endless_line(log: TaskLog, host: Host) -> None:
    log.failed(100, "TASK ERROR: VM is locked (backup)\n")
    log.path(upid(100)).write_bytes(b"x" * (1 << 20))
    (task,) = ended(host)
    (line,) = tasks.failed_start(host, task).lines
    assert (line.source, line.text) == ("index", "TASK ERROR: VM is locked (backup)")


def test_another_language(log: TaskLog, host: Host) -> None:
    """QEMU's and the kernel's words are English; a hookscript's need not be."""
    log.failed(100, "Datei oder Verzeichnis nicht gefunden: /mnt/größe\nTASK ERROR: 启动失败\n")
    (task,) = ended(host)
    failure = tasks.failed_start(host, task)
    assert diagnose(failure) == ()
    assert registry.sentence((), task) == "the cause is not known, it ended with: 启动失败"


def test_a_log_that_is_gone(log: TaskLog, host: Host) -> None:
    log.failed(100, "TASK ERROR: VM is locked (backup)\n")
    log.path(upid(100)).unlink()
    (task,) = ended(host)
    failure = tasks.failed_start(host, task)
    assert failure.unread[0] == f"{tasks.log_path(task)}: No such file or directory"
    (found,) = diagnose(failure)
    assert found.cause.id == "vm-locked"
    assert found.evidence.source == "index"


class Node(Host):
    """A tree whose commands answer."""

    def __init__(self, root: str, answer: Completed | CommandTrouble) -> None:
        super().__init__(root)
        self.can_run = True
        self.asked: list[str] = []
        self._answer = answer

    def run(self, argv: Sequence[str], timeout: float, env: object = None, given: object = None) -> Completed:
        self.asked = list(argv)
        if isinstance(self._answer, CommandTrouble):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (CommandTrouble("journalctl: not found"), "the kernel's log: journalctl: not found"),
        (Completed(1, "", "No journal files were found.\n"), "the kernel's log: No journal files were found."),
        (Completed(-9, "", ""), "the kernel's log: journalctl ended with -9"),
    ],
)
def test_a_kernel_log_that_cannot_be_read(answer: Completed | CommandTrouble, words: str, log: TaskLog, tmp_path: Path) -> None:
    log.failed(100, FAILED)
    node = Node(str(tmp_path), answer)
    (task,) = ended(node)
    failure = tasks.failed_start(node, task)
    assert failure.unread == (words,)
    assert diagnose(failure)[0].cause.id == "bridge-not-there"


def test_the_kernel_log_of_the_time_of_the_start(log: TaskLog, tmp_path: Path) -> None:
    log.failed(100, FAILED)
    words = "vfio-pci 0000:01:00.0: not ready 65535ms after FLR; giving up"
    node = Node(str(tmp_path), Completed(0, f"{words}\n", ""))
    (task,) = ended(node)
    failure = tasks.failed_start(node, task)
    assert [(line.source, line.text) for line in failure.lines if line.source == "kernel"] == [("kernel", words)]
    assert f"--since=@{STARTED - 2}" in node.asked
    assert f"--until=@{STARTED + 5}" in node.asked
    assert tasks.failed_start(node, task, with_kernel=False).unread == ()


def test_the_end_of_a_file(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    (tmp_path / "file").write_bytes(bytes(range(200)))
    assert host.read_end("/file", 50) == (150, bytes(range(150, 200)))
    assert host.read_end("/file", 500) == (0, bytes(range(200)))
    with pytest.raises(OSError) as raised:
        host.read_end("/nothing", 5)
    assert raised.value.errno == errno.ENOENT


def test_a_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    """The directories of the logs belong to www-data: root's files are not shown as what a start has logged."""
    (tmp_path / "secret").write_text("root:secret\n")
    (tmp_path / "link").symlink_to("secret")
    assert Host().read_end(str(tmp_path / "link"), 100) == (0, b"root:secret\n")
    os.lchown(tmp_path / "link", 33, 33)
    with pytest.raises(PermissionError, match="belongs to uid 33"):
        Host().read_end(str(tmp_path / "link"), 100)
    (tmp_path / "over").symlink_to("link")
    with pytest.raises(PermissionError):
        Host().read_end(str(tmp_path / "over"), 100)
