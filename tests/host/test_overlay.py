"""A host with other contents at some paths, and without others: the rest is as it is, whichever kind of host it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.host import Host
from pvehooks.host.overlay import overlaid
from pvehooks.host.readonce import read_once
from tests.beds.tree import make_fake_tree

FILES = {"proc/cmdline": "quiet\n", "lib/modules/1/modules.dep": "", "lib/modules/10/modules.dep": "x"}


@pytest.fixture(params=[Host, lambda root: read_once(Host(root)), lambda root: overlaid(Host(root), {}, ("/lib/modules/2",))])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    made: Host = request.param(str(make_fake_tree(tmp_path, FILES)))
    return made


def test_other_contents(host: Host) -> None:
    view = overlaid(host, {"/proc/cmdline": b"iommu=off\n"}, ())
    assert view.read_text("/proc/cmdline") == "iommu=off"
    assert view.read("/proc/cmdline", 1) == b"io"
    assert view.read_text("/lib/modules/10/modules.dep") == "x"
    assert host.read_text("/proc/cmdline") == "quiet"


def test_what_is_gone(host: Host) -> None:
    view = overlaid(host, {}, ("/lib/modules/1",))
    assert view.names("/lib/modules") == ["10"] and host.names("/lib/modules") == ["1", "10"]
    assert not view.is_dir("/lib/modules/1") and not view.exists("/lib/modules/1/modules.dep") and view.is_dir("/lib/modules/10")
    for ask in (view.read, view.names):
        with pytest.raises(FileNotFoundError):
            ask("/lib/modules/1")


def test_one_over_another(host: Host) -> None:
    view = overlaid(overlaid(host, {"/proc/cmdline": b"a"}, ("/lib/modules/1",)), {"/etc/new": b"b"}, ("/lib/modules/10",))
    assert view.read("/proc/cmdline") == b"a" and view.read("/etc/new") == b"b" and view.names("/lib/modules") == []
