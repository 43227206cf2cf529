"""The guard's hookscripts: their names, and how they are made and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pvehooks.actions import stubs
from pvehooks.errors import NodeError
from pvehooks.host import Host
from pvehooks.values.stubs import UnfitName, former_of, is_stub, name_for
from tests.beds.tree import make_fake_tree

GUESTS = "etc/pve/nodes/pve1/qemu-server"
SNIPPETS = "var/lib/vz/snippets"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/": None, "var/lib/vz/": None})))


def there(host: Host, directory: str = SNIPPETS) -> list[str]:
    path = Path(host.root, directory)
    return sorted(each.name for each in path.iterdir()) if path.is_dir() else []


@pytest.mark.parametrize(
    "former",
    ["", "local:snippets/hook.pl", "local:snippets/a+b+c", "st-or.e_2:snippets/-x", "Local:snippets/x@y=z", "a1:snippets/..."],
)
def test_names_report_what_they_run_first(former: str) -> None:
    for storage in ("local", "other-1"):
        volid = f"{storage}:snippets/{name_for(former)}"
        assert is_stub(volid)
        assert former_of(volid) == former


@pytest.mark.parametrize(
    "former",
    [
        "hook.pl",
        "local:hook.pl",
        "local:iso/hook.pl",
        "local:snippets/a/b",
        "local:snippets/a b",
        "local:snippets/ä",
        "local:snippets/a$(b)",
        "local:snippets/a\nb",
        "local:snippets/..",
        "local:snippets/.",
        "l:snippets/a",
        "lo+cal:snippets/a",
        f"local:snippets/{'a' * 235}",
        "local:snippets/pvehooks-guard",
        "local:snippets/pvehooks-guard-local+x",
    ],
)
def test_names_that_no_stub_can_have(former: str) -> None:
    with pytest.raises(UnfitName):
        name_for(former)


def test_the_longest_name() -> None:
    former = f"local:snippets/{'a' * 234}"
    assert len(name_for(former)) == 255
    assert former_of(f"local:snippets/{name_for(former)}") == former


@pytest.mark.parametrize("volid", ["", "local:snippets/pvehooks-guard-x", "local:iso/pvehooks-guard", "local:snippets/my-pvehooks-guard"])
def test_what_is_no_stub(volid: str) -> None:
    assert not is_stub(volid)
    assert former_of(volid) == ""


def test_made_once_and_renewed(host: Host) -> None:
    volid = stubs.volid_for(host, "pve1", "local:snippets/hook.pl")
    assert stubs.make(host, "pve1", volid)
    path = Path(host.root, SNIPPETS, "pvehooks-guard-local+hook.pl")
    assert path.read_bytes() == stubs.text()
    assert not stubs.make(host, "pve1", volid)
    harms: tuple[Callable[[], object], ...] = (lambda: path.write_text("#!/bin/sh\n# older\n"), lambda: path.chmod(0o644), path.unlink)
    for harm in harms:
        harm()
        assert stubs.make(host, "pve1", volid)
        assert (path.read_bytes(), path.stat().st_mode & 0o7777) == (stubs.text(), 0o755)
    assert there(host) == [path.name]


def test_whatever_the_umask(host: Host) -> None:
    before = os.umask(0o077)
    try:
        stubs.make(host, "pve1", "local:snippets/pvehooks-guard")
    finally:
        os.umask(before)
    assert Path(host.root, SNIPPETS, "pvehooks-guard").stat().st_mode & 0o7777 == 0o755


def test_local_comes_first(host: Host) -> None:
    files = {
        "etc/pve/storage.cfg": "dir: aaa\n\tpath /srv/a\n\tcontent snippets\n\ndir: mine\n\tpath /srv/m\n\tnodes pve1\n\nnfs: nas\n\tpath /mnt/nas\n",
        "srv/a/": None,
        "srv/m/": None,
    }
    make_fake_tree(host.root, files)
    assert stubs.volid_for(host, "pve1", "") == "local:snippets/pvehooks-guard"
    Path(host.root, "var/lib/vz").chmod(0o777)
    assert stubs.volid_for(host, "pve1", "") == "aaa:snippets/pvehooks-guard"
    Path(host.root, "srv/a").chmod(0o777)
    assert stubs.volid_for(host, "pve1", "") == "mine:snippets/pvehooks-guard"
    Path(host.root, "srv/m").chmod(0o777)
    with pytest.raises(NodeError, match="none is a local directory that only root can write"):
        stubs.volid_for(host, "pve1", "")


def test_keeps_all_that_the_cluster_names(host: Host) -> None:
    chained, other = "pvehooks-guard-local+hook.pl", "pvehooks-guard-nas+x.sh"
    files = {
        f"{GUESTS}/100.conf": "memory: 512\nhookscript: local:snippets/hook.pl\n",
        "etc/pve/nodes/pve2/qemu-server/200.conf": f"hookscript:   local:snippets/{chained}  \n",
        "etc/pve/nodes/pve3/qemu-server/300.conf": f"memory: 1\n\n[snap]\nhookscript: local:snippets/{other}\n",
        "etc/pve/nodes/pve3/qemu-server/301.conf": "#hookscript: local:snippets/pvehooks-guard-local+comment\n",
    }
    make_fake_tree(host.root, files)
    keeper = stubs.Keeper(host, "pve1")
    kept = keeper.update()
    assert there(host) == ["pvehooks-guard", chained, other]
    assert kept.troubles == ()
    assert kept.named[f"local:snippets/{chained}"] == ((200, "pve2"),)
    assert kept.named["local:snippets/hook.pl"] == ((100, "pve1"),)
    assert keeper.update().made == ()
    # Named no more, it stays: a backup may bring the name back. It is renewed as well.
    Path(host.root, "etc/pve/nodes/pve2/qemu-server/200.conf").unlink()
    Path(host.root, SNIPPETS, chained).write_text("#!/bin/sh\n# older\n")
    assert keeper.update().made == (f"local:snippets/{chained}",)
    assert Path(host.root, SNIPPETS, chained).read_bytes() == stubs.text()


def test_reports_what_it_cannot_make(host: Host) -> None:
    make_fake_tree(host.root, {f"{GUESTS}/100.conf": "hookscript: gone:snippets/pvehooks-guard\n"})
    (trouble,) = stubs.Keeper(host, "pve1").update().troubles
    assert trouble.startswith("gone:snippets/pvehooks-guard cannot be written")
    assert there(host) == ["pvehooks-guard"]


def test_a_node_without_the_place_needs_no_stub_until_one_is_named(tmp_path: Path) -> None:
    bare = Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/": None})))
    assert stubs.Keeper(bare, "pve1").update() == stubs.Kept((), (), {})
    assert not Path(bare.root, "var").exists()
    Path(bare.root, GUESTS, "100.conf").write_text("hookscript: local:snippets/pvehooks-guard\n")
    assert stubs.Keeper(bare, "pve1").update().made == ("local:snippets/pvehooks-guard",)


class ReadOnly(Host):
    """As the daemon sees directories that its service may not write to."""

    def make_dir(self, path: str, *arguments: object, **named: object) -> None:
        if not self.is_dir(path):
            raise OSError(30, "Read-only file system", path)

    def replace(self, path: str, *arguments: object, **named: object) -> None:
        raise OSError(30, "Read-only file system", path)


def test_why_the_daemon_cannot_write_there(host: Host) -> None:
    make_fake_tree(host.root, {"srv/tank/snippets/": None, "etc/pve/storage.cfg": "dir: tank\n\tpath /srv/tank\n\tcontent snippets\n"})
    sandboxed = ReadOnly(host.root)
    with pytest.raises(NodeError, match="cannot be written: there is no /var/lib/vz/snippets yet"):
        stubs.make(sandboxed, "pve1", "local:snippets/pvehooks-guard")
    with pytest.raises(NodeError) as failed:
        stubs.make(sandboxed, "pve1", "tank:snippets/pvehooks-guard")
    assert failed.value.hint.startswith(
        "Allow the daemon to write there: mkdir -p /etc/systemd/system/pvehooks.service.d &&"
        " printf '[Service]\\nReadWritePaths=/srv/tank/snippets\\n' >/etc/systemd/system/pvehooks.service.d/snippets.conf &&"
    )
    make_fake_tree(host.root, {f"{SNIPPETS}/": None})
    Path(host.root, SNIPPETS).chmod(0o777)
    with pytest.raises(NodeError) as failed:
        stubs.make(sandboxed, "pve1", stubs.volid_for(sandboxed, "pve1", ""))
    assert "let only root write to it: chmod go-w /var/lib/vz /var/lib/vz/snippets. Otherwise: Allow the daemon" in failed.value.hint
