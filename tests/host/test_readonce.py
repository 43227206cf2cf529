"""A host whose files are read once: the first answer stays, for an error too, and a shorter question is answered from a longer one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.host.readonce import CachingHost, read_once
from tests.beds.tree import Link, make_fake_tree

CONFIG = "etc/pve/nodes/pve1/qemu-server/100.conf"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path, {"etc/file": "0123456789", CONFIG: "name: web\n", "proc/100/comm": "kvm\n"})


def test_the_first_answer_stays(root: Path) -> None:
    host = read_once(Host(str(root)))
    assert host.read_text("/etc/file") == "0123456789" and host.names("/etc") == ["file", "pve"]
    (root / "etc/file").unlink()
    assert host.read_text("/etc/file") == "0123456789" and host.names("/etc") == ["file", "pve"]
    assert not host.exists("/etc/file"), "that was not asked before"


def test_an_error_is_an_answer(root: Path) -> None:
    host = read_once(Host(str(root)))
    for _ in range(2):
        with pytest.raises(FileNotFoundError) as raised:
            host.read("/etc/other")
        with pytest.raises(NotADirectoryError):
            host.names("/etc/file")
        assert raised.value.filename == str(root / "etc/other")
        (root / "etc/other").touch()


def test_only_what_was_left_out_is_read_again(root: Path) -> None:
    host = read_once(Host(str(root)))
    assert host.read("/etc/file", limit=2) == b"012"
    assert host.read("/etc/file", limit=20) == b"0123456789"
    (root / "etc/file").write_text("other")
    assert host.read("/etc/file", limit=40) == b"0123456789" and host.read("/etc/file", limit=3) == b"0123"


@pytest.mark.parametrize(("path", "kept"), [(CONFIG, True), ("proc/100/comm", False)])
def test_what_there_is_many_of_is_kept_only_on_request(root: Path, path: str, kept: bool) -> None:
    host, keeping = read_once(Host(str(root))), read_once(Host(str(root)), configs=True)
    before = host.read(f"/{path}"), keeping.read(f"/{path}")
    (root / path).write_text("other")
    assert host.read(f"/{path}") == b"other"
    assert (keeping.read(f"/{path}") == before[1]) is kept


def test_any_host_is_read_once(root: Path) -> None:
    class Other(Host):
        """As that of a capture."""

        read_paths: tuple[str, ...] = ()

        def read(self, path: str, limit: int = 1 << 20) -> bytes:
            self.read_paths += (path,)
            return b"other"

    other = read_once(Other(str(root)))
    assert isinstance(other, CachingHost) and isinstance(other, Other)
    assert [other.read("/etc/file"), other.read_text("/etc/file")] == [b"other", "other"]
    assert other.read_paths == ("/etc/file",) and other.names("/etc") == ["file", "pve"]


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        *("/etc/file", "/etc/file/", "/etc//file", "/etc/./file", "/etc/../etc/file", "/etc/..", "/", "/etc", "/etc/none/such"),
        *("/etc/to-file", "/etc/to-directory", "/etc/to-directory/file", "/etc/to-directory/../file", "/etc/outside/file", "/etc/outside"),
        *("/etc/dangling", "/etc/dangling/x", "/etc/größe", "/etc/nul\0", "/etc/\udcff", "/etc/loop", "/etc/loop/x", "/nul\0/x"),
    ],
)
def test_a_path_is_where_it_is_in_the_tree(root: Path, path: str, follow: bool) -> None:
    """Also where another path of the same directory was asked for before."""
    links = {
        "to-file": "file",
        "to-directory": "/etc/pve",
        "outside": "../../../../etc",
        "dangling": "/none",
        "loop": "loop",
        "größe": "file",
    }
    make_fake_tree(root, {f"etc/{name}": Link(target) for name, target in links.items()})
    host = Host(str(root))
    once = read_once(host)
    for _ in range(2):
        assert where(once, path, follow) == where(host, path, follow)


def where(host: Host, path: str, follow: bool) -> str:
    try:
        return host.locate(path, follow)
    except OSError as error:
        return str(error)
