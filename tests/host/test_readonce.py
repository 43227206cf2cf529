"""A host whose files are read once: the first answer stays, for an error too, and a shorter question is answered from a longer one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.host.readonce import ReadOnce, read_once
from tests.beds.tree import make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path, {"etc/file": "0123456789", CONFIG: "name: web\n", "proc/100/comm": "kvm\n"})


def test_the_first_answer_stays(root: Path) -> None:
    host = ReadOnce(str(root))
    assert host.read_text("/etc/file") == "0123456789" and host.names("/etc") == ["file", "pve"]
    (root / "etc/file").unlink()
    assert host.read_text("/etc/file") == "0123456789" and host.names("/etc") == ["file", "pve"]
    assert not host.exists("/etc/file"), "that was not asked before"


def test_an_error_is_an_answer(root: Path) -> None:
    host = ReadOnce(str(root))
    for _ in range(2):
        with pytest.raises(FileNotFoundError) as raised:
            host.read("/etc/other")
        with pytest.raises(NotADirectoryError):
            host.names("/etc/file")
        assert raised.value.filename == str(root / "etc/other")
        (root / "etc/other").touch()


def test_only_what_was_left_out_is_read_again(root: Path) -> None:
    host = ReadOnce(str(root))
    assert host.read("/etc/file", limit=2) == b"012"
    assert host.read("/etc/file", limit=20) == b"0123456789"
    (root / "etc/file").write_text("other")
    assert host.read("/etc/file", limit=40) == b"0123456789" and host.read("/etc/file", limit=3) == b"0123"


@pytest.mark.parametrize("path", [CONFIG, "proc/100/comm"])
def test_what_there_is_many_of_is_not_kept(root: Path, path: str) -> None:
    host = ReadOnce(str(root))
    host.read(f"/{path}")
    assert host.exists(f"/{path}")
    (root / path).write_text("other")
    assert host.read_text(f"/{path}") == "other" and host.answers == {}


def test_a_host_with_answers_of_its_own_stays_as_it_is(root: Path) -> None:
    class Other(Host):
        """As that of a capture."""

    other = Other(str(root))
    assert read_once(other) is other
    assert isinstance(read_once(Host(str(root))), ReadOnce)
