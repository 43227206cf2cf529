"""In a large cluster other nodes change their guests all the time: what that costs here is counted, and bounded in time."""

from __future__ import annotations

import json
import selectors
from collections import Counter
from pathlib import Path

import pytest

from pvehooks.daemon.observer import Observer
from pvehooks.daemon.parts import make_parts
from pvehooks.daemon.schedule import Throttle
from pvehooks.daemon.watch import DATABASE, InotifyChanges, PmxcfsCounters, Watches
from pvehooks.host import Host
from pvehooks.settings.load import built_in
from tests.beds.pmxcfs.counters import Counters as Numbers
from tests.beds.pmxcfs.counters import Place
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import uefi
from tests.daemon.parts import GUESTS, NODE, Kept

OTHERS = [f"pve{number}" for number in range(2, 12)]


class Cluster(Host):
    """A node of a cluster, with a clock that moves as it reads; `asked` counts what is read below /etc/pve."""

    def __init__(self, directory: Path) -> None:
        files = {f"{GUESTS}/{vmid}.conf": uefi(f"n{vmid}") for vmid in (100, 101)}
        files |= {f"etc/pve/nodes/{node}/pvehooks.json": json.dumps({"version": "1"}) for node in OTHERS}
        super().__init__(str(make_fake_tree(directory, {**files, DATABASE[1:]: None})))
        self.seconds = 0.0
        self.asked: Counter[str] = Counter()
        self.numbers = Numbers(1)
        for vmid in (100, 101):
            self.numbers.guest_changed(vmid, Place(NODE, "qemu"))
        for vmid in range(1000, 1100):
            self.numbers.guest_changed(vmid, Place(OTHERS[vmid % len(OTHERS)], "qemu"))
        self.write()

    def write(self) -> None:
        """As pmxcfs' counters are now."""
        Path(self.root, "etc/pve/.version").write_text(self.numbers.version_text(NODE))
        Path(self.root, "etc/pve/.vmlist").write_text(self.numbers.vmlist_text())

    def others_change(self, vmid: int = 1000) -> None:
        """Another node edits a guest of its own."""
        self.numbers.guest_changed(vmid, Place(OTHERS[vmid % len(OTHERS)], "qemu"))
        self.write()

    def monotonic(self) -> float:
        return self.seconds

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        return self._counted(path, super().read(path, limit), 0.001)

    def read_made(self, path: str, limit: int = 1 << 20) -> bytes:
        return self._counted(path, super().read_made(path, limit), 0.01)

    def _counted(self, path: str, content: bytes, seconds: float) -> bytes:
        if path.startswith("/etc/pve/"):
            self.seconds += seconds
            self.asked[path.rpartition("/")[2]] += 1
        return content


@pytest.fixture
def host(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


# -- counters ---------------------------------------------------------------------------------------------------------


def test_changes_of_others_touch_no_guest_here(host: Cluster) -> None:
    counters = PmxcfsCounters(host, NODE)
    assert counters.poll().touched == {100, 101} and counters.count() == 2
    host.others_change()
    assert counters.poll().touched == frozenset()
    host.others_change()
    host.numbers.guest_changed(101, Place(NODE, "qemu"))
    host.write()
    assert counters.poll().touched == {101}
    host.numbers.guest_gone(100)
    host.write()
    assert counters.poll().gone == {100}


def test_a_guest_that_comes_is_known_with_its_node(host: Cluster) -> None:
    """Also one that was made since a guest of this node has changed."""
    counters = PmxcfsCounters(host, NODE)
    counters.poll()
    host.numbers.guest_changed(2000, Place("pve7", "qemu"))
    host.write()
    assert counters.poll().touched == frozenset() and counters.elsewhere[2000] == "pve7"
    host.numbers.guest_changed(2000, Place(NODE, "qemu"))
    host.write()
    seen = counters.poll()
    assert seen.came == {2000: "pve7"} and seen.touched == {2000}
    assert 2000 not in counters.elsewhere and len(counters.elsewhere) == 100


# -- the database's changes -------------------------------------------------------------------------------------------


def test_one_change_of_the_database_is_enough(host: Cluster) -> None:
    watches = Watches(host, NODE)
    wal = Path(host.root, DATABASE[1:], "config.db-wal")
    wal.write_text("1")
    assert watches.read().database_changed
    watches.mute_database()
    watches.read()
    for text in ("2", "3"):
        wal.write_text(text)
    with selectors.DefaultSelector() as selector:
        selector.register(watches.fileno(), selectors.EVENT_READ)
        assert selector.select(0) == [], "the loop is not woken up"
        Path(host.root, GUESTS, "100.conf").write_text(uefi("edited"))
        assert selector.select(0) != []
        assert watches.read() == InotifyChanges(guests=frozenset({100}))
        watches.unmute_database()
        wal.write_text("4")
        assert selector.select(0) != []
        assert watches.read() == InotifyChanges(database_changed=True)
    assert watches.watches_database
    watches.close()


# -- the pace ---------------------------------------------------------------------------------------------------------


def test_what_takes_long_is_done_seldom(host: Cluster) -> None:
    pace = Throttle(host.monotonic, share=0.02, most=10.0)
    for took, due in ((0.0, 0.0), (0.01, 0.5), (0.1, 5.0), (1.0, 10.0)):
        began = host.seconds = host.seconds + 100
        with pace:
            host.seconds += took
        assert pace.due == pytest.approx(began + took + due)


def test_a_cluster_that_never_rests(host: Cluster) -> None:
    """200 changes by others in ten seconds: the counters are read twice a second at most, what the other nodes have seldom."""
    with selectors.DefaultSelector() as selector:
        observer = Observer(make_parts(host, NODE, built_in(), Kept(), lambda: None), selector)
        observer.watch()
        observer.poll()
        wal = Path(host.root, DATABASE[1:], "config.db-wal")
        began, first = host.seconds, host.asked.copy()
        while host.seconds < began + 10.0:
            host.others_change()
            wal.write_text(str(host.seconds))
            observer.read_changes()
            if host.seconds >= observer.next_poll:
                observer.poll()
            host.seconds += 0.05
        found = host.asked - first
        observer.close()
    assert 15 <= found[".vmlist"] <= 2 * 20 + 2 and found[".version"] <= 2 * 20 + 4
    assert found["pvehooks.json"] <= 6 * len(OTHERS), "what the others have"
    assert found["100.conf"] == 0
    assert observer.next_poll <= host.seconds + 0.5
