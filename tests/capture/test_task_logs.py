"""Failed starts in a capture: `pvehooks why` finds the same causes, and nothing of the other tasks or of people is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pvehooks.capture import archive, collect, make
from pvehooks.capture.collect import _FAILED_STARTS
from pvehooks.capture.redact.homes import NamedInHomes
from pvehooks.causes.registry import Rank, diagnose
from pvehooks.facts.node import tasks
from pvehooks.host import Host
from tests.beds.commandline import pvehooks
from tests.beds.tasks import STARTED, TaskLog
from tests.beds.tree import make_fake_tree
from tests.capture.bed import KEY
from tests.causes.test_public import TEXTS, text

TREE = {"etc/pve/nodes/zagreus/qemu-server/100.conf": "name: payroll\nmemory: 512\n", "etc/hostname": "zagreus\n"}
PRIVATE = """\
/mnt/Fa-Huber/mount.sh: cannot mount //nas.huber-example.at/share, password=Geh3im!
storage 'huberstore' is not online
TASK ERROR: storage 'huberstore' is not online
"""


def captured(tree: Path, directory: Path, plain: bool = False) -> Path:
    """A capture of the tree, unpacked."""
    made = make.made(make.look(str(tree), "zagreus"), plain, KEY)
    directory.mkdir()
    things = sorted(made.things.items(), key=lambda each: each[0].split("/"))
    assert archive.extract_to((archive.Member(path, thing, 0) for path, thing in things), str(directory))
    return directory


def begun(log: TaskLog, vmid: int, started: int, user: str = "root@pam") -> str:
    """A start on the node of the tree."""
    upid = log.begin(vmid, started, user=user)
    named = upid.replace(":pve1:", ":zagreus:")
    log._active[named] = log._active.pop(upid)
    return named


@pytest.mark.parametrize("at", range(0, len(TEXTS), _FAILED_STARTS), ids=lambda at: TEXTS[at].stem)
def test_public_logs_have_the_same_cause_in_a_capture(at: int, tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", TREE)
    log = TaskLog(tree)
    some = TEXTS[at : at + _FAILED_STARTS]
    for number, path in enumerate(some):
        _, lines = text(path)
        task = "\n".join(line for line in lines.split("\n") if not line.startswith("kernel: "))
        log.end(begun(log, 100 + number, STARTED + number), f"{task.rstrip()}\nTASK ERROR: start failed\n")
    before, after = (_causes(Host(str(place))) for place in (tree, captured(tree, tmp_path / "capture")))
    assert len(before) == len(some)
    assert after == before


def test_only_a_line_feed_ends_a_line_of_the_index(tmp_path: Path) -> None:
    """A status may have a carriage return in it, which QEMU has printed."""
    tree = make_fake_tree(tmp_path / "tree", TREE)
    log = TaskLog(tree)
    log.end(begun(log, 100, STARTED), "TASK ERROR: start failed\n")
    index = tree / "var/log/pve/tasks/index"
    index.write_bytes(index.read_bytes().replace(b"start failed", b"start\rfailed"))
    path = "/var/log/pve/tasks/index"
    assert b"start\rfailed" in index.read_bytes()
    assert collect._content(path, index.read_bytes(), frozenset(), NamedInHomes({}), []) == index.read_bytes()


def _causes(host: Host) -> dict[int, str]:
    ended = tasks.ended(host)
    assert isinstance(ended, tuple)
    found = {}
    for task in tasks.starts_that_failed(ended):
        diagnoses = diagnose(tasks.failed_start(host, task, with_kernel=False))
        found[int(task.id)] = next((each.cause.id for each in diagnoses if each.cause.rank is not Rank.GENERAL), "")
    return found


def test_nothing_private_and_no_other_task_is_in_it(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", TREE)
    log = TaskLog(tree)
    log.failed(100, "backup of the secret project\nTASK ERROR: job of Huber failed\n", STARTED - 5, "vzdump")
    log.end(begun(log, 100, STARTED, "maria.huber@huber-ad"), PRIVATE)
    capture = captured(tree, tmp_path / "capture")
    everything = b"\n".join(str(path).encode() + path.read_bytes() for path in capture.rglob("*") if path.is_file()).lower()
    for word in (b"huber", b"maria", b"geh3im", b"zagreus", b"payroll", b"vzdump", b"secret project"):
        assert word not in everything, word
    done = pvehooks("why", "100", "--root", str(capture))
    assert done.status == 1, done.output
    assert "[storage-offline]" in done.output
    document = json.loads(pvehooks("why", "100", "--root", str(capture), "--json").output)
    assert document["started"] == STARTED


def test_of_a_long_log_the_end_without_numbers(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", TREE)
    log = TaskLog(tree)
    log.end(begun(log, 100, STARTED), "noise\n" * 100_000 + PRIVATE)
    before = pvehooks("why", "100", "--root", str(tree), "--json").output
    after = pvehooks("why", "100", "--root", str(captured(tree, tmp_path / "capture")), "--json").output
    assert [each["line"] for each in json.loads(after)["diagnoses"]] == [0]
    assert json.loads(before)["cause"] == json.loads(after)["cause"] == "storage-offline"


def test_a_plain_capture_has_the_log_as_it_is_without_secrets(tmp_path: Path) -> None:
    tree = make_fake_tree(tmp_path / "tree", TREE)
    log = TaskLog(tree)
    log.end(begun(log, 100, STARTED, "maria@pam"), PRIVATE)
    capture = captured(tree, tmp_path / "capture", plain=True)
    (path,) = (capture / "var/log/pve/tasks").glob("?/UPID*")
    assert path.read_text() == PRIVATE.replace("Geh3im!", "xxx0xx!")
    assert "maria@pam" in pvehooks("why", "100", "--root", str(capture)).output
