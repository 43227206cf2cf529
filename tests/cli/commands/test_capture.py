"""The verb `capture`, and --root with a capture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pvehooks.capture.redact import secrets
from pvehooks.cli.main import main
from tests.beds import printed
from tests.beds.tree import make_fake_tree
from tests.capture import planted

NODE = planted.NODE


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path / "tree", planted.tree())


def made(tree: Path, *options: str) -> Path:
    file = tree.parent / "node.tar.xz"
    assert main(["capture", str(file), "--root", str(tree), "--node", NODE, *options]) == 0
    return file


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree, and a plain capture of it, that nobody changes."""
    tree = make_fake_tree(tmp_path_factory.mktemp("kept") / "tree", planted.tree())
    return tree, made(tree, "--plain")


def test_shows_what_it_did(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tree)
    output = capsys.readouterr()
    assert output.err == ""
    first, second, third = output.out.splitlines()
    assert first.startswith(f"{file}: ") and f" files of {NODE}, " in first
    assert "are replaced" in second
    assert third.endswith(f"pvehooks capture --list {file}")


def test_json(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tree, "--json")
    shown = capsys.readouterr().out
    printed.validate(["capture", "--json"], shown)
    document = json.loads(shown)
    assert (document["file"], document["node"], document["plain"], document["differences"]) == (str(file), NODE, False, [])
    assert document["node_in_capture"] != NODE and document["findings"] > 20
    assert document["bytes"] == file.stat().st_size


def test_list(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tree, "--plain")
    capsys.readouterr()
    assert main(["capture", "--list", str(file)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("A capture by pvehooks")
    assert f"{NODE}/qemu-server/100.conf" in output
    assert "     link /etc/pve/local -> nodes/" in output
    assert main(["capture", "--list", "--json", str(file)]) == 0
    shown = capsys.readouterr().out
    printed.validate(["capture", "--list", "--json"], shown)
    paths = {each["path"]: each for each in json.loads(shown)["entries"]}
    assert paths["/proc/cmdline"]["size"] > 0
    assert not [path for path in paths if "priv" in path]


def test_list_shows_no_control_characters(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / f"etc/pve/nodes/{NODE}/qemu-server/\x1b[31m.conf").write_text("")
    file = made(tree, "--plain")
    capsys.readouterr()
    assert main(["capture", "--list", str(file)]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("verb", [["check"], ["check", "100"], ["status"], ["host", "check"], ["host", "groups"], ["config"]])
def test_verbs_look_at_a_capture(verb: list[str], kept: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A plain capture is the tree to every verb that looks."""
    tree, file = kept
    capsys.readouterr()
    of_tree = main([*verb, "--root", str(tree), "--node", NODE]), capsys.readouterr()
    of_capture = main([*verb, "--root", str(file)]), capsys.readouterr()
    text = of_tree[1].out.replace("password=correcthorse", "password=xxxxxxxxxxxx")
    assert (of_capture[0], of_capture[1].out, of_capture[1].err) == (of_tree[0], text, of_tree[1].err)


def test_nothing_is_changed_in_a_capture(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tree)
    before = file.read_bytes()
    for verb in (["inject", "101"], ["attach", "101"], ["allow", "100", "--once", "--reason", "x"]):
        assert main([*verb, "--root", str(file)]) in (1, 3), verb
        assert f"{file} is a capture: nothing is changed in it" in capsys.readouterr().err, verb
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [
        ("/etc/pve/a.tar.xz", 2, "is below /etc/pve"),
        ("/etc/../etc/pve/sub/a.tar.xz", 2, "is below /etc/pve"),
        ("/dev/null", 2, "exists and is not a regular file"),
        ("/", 2, "exists and is not a regular file"),
        ("/no/such/place/a.tar.xz", 3, "there is no such directory"),
    ],
)
def test_where_it_must_not_be(file: str, status: int, message: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", file, "--root", str(tree), "--node", NODE]) == status
    assert message in capsys.readouterr().err


def test_link_to_pve(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("/etc/pve", tree.parent / "link")
    assert main(["capture", str(tree.parent / "link/a.tar.xz"), "--root", str(tree), "--node", NODE]) == 2
    assert "is below /etc/pve" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--plain",)])
def test_names_of_several_lines(options: tuple[str, ...], tree: Path) -> None:
    """Everybody may make such a file in /dev/shm; without a place in the table for it there was no capture."""
    name = "pve-shm-others\nname\x1b"
    (tree / "dev/shm").mkdir(parents=True, exist_ok=True)
    (tree / "dev/shm" / name).write_text("x")
    config = next((tree / "etc/pve/nodes").glob("*/qemu-server/100.conf"))
    config.write_text(f"ivshmem: size=1,name=others\n{config.read_text()}")
    made(tree, *options)
    assert secrets.is_private("/etc/pve/a\nb/priv/x") and secrets.is_private("/srv/a\nb/x.key")


def test_usage(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tree)
    capsys.readouterr()
    assert main(["capture", "--list", "--plain", str(file)]) == 2
    assert main(["capture", "x.tar.xz", "--root", str(file)]) == 2
    assert main(["capture", "--list", str(tree / "etc/hostname")]) == 3
    assert main(["capture", "--list", "/no/such/file"]) == 3
    output = capsys.readouterr().err
    assert "is a capture already" in output and "is no capture" in output and "/no/such/file: No such file or directory" in output


def test_broken_node(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be looked at is no reason for no capture: it is what captures are for."""
    (tree / "etc/pve/pvehooks/pvehooks.conf").write_text("[rng\n")
    (tree / "etc/pve/pvehooks/first-look").mkdir(parents=True)
    (tree / "etc/pve/pvehooks/first-look/pve1.json").write_text("{")
    file = made(tree)
    capsys.readouterr()
    assert main(["capture", "--list", str(file)]) == 0
    assert "/etc/pve/pvehooks/pvehooks.conf" in capsys.readouterr().out
    assert main(["config", "--root", str(file)]) == 2
