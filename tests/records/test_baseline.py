"""The first look: stored once, small, and what it tells of a guest."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.errors import PmxcfsAway
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.records.baseline import Baseline, KnownGuest
from pvehooks.values import BaselineStatus, Dropped, GuestConfig


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Host:
    (tmp_path / "etc/pve/nodes/pve1/qemu-server").mkdir(parents=True)
    return Host(str(tmp_path))


def file(host: Host, node: str = "pve1") -> pathlib.Path:
    path = pathlib.Path(host.root) / f"etc/pve/pvehooks/first-look/{node}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def look(guests: dict[int, str], time: int = 1750000000, node: str = "pve1") -> Baseline:
    return Baseline(time, node, {vmid: KnownGuest(mark, time) for vmid, mark in guests.items()})


def test_the_first_look_is_stored_and_read(host: Host) -> None:
    assert baseline.read(host, "pve1") is None
    written = baseline.write(host, look({100: "0123abcd"}))
    assert written == look({100: "0123abcd"})
    assert baseline.read(host, "pve1") == written
    assert json.loads(file(host).read_bytes()) == {
        "version": 1,
        "time": 1750000000,
        "node": "pve1",
        "guests": {"100": "0123abcd"},
    }


def test_each_node_has_its_own(host: Host) -> None:
    """What was noted of a guest elsewhere counts, what was noted last first; since when the package is here does not depend on it."""
    baseline.write(host, look({100: "0123abcd", 102: "ffffffff"}))
    baseline.write(host, look({100: "ffffffff", 101: "ffffffff"}, 1760000000, "pve2"))
    assert baseline.read(host, "pve1") == Baseline(
        1750000000,
        "pve1",
        {100: KnownGuest("ffffffff", 1760000000), 101: KnownGuest("ffffffff", 1760000000), 102: KnownGuest("ffffffff", 1750000000)},
    )
    other = baseline.read(host, "pve2")
    assert other is not None and other.time == 1760000000 and len(other.guests) == 3
    assert baseline.read(host, "pve3") is None


def test_guests_may_have_been_noted_at_other_times(host: Host) -> None:
    written = look({100: "0123abcd"})._replace(guests={100: KnownGuest("0123abcd", 1750000000), 101: KnownGuest("ffffffff", 1740000000)})
    baseline.write(host, written)
    assert json.loads(file(host).read_bytes())["guests"] == {"100": "0123abcd", "101": ["ffffffff", 1740000000]}
    assert baseline.read(host, "pve1") == written


GOOD = '{"version":1,"time":5,"node":"a","guests":{"100":"0123abcd"}}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param(GOOD[:-5], id="half"),
        pytest.param("[1]", id="list"),
        pytest.param(GOOD.replace('"version":1,', ""), id="no version"),
        pytest.param(GOOD.replace("5", "-5"), id="before the epoch"),
        pytest.param(GOOD.replace("5", "true"), id="time true"),
        pytest.param(GOOD.replace("5", "1" + "0" * 20), id="time too big"),
        pytest.param(GOOD.replace('"a"', "null"), id="no node"),
        pytest.param(GOOD.replace('"a"', '"\\u001b"'), id="node of control characters"),
        pytest.param(GOOD.replace("100", "1x"), id="no vmid"),
        pytest.param(GOOD.replace("100", "0100"), id="vmid with a zero in front"),
        pytest.param(GOOD.replace("0123abcd", "0123ABCD"), id="no fingerprint"),
        pytest.param(GOOD.replace('"0123abcd"', '["0123abcd"]'), id="no time of its own"),
        pytest.param(GOOD.replace('"0123abcd"', '["0123abcd","5"]'), id="its own time is none"),
        pytest.param(GOOD.replace('{"100":"0123abcd"}', "[]"), id="guests a list"),
        pytest.param(GOOD + " " * (1 << 20), id="over a megabyte"),
    ],
)
def test_a_broken_first_look_counts_as_none(host: Host, content: str) -> None:
    file(host).write_text(GOOD)
    assert baseline.read(host, "pve1") is not None
    file(host).write_text(content)
    assert baseline.read(host, "pve1") is None
    baseline.write(host, look({}))
    assert baseline.read(host, "pve1") == look({})


@given(st.binary())
def test_any_bytes_are_a_first_look_or_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    host = Host(str(tmp_path_factory.getbasetemp() / "any"))
    host.make_dir("/etc/pve/nodes")
    file(host).write_bytes(content)
    assert baseline.read(host, "pve1") is None


def test_ten_thousand_guests_stay_far_below_the_limit_of_pmxcfs(host: Host) -> None:
    written = look({999990000 + number: f"{number:08x}" for number in range(10_000)})
    assert baseline.write(host, written) == written
    assert file(host).stat().st_size < 300_000
    assert baseline.read(host, "pve1") == written


def test_while_pmxcfs_is_away_the_look_is_not_stored(tmp_path: pathlib.Path) -> None:
    (tmp_path / "etc/pve").mkdir(parents=True)
    host = Host(str(tmp_path))
    with pytest.raises(PmxcfsAway):
        baseline.read(host, "pve1")
    written = baseline.write(host, look({100: "0123abcd"}))
    assert written == look({100: "0123abcd"})._replace(stored=False)
    assert os.listdir(tmp_path / "etc/pve") == []
    (tmp_path / "etc/pve/nodes").mkdir()
    assert baseline.write(host, written).stored


# -- what it tells of a guest -----------------------------------------------------------------------------------------

LOOK = look({100: "0123abcd"}, 1000)


@pytest.mark.parametrize(
    ("vmid", "ctime", "fingerprint", "untouched", "old"),
    [
        pytest.param(100, 999, "0123abcd", True, True, id="as it was"),
        pytest.param(100, None, "0123abcd", True, True, id="as it was, age unknown"),
        pytest.param(100, 999, "ffffffff", False, True, id="edited"),
        pytest.param(100, None, "ffffffff", False, True, id="edited, age unknown"),
        pytest.param(100, 1000, "0123abcd", True, True, id="made in that second, before the look"),
        pytest.param(101, 1000, "0123abcd", False, False, id="made in that second, after the look"),
        pytest.param(100, 1001, "ffffffff", False, False, id="another one under its VMID"),
        pytest.param(101, 999, "0123abcd", False, True, id="restored"),
        pytest.param(101, 1001, "0123abcd", False, False, id="new"),
        pytest.param(101, None, "0123abcd", False, False, id="new, age unknown"),
    ],
)
def test_baseline_status(vmid: int, ctime: int | None, fingerprint: str, untouched: bool, old: bool) -> None:
    assert LOOK.status(vmid, ctime, fingerprint) == BaselineStatus(untouched=untouched, old=old)


def test_one_that_was_noted_later_is_old_if_it_was_made_before_that() -> None:
    """It came from a node without the package."""
    came = LOOK._replace(guests={100: KnownGuest("0123abcd", 2000)})
    assert came.status(100, 1500, "0123abcd") == (True, True)
    assert came.status(100, 1500, "ffffffff") == (False, True)
    assert came.status(100, 2001, "ffffffff") == (False, False)


def test_a_stranger_is_new_and_not_untouched() -> None:
    assert baseline.NOT_IN_BASELINE == (False, False)


def _mark(
    main: dict[str, str | int], pending: dict[str, str | int] | dict[str, str], deleted: tuple[str, ...] = (), dropped: str = ""
) -> str:
    lost = (Dropped(1, "", dropped, "unknown"),) if dropped else ()
    return baseline.fingerprint(GuestConfig(main, dict(pending), dict.fromkeys(deleted, False), {}, {}, lost, "0" * 40))


MAIN: dict[str, str | int] = {"memory": "2048", "cores": 2, "net0": "virtio,bridge=vmbr0"}


@pytest.mark.parametrize(
    ("changed", "pending", "deleted"),
    [
        pytest.param({"memory": "4096"}, {}, (), id="live"),
        pytest.param({"tags": "a"}, {}, (), id="new option"),
        pytest.param({"cores": 20}, {}, (), id="number"),
        pytest.param({}, {"memory": "4096"}, (), id="pending"),
        pytest.param({}, {}, ("net0",), id="pending delete"),
    ],
)
def test_an_edit_changes_the_fingerprint(changed: dict[str, str | int], pending: dict[str, str | int], deleted: tuple[str, ...]) -> None:
    assert _mark({**MAIN, **changed}, pending, deleted) != _mark(MAIN, {})


@pytest.mark.parametrize(
    "name",
    [
        *("lock", "parent", "vmstate", "snaptime", "snapstate", "runningmachine", "runningcpu"),
        *("running-nets-host-mtu", "vmgenid", "digest", "snapshots"),
    ],
)
def test_what_pve_does_by_itself_does_not(name: str) -> None:
    assert _mark({**MAIN, name: "x"}, {}) == _mark(MAIN, {})


def test_applying_what_was_pending_does_not() -> None:
    pending = _mark(MAIN, {"memory": "4096"}, ("net0",))
    assert _mark({"cores": 2, "memory": "4096"}, {}) == pending


def test_the_order_of_options_does_not() -> None:
    assert _mark(dict(reversed(MAIN.items())), {}) == _mark(MAIN, {})


def test_what_the_parser_takes_makes_no_difference() -> None:
    """A CPU model that QEMU learns, or an option that we do: nobody edited the guest."""
    assert _mark({**MAIN, "cpu": "NewModel-v1"}, {}) == _mark(MAIN, {}, dropped="cpu: NewModel-v1")
    assert _mark(MAIN, {}, dropped="cpu: NewModel-v1") != _mark(MAIN, {})


def test_a_fingerprint_never_changes_between_versions() -> None:
    assert _mark(MAIN, {"bios": "ovmf"}, ("cores",)) == "482f8726"


@given(st.dictionaries(st.text(), st.one_of(st.integers(), st.text())), st.dictionaries(st.text(), st.text()))
def test_a_fingerprint_is_eight_hex_digits(main: dict[str, str | int], pending: dict[str, str | int]) -> None:
    assert baseline._FINGERPRINT.fullmatch(_mark(main, pending))
