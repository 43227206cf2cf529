"""What no tree can hold is told by a capture all the same: errors, answers of commands, the time."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pvehooks.capture import collect, make
from pvehooks.capture.record import Ran, RecordingHost, Thing
from pvehooks.capture.replay import CapturedHost, host_at
from pvehooks.facts.boot import grubdefaults
from pvehooks.host import CommandTrouble, Completed, Host
from tests.beds.tree import make_fake_tree
from tests.capture.bed import captured

GRUB = "/etc/default/grub"
# More than assignments: only a shell can tell, and a tree gets none.
TEXT = '# password=hunter2\nfor each in host=acmecorp; do GRUB_CMDLINE_LINUX_DEFAULT="quiet $each"; done\n'
ANSWER = Completed(0, "ready\nread 0\n" + "\0".join(("", "quiet host=acmecorp password=xyz", "0", "")), "")


class Node(RecordingHost):
    """A tree that answers commands as a node does."""

    def __init__(self, root: str, trouble: str = "") -> None:
        super().__init__(root)
        self.can_run = True
        self.trouble = trouble

    def run(self, argv: Sequence[str], timeout: float, env: Mapping[str, str] | None = None, given: bytes | None = None) -> Completed:
        words = tuple(argv)
        self.recording.commands[words] = Ran(words, None if self.trouble else ANSWER, self.trouble)
        if self.trouble:
            raise CommandTrouble(self.trouble)
        return ANSWER


def host_of(node: RecordingHost, plain: bool, directory: Path) -> CapturedHost:
    look = make.Look("pve1", node.recording, collect.LookResult((), ()))
    captured(look, plain, directory)
    host = host_at(str(directory / ("plain" if plain else "disguised")))
    assert isinstance(host, CapturedHost)
    return host


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "disguised"])
def test_answers_of_commands(plain: bool, tmp_path: Path) -> None:
    node = Node(str(make_fake_tree(tmp_path / "tree", {GRUB: TEXT, "etc/pve/nodes/pve1/x": ""})))
    values_read = grubdefaults.read(node)
    assert isinstance(values_read, dict) and values_read["GRUB_CMDLINE_LINUX_DEFAULT"] == "quiet host=acmecorp password=xyz"
    again = grubdefaults.read(host_of(node, plain, tmp_path))
    assert isinstance(again, dict)
    if plain:
        assert again["GRUB_CMDLINE_LINUX_DEFAULT"] == "quiet host=acmecorp password=xxx"
    else:
        assert again["GRUB_CMDLINE_LINUX_DEFAULT"].startswith("quiet host=") and "acmecorp" not in str(again)
    facts = (tmp_path / ("plain" if plain else "disguised") / "capture.json").read_text()
    assert "hunter2" not in facts and "xyz" not in facts
    assert not isinstance(grubdefaults.read(Host(str(tmp_path / "tree"))), dict), "a tree alone does not tell it"


def test_trouble_with_commands(tmp_path: Path) -> None:
    node = Node(str(make_fake_tree(tmp_path / "tree", {GRUB: TEXT})), "env did not end within 2 s and was killed")
    values_read = grubdefaults.read(node)
    assert grubdefaults.read(host_of(node, False, tmp_path)) == values_read
    assert "did not end" in str(values_read)


def test_errors(tmp_path: Path) -> None:
    node = RecordingHost(str(make_fake_tree(tmp_path / "tree", {"sys/a/file": "x", "sys/link-dir/x": ""})))
    node.read("/sys/a/file")
    node.names("/sys/link-dir")
    node.recording.errors = {"read /sys/a/file": errno.EIO, "list /sys/link-dir": errno.ENOTCONN}
    host = host_of(node, False, tmp_path)
    for read, number in (
        (host.read, errno.EIO),
        (host.read_made, errno.EIO),
        (lambda path: host.read_end(path, 1), errno.EIO),
        (host.read_text, errno.EIO),
    ):
        with pytest.raises(OSError) as caught:
            read("/sys/a/file")
        assert caught.value.errno == number
    for listing in (host.names, host.folders, host.link_texts):
        with pytest.raises(OSError) as caught:
            listing("/sys/link-dir")
        assert caught.value.errno == errno.ENOTCONN
    assert host.exists("/sys/a/file")


def test_time(tmp_path: Path) -> None:
    node = RecordingHost(str(make_fake_tree(tmp_path / "tree", {"etc/x": ""})))
    node.recording.time = 1_700_000_000.0
    node.recording.add("/etc", Thing("dir"))
    assert host_of(node, True, tmp_path).now() == 1_700_000_000.0
