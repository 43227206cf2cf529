"""A recording holds all that was asked and answered, the last answer to each question."""

from __future__ import annotations

import errno
import inspect
import os
from pathlib import Path

import pytest

from pvehooks.capture import collect, replay
from pvehooks.capture.record import RecordingHost
from pvehooks.capture.replay import CapturedHost
from pvehooks.host import Completed, Host
from tests.beds.tree import Link, make_fake_tree

# They ask others of Host, or nothing that a tree would have to answer.
NO_QUESTIONS = set(
    "read_text locate now monotonic sleep pid undisturbed make_private_dir remove_tree make_link real_output send start".split()
)


def tree(tmp_path: Path) -> Path:
    return make_fake_tree(
        tmp_path,
        {
            "sys/devices/a/one": "1\n",
            "sys/devices/a/empty/": None,
            "sys/class/a": Link("../devices/a"),
            "abs": Link("/sys/class"),
            "etc/file": "text\n",
            "dangling": Link("nowhere/at/all"),
        },
    )


def test_every_question_is_noted() -> None:
    """Whoever gives Host another way to read gives it to the recording, too."""
    public = {name for name, _ in inspect.getmembers(Host) if not name.startswith("_")}
    assert public - NO_QUESTIONS - set(vars(RecordingHost)) == set()


def test_what_is_on_the_way_is_noted(tmp_path: Path) -> None:
    host = RecordingHost(str(tree(tmp_path)))
    assert host.read("/abs/a/one") == b"1\n"
    things = host.recording.things
    assert {path: (thing.kind, thing.text) for path, thing in things.items()} == {
        "/": ("dir", ""),
        "/abs": ("link", "/sys/class"),
        "/sys": ("dir", ""),
        "/sys/class": ("dir", ""),
        "/sys/class/a": ("link", "../devices/a"),
        "/sys/devices": ("dir", ""),
        "/sys/devices/a": ("dir", ""),
        "/sys/devices/a/one": ("file", ""),
    }
    assert things["/sys/devices/a/one"].content == b"1\n"


def test_names_in_a_directory_are_there(tmp_path: Path) -> None:
    host = RecordingHost(str(tree(tmp_path)))
    host.names("/sys/devices/a")
    assert host.recording.things["/sys/devices/a/one"].content is None
    assert host.recording.things["/sys/devices/a/empty"].kind == "dir"
    assert not host.exists("/dangling")
    assert host.recording.things["/dangling"].kind == "link"
    assert "/nowhere" not in host.recording.things


def test_the_last_answer_counts(tmp_path: Path) -> None:
    root = tree(tmp_path)
    host = RecordingHost(str(root))
    host.read("/etc/file")
    (root / "etc/file").write_text("other")
    host.read("/etc/file", limit=2)
    assert host.recording.things["/etc/file"].content == b"oth"
    host.names("/sys/devices/a")
    (root / "sys/devices/a/one").unlink()
    host.names("/sys/devices/a")
    (root / "etc/file").unlink()
    with pytest.raises(FileNotFoundError):
        host.read("/etc/file")
    assert "/etc/file" not in host.recording.things
    assert "/sys/devices/a/one" not in host.recording.things
    (root / "etc/file").write_text("back")
    assert host.read("/etc/file") == b"back"
    assert host.recording.things["/etc/file"].content == b"back"


def test_the_longest_read_counts(tmp_path: Path) -> None:
    host = RecordingHost(str(tree(tmp_path)))
    host.read("/etc/file")
    host.read("/etc/file", limit=1)
    assert host.recording.things["/etc/file"].content == b"text\n"


def test_errors_are_noted() -> None:
    """Where reading fails but nothing is missing: here what the kernel gives nobody."""
    host = RecordingHost()
    with pytest.raises(OSError) as caught:
        host.read("/proc/self/mem")
    assert caught.value.errno == errno.EIO
    assert list(host.recording.errors.values()) == [errno.EIO]
    assert [key.split("/")[-1] for key in host.recording.errors] == ["mem"]


def test_nothing_is_written(tmp_path: Path) -> None:
    host = RecordingHost(str(tree(tmp_path)))
    for write in (
        lambda: host.replace("/x", b""),
        lambda: host.append("/x", b""),
        lambda: host.remove("/etc/file"),
        lambda: host.make_dir("/x"),
        lambda: host.write_attribute("/etc/file", "x"),
        lambda: host.lock("/x", 0),
        lambda: host.remove_dir("/sys/devices/a/empty"),
    ):
        with pytest.raises(OSError):
            write()
    assert not (tmp_path / "x").exists()
    assert (tmp_path / "etc/file").exists()


def test_access_lists_are_in_the_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only nodes have them: the answers are planted."""
    root = str(tree(tmp_path))
    monkeypatch.setattr(Host, "has_acl", lambda _, path: path == "/abs/a/one")
    host = RecordingHost(root)
    assert host.has_acl("/abs/a/one") and not host.has_acl("/etc/file")
    document = replay.document(host.recording, "pve1")
    again = CapturedHost(root, replay.CaptureMetadata(document))
    assert again.has_acl("/abs/a/one") and again.has_acl("/sys/devices/a/one") and not again.has_acl("/etc/file")


def test_commands_and_their_answers() -> None:
    host = RecordingHost()
    assert host.run(("/bin/echo", "hi"), 5.0) == Completed(0, "hi\n", "")
    assert host.recording.commands["/bin/echo", "hi"].done == Completed(0, "hi\n", "")


def test_open_devices_are_known_by_the_name_that_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the node a device that is open is known by its number, whatever the process calls it; in a tree by its name."""
    # Nobody needs to know who has this one open, but every container has it.
    monkeypatch.setattr(collect, "_COMMON", frozenset())
    with open("/dev/zero", "rb", buffering=0) as file:
        link = tmp_path / "alias"
        os.mknod(link, 0o600 | 0o020000, os.stat("/dev/zero").st_rdev)
        alias = os.open(link, os.O_RDONLY | os.O_NONBLOCK)
        try:
            host = RecordingHost()
            mine, first = f"/proc/{os.getpid()}/fd", file.fileno()
            host.device_number("/dev/zero")
            host.link_texts(mine)
            for name in (str(first), str(alias)):
                host.device_number(f"{mine}/{name}")
            assert host.recording.things[f"{mine}/{alias}"].text == str(link)
            things = collect.files_of(host.recording).things
        finally:
            os.close(alias)
    assert things[f"{mine}/{alias}"].text == things[f"{mine}/{first}"].text == "/dev/zero"
    assert all(thing.text.startswith("/dev/") for path, thing in things.items() if path.startswith(f"{mine}/"))


def test_a_captured_host_answers_all_questions() -> None:
    """What a tree answers otherwise than a node is answered from the capture's facts."""
    others = {
        "read",
        "read_end",
        "read_made",
        "names",
        "folders",
        "owner_and_mode",
        "attributes",
        "has_acl",
        "modified",
        "size",
        "link_text",
        "link_texts",
        "run",
        "now",
    }
    assert others <= set(vars(CapturedHost))
