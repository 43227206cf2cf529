"""Captures come from strangers: nothing in one gets out of its directory, fills the disk, or stays behind."""

from __future__ import annotations

import io
import lzma
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.capture import archive, make
from pvehooks.capture.record import LARGEST
from pvehooks.capture.replay import CapturedHost, host_at
from pvehooks.cli import main
from pvehooks.errors import NodeError, Refused
from tests.beds.process import kill_on_failure
from tests.beds.tree import make_fake_tree
from tests.capture import planted
from tests.capture.bed import KEY, captured

FACTS = b'{"version": 1, "node": "a", "time": 1.0, "errors": {}, "attributes": {}, "modified": {}, "sizes": {}, "commands": []}'


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(content), link, mode
    return info, content


def made_by_hand(path: Path, *entries: tuple[tarfile.TarInfo, bytes], facts: bytes = FACTS) -> Path:
    """A capture with these in it."""
    with tarfile.open(path, "w:xz") as tar:
        for info, content in (entry(archive.TOP, kind=tarfile.DIRTYPE), entry(f"{archive.TOP}/capture.json", facts), *entries):
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(entry("../outside", b"x"), id="above"),
        pytest.param(entry(f"{archive.TOP}/../../outside", b"x"), id="above, within"),
        pytest.param(entry("/etc/outside", b"x"), id="absolute"),
        pytest.param(entry("elsewhere/file", b"x"), id="another top"),
        pytest.param(entry(f"{archive.TOP}/a/b", b"x"), id="no directory"),
        pytest.param(entry(f"{archive.TOP}/d", kind=tarfile.CHRTYPE), id="device"),
        pytest.param(entry(f"{archive.TOP}/d", kind=tarfile.BLKTYPE), id="block device"),
        pytest.param(entry(f"{archive.TOP}/f", kind=tarfile.FIFOTYPE), id="fifo"),
        pytest.param(entry(f"{archive.TOP}/h", kind=tarfile.LNKTYPE, link="/etc/passwd"), id="hard link"),
        pytest.param(entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE, link="../outside"), id="link above"),
        pytest.param(entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE, link="a/../../x"), id="link above, within"),
        pytest.param(entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE, link="./../.."), id="link to above"),
        pytest.param(entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE, link="/../outside"), id="absolute link to above"),
        pytest.param(entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE), id="link to nowhere"),
        pytest.param(entry(f"{archive.TOP}/capture.json", b"{}"), id="twice"),
        pytest.param(entry(f"{archive.TOP}/big", bytes(LARGEST + 1)), id="too large"),
        pytest.param(entry(f"{archive.TOP}/s", kind=tarfile.GNUTYPE_SPARSE), id="sparse"),
        pytest.param(entry(f"{archive.TOP}/{'n' * 5000}", b"x"), id="long name"),
    ],
)
def test_hostile_member(bad: tuple[tarfile.TarInfo, bytes], tmp_path: Path) -> None:
    (tmp_path / "into").mkdir()
    with pytest.raises(NodeError):
        archive.unpack(str(made_by_hand(tmp_path / "bad.tar.xz", bad)), str(tmp_path / "into"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.xz", "into"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    link = entry(f"{archive.TOP}/l", kind=tarfile.SYMTYPE, link=str(tmp_path / "target"))
    (tmp_path / "target").mkdir()
    (tmp_path / "into").mkdir()
    with pytest.raises(NodeError):
        archive.unpack(str(made_by_hand(tmp_path / "bad.tar.xz", link, entry(f"{archive.TOP}/l/x", b"x"))), str(tmp_path / "into"))
    assert list((tmp_path / "target").iterdir()) == []


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    """An absolute one begins at the tree's top; what it says is told all the same."""
    into = tmp_path / "into"
    into.mkdir()
    entries = (
        entry(f"{archive.TOP}/etc", kind=tarfile.DIRTYPE),
        entry(f"{archive.TOP}/etc/mine", b"inside"),
        entry(f"{archive.TOP}/etc/l", kind=tarfile.SYMTYPE, link="/etc/mine"),
        entry(f"{archive.TOP}/etc/r", kind=tarfile.SYMTYPE, link="../etc/./mine"),
    )
    archive.unpack(str(made_by_hand(tmp_path / "c.tar.xz", *entries)), str(into))
    for link in ("l", "r"):
        assert os.path.realpath(into / "etc" / link).startswith(str(into))
    host = host_at(str(into))
    assert host.read("/etc/l") == b"inside"
    assert host.link_text("/etc/l") == "/etc/mine"
    assert host.link_texts("/etc") == {"l": "/etc/mine", "r": "../etc/./mine"}


def test_modes(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    archive.unpack(str(made_by_hand(tmp_path / "c.tar.xz", entry(f"{archive.TOP}/s", b"x", mode=0o6777))), str(into))
    assert stat.S_IMODE((into / "s").stat().st_mode) == 0o700
    assert (into / "s").stat().st_uid == os.geteuid()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda raw: raw[: len(raw) // 2], "its end is missing"),
        (lambda raw: b"PK" + raw, "it is no xz file"),
        (lambda raw: b"", "it is no xz file"),
        (lambda raw: raw[:40] + bytes(20) + raw[60:], "Corrupt input data"),
        (lambda raw: lzma.compress(b"no tar at all" * 100), ""),
        (lambda raw: lzma.compress(lzma.decompress(raw)[:1500]), ""),
    ],
)
def test_damaged(spoil: Callable[[bytes], bytes], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made_by_hand(tmp_path / "c.tar.xz")
    file.write_bytes(spoil(file.read_bytes()))
    assert main.main(["check", "--root", str(file)]) == 3
    assert f"{file} is no capture that this pvehooks can read: {why}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "facts", [b"", b"[]", b"{}", b'{"version": 99}', b'{"version": 1}', b'{"version": 1, "node": 1, "time": []}', b"[" * 100000]
)
def test_damaged_facts(facts: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", "--root", str(made_by_hand(tmp_path / "c.tar.xz", facts=facts))]) == 3
    assert "is no capture that this pvehooks can read" in capsys.readouterr().err


def test_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to more than the largest node is not unpacked: neither in one stream, nor as many files."""
    monkeypatch.setattr(archive, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(archive, "MOST_THINGS", 50)
    (tmp_path / "bomb").write_bytes(lzma.compress(bytes(64 << 20)))
    with pytest.raises(NodeError, match="too large"):
        list(archive.members(str(tmp_path / "bomb")))
    many = [entry(f"{archive.TOP}/{number}") for number in range(60)]
    with pytest.raises(NodeError, match="too large"):
        list(archive.members(str(made_by_hand(tmp_path / "many.tar.xz", *many))))


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    look = make.look(str(make_fake_tree(tmp_path / "tree", planted.tree())), planted.NODE)
    made = captured(look, False, tmp_path).made
    (tmp_path / "file").write_bytes(make.packed(made))
    assert {member.path: member.thing for member in archive.members(str(tmp_path / "file"))} == {
        path: thing._replace(content=thing.content or b"") if thing.kind == "file" else thing for path, thing in made.things.items()
    }


def test_sealed(tmp_path: Path) -> None:
    """While it is looked at as a file, nothing is changed in it."""
    with archive.unpacked(str(made_by_hand(tmp_path / "c.tar.xz"))) as directory:
        assert stat.S_IMODE(Path(directory).stat().st_mode) == 0o700
        host = host_at(directory, "c.tar.xz")
        assert isinstance(host, CapturedHost)
        for write in (
            lambda: host.replace("/x", b""),
            lambda: host.remove("/x"),
            lambda: host.lock("/x", 0),
            lambda: host.append("/x", b""),
        ):
            with pytest.raises(Refused, match=r"c\.tar\.xz is a capture"):
                write()
    assert not Path(directory).exists()


LOOK = """
import sys, time
from pvehooks.capture import archive
with archive.unpacked(sys.argv[1]) as directory:
    print(directory, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays_behind(number: signal.Signals, tmp_path: Path) -> None:
    file = made_by_hand(tmp_path / "c.tar.xz")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    with kill_on_failure(
        subprocess.Popen(
            [sys.executable, "-c", LOOK, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        assert directory.parent == tmp_path and (directory / "capture.json").exists()
        process.send_signal(number)
        assert process.wait(120) != 0
    assert [path.name for path in tmp_path.iterdir()] == ["c.tar.xz"]


def test_a_file_is_whole_or_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_fake_tree(tmp_path / "tree", planted.tree())
    file = tmp_path / "c.tar.xz"
    file.write_text("former")
    os.chmod(file, 0o644)
    began = time.time()
    assert main.main(["capture", str(file), "--root", str(tree), "--node", planted.NODE]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.stat().st_mtime >= int(began)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("c.")] == ["c.tar.xz"]
    assert "attention" not in capsys.readouterr().err
    assert make.LOCAL in {member.path for member in archive.members(str(file))}
    assert KEY


@pytest.mark.parametrize("what", ["one file", "many files"])
def test_a_small_file_does_not_become_a_large_tree(what: str, tmp_path: Path) -> None:
    """30 KB of an archive kept the program busy for minutes, and took half a gigabyte of memory."""
    much = [entry(f"{archive.TOP}/{number}", bytes(LARGEST - 1024)) for number in range(4)]
    if what == "many files":
        much = [entry(f"{archive.TOP}/{number}") for number in range(40_000)]
    path = made_by_hand(tmp_path / "bomb.tar.xz", *much)
    assert path.stat().st_size < 200_000
    with pytest.raises(NodeError, match="too large when it is unpacked"):
        next(archive.members(str(path)))


def test_what_needs_much_memory_to_unpack(tmp_path: Path) -> None:
    """xz -9e with a dictionary of 512 MiB, which the header alone asks for."""
    path = tmp_path / "greedy.tar.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 512 << 20}]
    path.write_bytes(lzma.compress(b"x", lzma.FORMAT_XZ, filters=filters))
    with pytest.raises(NodeError, match="emory"):
        list(archive.members(str(path)))


def test_a_look_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MOST_SECONDS", 0.05)
    path = made_by_hand(tmp_path / "busy.tar.xz")
    with pytest.raises(NodeError, match="looking at it takes more than"), archive.unpacked(str(path)) as directory:  # noqa: PT012
        while True:
            os.stat(directory)
    assert not Path(directory).exists()
    assert signal.getsignal(signal.SIGPROF) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
