"""What the daemon writes to pmxcfs, which replicates and syncs each write on every node: counted, and each for a reason."""

from __future__ import annotations

import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from pvehooks.daemon.membership import Membership
from pvehooks.daemon.parts import Parts, make_parts
from pvehooks.daemon.publish.summary import Publisher
from pvehooks.daemon.results import ResultCollector
from pvehooks.daemon.review import Review, Why
from pvehooks.host import Host
from pvehooks.settings.load import built_in
from tests.beds.tree import make_fake_tree
from tests.daemon.bed import RNG0, uefi
from tests.daemon.parts import GUESTS, NODE, Kept

GIVEN = range(100, 300)
# Those that have one already, and those that need none.
HOLDING, OTHERS = range(300, 310), range(310, 400)


class Writes(Host):
    """A tree that counts what is written and removed below /etc/pve."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.counts: Counter[str] = Counter()

    def replace(self, path: str, *rest: Any, **more: Any) -> None:
        super().replace(path, *rest, **more)
        self._count(path)

    def remove(self, path: str, durable: bool = False) -> None:
        super().remove(path, durable)
        self._count(path)

    def _count(self, path: str) -> None:
        if path.startswith("/etc/pve/"):
            self.counts[re.sub(r"\d{3}", "VMID", path.removeprefix("/etc/pve/"))] += 1


class Daemon:
    """The daemon's steps on a node with these guests; jobs run."""

    def __init__(self, directory: Path) -> None:
        files = {f"{GUESTS}/{vmid}.conf": uefi(f"n{vmid}", RNG0 if vmid in HOLDING else "") for vmid in (*GIVEN, *HOLDING)}
        files |= {f"{GUESTS}/{vmid}.conf": f"name: n{vmid}\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\n" for vmid in OTHERS}
        root = make_fake_tree(directory, {GUESTS: None, "sys/class/net/vmbr0/bridge": None, **files})
        self.host = Writes(str(root))
        self.woken = threading.Event()
        self.parts: Parts = make_parts(self.host, NODE, built_in(), Kept(), self.woken.set)
        self.review = Review(self.parts)
        self.results = ResultCollector(self.parts)
        self.publisher = Publisher(self.host, NODE)

    def turn(self, vmids: range, why: Why = Why.CHANGED) -> Counter[str]:
        """The guests are reviewed, and all that follows is done; what was written."""
        self.host.counts.clear()
        self.parts.arrivals.note()
        self.review.review(vmids, why)
        while self.parts.queue.busy:
            assert self.woken.wait(20)
            self.woken.clear()
            changed, _ = self.results.collect()
            self.review.review(changed, Why.AFTER_JOB)
            self.publisher.publish(self.parts.stats, self.parts.settings.current)
        self.publisher.publish(self.parts.stats, self.parts.settings.current)
        self.parts.membership.all_reviewed()
        return self.host.counts.copy()


def test_what_injections_write(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    written = daemon.turn(range(100, 400))
    assert daemon.parts.stats.events["injected"] == len(GIVEN)
    assert written == {
        # PVE's own write, here by the writer of a tree.
        "nodes/pve1/qemu-server/VMID.conf": len(GIVEN),
        # Before the config, so that an rng0 of ours is known as such whatever happens; and after, so that one that an administrator takes
        # out is not given again. A guest that has one of the administrator's: once, for the same reason.
        "pvehooks/guests/VMID.json": 2 * len(GIVEN) + len(HOLDING),
        # The guests that were there before the package: once.
        "pvehooks/first-look/pve1.json": 1,
        # That this node has the package: once.
        "nodes/pve1/pvehooks.json": 1,
        # For the other nodes: once a minute, however much changes.
        "nodes/pve1/pvehooks-summary.json": 1,
    }


def test_nothing_is_written_where_nothing_is_done(tmp_path: Path) -> None:
    """A restart of the daemon writes nothing; no review does."""
    daemon = Daemon(tmp_path)
    daemon.turn(range(100, 400))
    assert daemon.turn(range(100, 400), Why.FORCED) == {}
    again = make_parts(daemon.host, NODE, built_in(), Kept(), lambda: None)
    daemon.host.counts.clear()
    again.arrivals.note()
    Review(again).review(range(100, 400))
    Membership(daemon.host, NODE, again.log).all_reviewed()
    assert daemon.host.counts == {}
