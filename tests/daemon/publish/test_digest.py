"""The digest: once a week where it is switched on, whatever the clock does; what it says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from pvehooks.daemon.publish.digest import PATH, WEEK, Digest, describe
from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.host import Host
from pvehooks.journal import outbox
from pvehooks.journal.log import Log
from pvehooks.journal.output import Lines
from pvehooks.notify import message
from pvehooks.settings.load import load
from pvehooks.values import Severity, StartVerdict
from tests.beds.tree import make_fake_tree

BLOCK = CountedFinding("group-in-use-by-host", Severity.BLOCK, ignored=False, examined=True)
WARNING = CountedFinding("rng-missing-netboot", Severity.WARNING, ignored=False, examined=True)
GUEST = GuestStats("VM 100 (web)", running=True, blocked=False, passes_through=False, guarded=False, findings=())


class Clocked(Host):
    """A tree with clocks that tests set."""

    seconds = 1_800_000_000.0
    running = 1000.0

    def monotonic(self) -> float:
        """The clock that only goes on."""
        return self.running

    def now(self) -> float:
        """The time of day."""
        return self.seconds


class Bed:
    """A digest, and what it has logged."""

    def __init__(self, directory: Path, settings: str) -> None:
        self.host = Clocked(str(make_fake_tree(directory / "node", {"etc/pvehooks/pvehooks.conf": settings, "var/lib/pvehooks": None})))
        self.output = io.StringIO()
        self.stats = Stats()
        self.restart()

    def restart(self) -> None:
        """Another daemon."""
        self.digest = Digest(self.host, Log("pve1", Lines(self.output), self.host.monotonic))

    def after(self, seconds: float) -> int:
        """How many digests there are when so much time has passed."""
        self.host.seconds += seconds
        self.host.running += abs(seconds)
        self.digest.publish(self.stats, load(self.host))
        return len(self.output.getvalue().splitlines())


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path, "[notify]\ndigest = yes\n")


def test_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert Bed(tmp_path, "").after(2 * WEEK) == 0


def test_once_a_week(bed: Bed) -> None:
    assert bed.after(0) == 1, "at once, so that people see that it works"
    assert [bed.after(3600) for _ in range(int(WEEK / 3600) - 1)] == [1] * (int(WEEK / 3600) - 1)
    bed.restart()
    assert bed.after(600) == 1
    assert bed.after(3000) == 2


def test_a_clock_that_is_put_back(bed: Bed) -> None:
    assert bed.after(0) == 1
    assert bed.after(-100 * WEEK) == 2
    assert bed.after(3600) == 2


@pytest.mark.parametrize("content", ["", "soon\n", "9" * 400, "\udc80"])
def test_a_damaged_note(bed: Bed, content: str) -> None:
    (Path(bed.host.root) / PATH[1:]).write_text(content, errors="surrogateescape")
    assert bed.after(0) == 1
    assert bed.after(3600) == 1


def test_not_while_nothing_is_known_of_the_guests(bed: Bed) -> None:
    bed.stats.away = True
    assert bed.after(0) == 0


def test_a_node_that_takes_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Host, "replace", fail)
    assert bed.after(0) == bed.after(3600) == 0, "it would come at each look"


def test_what_it_shows() -> None:
    found = Stats()
    assert describe(found) == "0 VMs; nothing found"
    found.guests = {
        100: GUEST,
        101: GUEST._replace(label="VM 101 (gpu)", start=StartVerdict.WOULD_NOT, blocked=True, findings=(BLOCK, WARNING)),
        102: GUEST._replace(label="VM 102 (nas)", start=StartVerdict.MUST_NOT, why_unguarded="[guard] mode = audit", findings=(BLOCK,)),
        103: GUEST._replace(label="VM 103 (pxe)", findings=(WARNING, WARNING._replace(ignored=True), BLOCK._replace(examined=False))),
    }
    found.node = (WARNING,)
    assert describe(found) == (
        "4 VMs; must not start (nothing stops it: [guard] mode = audit): VM 102 (nas); would not start: VM 101 (gpu);"
        " of the VMs 4 findings (2 block, 2 warnings), see: pvehooks check; of the node itself 1 finding (1 warning), see: pvehooks host check"
    )


def test_it_is_a_message(bed: Bed) -> None:
    """As all that people get: its kind is an option of [notify]."""
    entry = json.dumps(
        {"event": "digest", "option": "digest", "priority": 6, "text": "4 VMs", "vmid": 0, "cause": "", "node": "pve1", "time": 1.0}
    )
    (Path(bed.host.root) / outbox.DIRECTORY[1:]).mkdir(parents=True)
    (Path(bed.host.root) / outbox.DIRECTORY[1:] / "1.json").write_text(entry)
    letter = outbox.read(bed.host, "1.json")
    assert letter is not None and message.is_wanted(letter, load(bed.host).notify)
    made = message.compose([letter])
    assert (made.subject, made.severity) == ("pvehooks on pve1: state of the week", "info")
