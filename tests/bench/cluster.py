"""A node of a large cluster whose other nodes change their guests all the time: what that costs, and that its own changes are seen in time."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pvehooks import __version__
from tests.beds.process import kill_on_failure
from tests.bench.daemon import cpu_seconds, guests
from tests.bench.figures import Figure
from tests.daemon.bed import PROJECT, NodeBed, uefi

NODES = tuple(f"pve{number}" for number in range(2, 33))
HERE, GUESTS = 1000, 20000
A_SECOND, SECONDS = 50, 60.0
# Seconds between two changes of guests of this node.
OWN_PAUSE = 1.5

# The daemon, writing down each judgement with its time.
_NOTING = """
import sys, time
from pvehooks.daemon import main, review
log = open(sys.argv.pop(1), "a", buffering=1)
judge = review.judge
def judged(guest, *rest):
    print(guest.vmid, guest.digest, time.monotonic(), file=log)
    return judge(guest, *rest)
review.judge = judged
sys.exit(main.main())
"""


def elsewhere(count: int) -> dict[str, str | bytes]:
    """What the other nodes have: so many guests in all, the package, their baselines."""
    files: dict[str, str | bytes] = {}
    for number, node in enumerate(NODES):
        files[f"nodes/{node}/pvehooks.json"] = json.dumps({"version": __version__})
        files[f"pvehooks/first-look/{node}.json"] = json.dumps({"version": 1, "time": 1, "node": node, "guests": {}})
        for vmid in range(100_000 + number, 100_000 + count, len(NODES)):
            files[f"nodes/{node}/qemu-server/{vmid}.conf"] = uefi(f"n{vmid}", old=True)
    return files


def path_elsewhere(number: int) -> str:
    """The config of one of these guests."""
    return f"nodes/{NODES[number % len(NODES)]}/qemu-server/{100_000 + number}.conf"


def storm() -> Iterator[Figure]:
    """Other nodes' edits ring for a minute; meanwhile guests of this node are changed, here and by another node."""
    others = elsewhere(GUESTS - HERE)
    with (
        tempfile.TemporaryDirectory() as directory,
        NodeBed(Path(directory), guests(HERE), "[rng]\nmode = warn\n", others, NODES) as bed,
    ):
        log = Path(directory) / "log"
        log.touch()
        command = [sys.executable, "-c", _NOTING, str(log), "--node", "pve1"]
        environment = {**os.environ, **bed.notify.environment, "PATH": bed.qm.path, "PYTHONPATH": str(PROJECT)}
        with kill_on_failure(subprocess.Popen(command, env=environment, cwd="/")) as daemon:
            bed.notify.wait_for("READY", "1", timeout=120)
            time.sleep(2)
            spent, began = cpu_seconds(daemon.pid), time.monotonic()
            changed = _ring(bed, began)
            took = time.monotonic() - began
            spent = cpu_seconds(daemon.pid) - spent
            time.sleep(1.5)
            resident = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)
            daemon.terminate()
            daemon.wait(30)
        judged = {tuple(line.split()[:2]): float(line.split()[2]) for line in log.read_text().splitlines()}
    waited = [judged.get((str(vmid), digest), float("inf")) - at for vmid, digest, at in changed]
    words = f"{A_SECOND * took:.0f} edits by {len(NODES)} other nodes in {took:.0f} s, {GUESTS} guests in the cluster"
    yield Figure("a cluster that never rests: of a core", 100 * spent / took, 5, "%", words)
    yield Figure("own changes meanwhile, lost", float(sum(each == float("inf") for each in waited)), 0, "")
    yield Figure("own changes meanwhile, slowest", max(waited), 1, "s", f"{len(waited)} of them, median {statistics.median(waited):.2f} s")
    yield Figure(f"resident with {HERE} guests of {GUESTS}", resident, 45, "MB", f"after {took:.0f} s")


def _ring(bed: NodeBed, began: float) -> list[tuple[int, str, float]]:
    """Makes the changes; VMID, digest and time of those of this node's guests."""
    from pvehooks.values.digests import sha1

    changed: list[tuple[int, str, float]] = []
    edits = 0
    while edits < A_SECOND * SECONDS:
        bed.pve.remote_write(path_elsewhere(edits % (GUESTS - HERE)), uefi(f"edited{edits}", old=True))
        edits += 1
        if edits % int(A_SECOND * OWN_PAUSE) == 0:
            vmid = 100 + edits // int(A_SECOND * OWN_PAUSE)
            text = uefi(f"own{edits}", old=True)
            if vmid % 2:
                bed.write(vmid, text)
            else:
                bed.pve.remote_write(f"nodes/pve1/qemu-server/{vmid}.conf", text)
            changed.append((vmid, sha1(text.encode()).hex(), time.monotonic()))
        time.sleep(max(0.0, began + edits / A_SECOND - time.monotonic()))
    return changed
