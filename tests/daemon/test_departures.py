"""What is left of a guest that is gone: nothing, neither its record nor its lock's file; nor of interrupted writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.records import guests as records
from tests.daemon.bed import uefi
from tests.daemon.parts import GUESTS, Parts


def locks(parts: Parts) -> list[str]:
    return sorted(path.name for path in Path(parts.host.root, records.LOCKS[1:]).iterdir())


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    found = Parts(tmp_path, {100: uefi(), 101: uefi("mail")})
    for vmid in (100, 101, 102):
        with records.lock(found.host, vmid, 1.0):
            pass
    Path(found.host.root, records.LOCKS[1:], "stubs.lock").touch()
    return found


def test_a_guest_that_goes(parts: Parts) -> None:
    Path(parts.host.root, GUESTS, "100.conf").unlink()
    parts.departures.gone(100)
    assert locks(parts) == ["101.lock", "102.lock", "stubs.lock"]


def test_a_guest_that_is_on_another_node_now(parts: Parts) -> None:
    other = Path(parts.host.root, GUESTS.replace("pve1", "pve2"))
    other.mkdir(parents=True)
    Path(parts.host.root, GUESTS, "100.conf").rename(other / "100.conf")
    parts.departures.gone(100)
    assert "100.lock" in locks(parts)


def test_those_that_went_while_no_daemon_ran(parts: Parts) -> None:
    parts.departures.tidy(frozenset((100, 101)))
    assert locks(parts) == ["100.lock", "101.lock", "stubs.lock"]


def test_a_lock_that_another_process_holds_stays(parts: Parts) -> None:
    with records.lock(parts.host, 102, 1.0):
        parts.departures.tidy(frozenset((100, 101)))
        assert "102.lock" in locks(parts)


def test_what_is_left_of_interrupted_writes(parts: Parts) -> None:
    """Of this node's alone: another node may be writing."""
    root = Path(parts.host.root)
    other = root / GUESTS.replace("pve1", "pve2")
    other.mkdir(parents=True)
    (other / "200.conf").touch()
    (root / "proc/31").mkdir(parents=True)
    left = ("pvehooks/guests/101.json.tmp.30", "pvehooks/guests/102.json.tmp.30", "pvehooks/first-look/pve1.json.tmp.30")
    left += ("nodes/pve1/pvehooks.json.tmp.30", "nodes/pve1/pvehooks-summary.json.tmp.30")
    stays = ("pvehooks/guests/101.json.tmp.31", "pvehooks/guests/200.json.tmp.30", "pvehooks/first-look/pve2.json.tmp.30")
    stays += ("nodes/pve1/lrm_status.tmp.30", "nodes/pve2/pvehooks.json.tmp.30", "pvehooks/guests/x.tmp.30")
    for name in left + stays:
        file = root / "etc/pve" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    parts.departures.tidy(frozenset((100, 101)))
    assert [name for name in left + stays if (root / "etc/pve" / name).exists()] == list(stays)
