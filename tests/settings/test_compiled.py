"""The copy of the settings that the hookscript reads."""

from __future__ import annotations

import json
import pathlib

import pytest

from pvehooks.host import Host
from pvehooks.settings import compiled, load, table

TEXT = """\
[guard]
mode = audit
[rules]
group-not-clean = warning
[device 01:00.0]
after-stop = return
[device 144D:A808 serial S4EW]
return-to = nvme
reset = flr,bus
d3cold = no
before-start = rescan
[guest 100]
ignore = reset-unavailable: it has worked for years
[[guard]]
deadline = 30
"""


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    (tmp_path / "etc/pvehooks").mkdir(parents=True)
    (tmp_path / "etc/pvehooks/pvehooks.conf").write_text(TEXT)
    return Host(str(tmp_path))


@pytest.mark.parametrize("vmid", [100, 101])
def test_it_shows_what_the_files_report(host: Host, vmid: int) -> None:
    loaded = load.load(host)
    assert load.compile_to(host, loaded)
    assert not load.compile_to(host, loaded)
    copy = compiled.read(host, vmid)
    assert copy is not None and copy.is_current(host)
    assert copy.settings == loaded.start_settings(vmid)
    assert copy.settings.guard.deadline == (30 if vmid == 100 else 10)
    assert copy.settings.devices == (
        compiled.DeviceSettings("0000:01:00.0", after_stop="return"),
        compiled.DeviceSettings("144d:a808 serial S4EW", return_to="nvme", reset="flr,bus", d3cold="no", before_start="rescan"),
    )


def test_the_defaults_are_the_built_in_settings(tmp_path: pathlib.Path) -> None:
    assert load.load(Host(str(tmp_path))).start_settings(100) == compiled.StartSettings()


@pytest.mark.parametrize("where", [table.CLUSTER_FILE, table.NODE_FILE])
def test_another_source_counts_at_once(host: Host, where: str) -> None:
    load.compile_to(host, load.load(host))
    path = pathlib.Path(host.root + where)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT + "# a comment\n")
    copy = compiled.read(host, 100)
    assert copy is not None and not copy.is_current(host)
    path.unlink()
    copy = compiled.read(host, 100)
    assert copy is not None and copy.is_current(host) is (where == table.CLUSTER_FILE)


def test_a_source_that_cannot_be_read(host: Host) -> None:
    load.compile_to(host, load.load(host))
    (pathlib.Path(host.root) / "etc/pve/pvehooks/pvehooks.conf").mkdir(parents=True)
    copy = compiled.read(host, 100)
    assert copy is not None and not copy.is_current(host)


def test_a_file_that_changed_while_it_was_compiled(host: Host) -> None:
    """The copy tells of what was read, not of what is there when it is written."""
    loaded = load.load(host)
    (pathlib.Path(host.root) / "etc/pvehooks/pvehooks.conf").write_text("[guard]\nmode = off\n")
    load.compile_to(host, loaded)
    copy = compiled.read(host, 100)
    assert copy is not None and not copy.is_current(host)


def test_the_last_valid_settings_are_known_when_the_files_are_broken(host: Host) -> None:
    loaded = load.load(host)
    load.compile_to(host, loaded)
    (pathlib.Path(host.root) / "etc/pvehooks/pvehooks.conf").write_text("[guard\n")
    good = load.last_good(host)
    assert good is not None
    assert [good.start_settings(vmid) for vmid in (None, 100, 101)] == [loaded.start_settings(vmid) for vmid in (None, 100, 101)]
    (pathlib.Path(host.root + compiled.PATH)).write_text("{")
    assert load.last_good(host) is None


@pytest.mark.parametrize("change", ["version", "guard", "rules", "guests", "sources", "devices", "deadline", "whole", "bytes"])
def test_what_is_no_copy(host: Host, change: str) -> None:
    load.compile_to(host, load.load(host))
    path = pathlib.Path(host.root + compiled.PATH)
    document = json.loads(path.read_bytes())
    if change == "deadline":
        document["guests"]["100"]["guard"]["deadline"] = "soon"
    elif change in document:
        document[change] = 5
    path.write_bytes(b"\xff{" if change == "bytes" else b"[]" if change == "whole" else json.dumps(document).encode())
    assert compiled.read(host, 101 if change == "guard" else 100) is None
