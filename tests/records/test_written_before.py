"""What 0.1.0 wrote is read as it was meant: written-by-0.1.0 holds files of that version, read.json what it read in them itself."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Mapping

import pytest

from pvehooks.capture import archive, collect
from pvehooks.capture.replay import CapturedHost, host_at
from pvehooks.guard import counters
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.records import guests as records
from pvehooks.settings import compiled, load

WRITTEN = pathlib.Path(__file__).parent / "written-by-0.1.0"
READ = json.loads((WRITTEN / "read.json").read_bytes())


def plain(value: object) -> object:
    """A value as JSON has it, whatever its class is called."""
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return sorted(value) if isinstance(value, frozenset) else value


def of_then(now: object, then: object) -> object:
    """The value without what has come since then, which nobody has set."""
    if not (isinstance(now, dict) and isinstance(then, dict)):
        return now
    for name in now.keys() - then.keys():
        options = now[name] if isinstance(now[name], dict) and "origin" not in now[name] else {name: now[name]}
        for option in options.values():
            assert option in ("keep", [], {}) or option["origin"] == "built-in", f"{name} is set"
    return {name: of_then(value, then[name]) for name, value in now.items() if name in then}


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    shutil.copytree(WRITTEN / "tree", tmp_path / "tree")
    # git keeps no empty directories.
    (tmp_path / "tree/etc/pve/nodes").mkdir()
    return Host(str(tmp_path / "tree"))


@pytest.mark.parametrize("vmid", [100, 101])
def test_what_is_remembered_of_a_guest(host: Host, vmid: int) -> None:
    expected = READ["guests"][str(vmid)]
    identity = records.Identity(expected["identity"]["uuid"], expected["identity"]["ctime"])
    record = records.read(host, vmid, identity)
    assert record is not None and plain(record) == {"tag": None, **expected}, "what has come since then is not set"
    assert not records.write(host, vmid, record), "it would be written otherwise"


@pytest.mark.parametrize("node", ["pve1", "pve2"])
def test_which_guests_were_there_first(host: Host, node: str) -> None:
    assert plain(baseline.read(host, node)) == READ["baseline"][node]
    own = baseline.read_file(host, baseline.path(node))
    before = host.read(baseline.path(node))
    assert own is not None and baseline.write(host, own).stored
    assert host.read(baseline.path(node)) == before, "it would be written otherwise"


def test_how_starts_ended(host: Host) -> None:
    assert counters.counts(host) == READ["starts"]
    counters.count(host, counters.PASSED)
    assert counters.counts(host)[counters.PASSED] == READ["starts"]["passed"] + 1


def test_settings(host: Host) -> None:
    loaded = load.load(host)
    assert of_then(loaded.as_json(), READ["settings"]) == READ["settings"]
    for vmid, then in READ["at start"].items():
        assert of_then(plain(loaded.start_settings(int(vmid))), then) == then


@pytest.mark.parametrize("vmid", [100, 101, 102])
def test_the_compiled_settings(host: Host, vmid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "__version__", "0.1.0")
    copy = compiled.read(host, vmid)
    assert copy is not None and copy.is_current(host)
    assert of_then(plain(copy.settings), READ["at start"][str(vmid)]) == READ["at start"][str(vmid)]
    load.compile_to(host, load.load(host))
    assert compiled.read(host, vmid) == copy, "it would be written otherwise"


@pytest.mark.parametrize("kind", ["plain", "disguised"])
def test_a_capture(kind: str, tmp_path: pathlib.Path) -> None:
    archive.unpack(str(WRITTEN / f"capture-{kind}.tar.xz"), str(tmp_path))
    host = host_at(str(tmp_path))
    expected = READ["captures"][kind]
    assert isinstance(host, CapturedHost) and host.facts.node == expected["node"] and host.now() == expected["time"]
    seen = collect.at_everything(host, expected["node"])
    assert len(seen.troubles) == expected["troubles"], seen.troubles
    found = Counter((vmid, finding.rule) for vmid, finding in seen.findings)
    assert Counter((vmid, rule) for vmid, rule in expected["findings"]) <= found
