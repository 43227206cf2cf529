"""The node's clock is set while the daemon runs, or between two runs: nothing is lost, doubled, or waited for."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pvehooks.daemon.baseline import INSTALLATION_NOTE
from tests.daemon.bed import RNG0, NodeBed, uefi, wait_until
from tests.lint.source import PACKAGE, python_files

Make = Callable[..., NodeBed]
HOUR = 3600
JUMPS = (5 * HOUR, -5 * HOUR, 1000 * 24 * HOUR, -1000 * 24 * HOUR, 0)
AT_EACH_START = {"started", "stopped", "existing"}
# Who asks for the time of day, and why that is no interval.
WALL_CLOCK = {
    "daemon/baseline.py": "it is stored, and compared with a day after the next start; a clock that was set is noted at once",
    "daemon/loop.py": "it is shown",
    "daemon/observer.py": "it is shown",
    "daemon/publish/summary.py": "it is stored, and an hour's heartbeat begins by it once after a start",
    "daemon/publish/digest.py": "when the last one was left outlives the daemon; one from the future counts as long ago",
}


def new(vmid: int, ahead: float) -> str:
    """A guest that is made now, by the clock as it is set."""
    return uefi(f"n{vmid}").replace("ctime=4000000000", f"ctime={int(time.time() + ahead)}")


def test_it_is_set_while_the_daemon_runs(node: Make, tmp_path: Path) -> None:
    ahead = tmp_path / "ahead"
    ahead.write_text("0")
    program = ("tests.daemon.set_clock", str(ahead))
    bed = node({"130.conf": uefi("old", old=True)}, nodes=(), settings="[watch]\ninterval = 5\n")
    bed.start(watchdog=1.0, program=program)
    given = {}
    for vmid, jump in enumerate(JUMPS, 100):
        ahead.write_text(str(jump))
        given[vmid] = new(vmid, jump)
        bed.write(vmid, given[vmid])
        bed.wait_for_rng0(vmid)
        bed.settle()
        pings = len(bed.notify.values("WATCHDOG"))
        wait_until(lambda pings=pings: len(bed.notify.values("WATCHDOG")) > pings + 2, "the watchdog is kept quiet")
        wait_until(lambda jump=jump: abs(json.loads(Path(INSTALLATION_NOTE).read_text())["seen"] - time.time() - jump) < 60, "it is noted")
    for jump in JUMPS:
        bed.stop()
        ahead.write_text(str(jump))
        bed.start(watchdog=1.0, program=program)
        bed.settle()
    ahead.write_text(str(-2 * HOUR))
    given[200] = new(200, -2 * HOUR)
    bed.write(200, given[200])
    bed.wait_for_rng0(200)
    for vmid, text in given.items():
        # Proxmox VE sorts the lines.
        assert sorted(bed.read(vmid).splitlines()) == sorted((text + RNG0).splitlines())
        assert bed.sets(vmid) == 1 and len(list(Path("/var/lib/pvehooks/backups").glob(f"{vmid}-*"))) == 1
    assert "rng0" not in bed.read(130)
    logged = Counter(
        str(entry["MESSAGE"])
        for entry in bed.journal.entries("SYSLOG_IDENTIFIER=pvehooksd")
        if entry["PVEHOOKS_EVENT"] not in AT_EACH_START and "marker" not in entry["MESSAGE"]
    )
    assert {message for message, count in logged.items() if count > 1} == set()
    assert len(bed.logged("first-look")) == 1, "it was never away for long"


def test_no_interval_is_measured_by_the_time_of_day() -> None:
    """A new place that asks for it has to have a reason."""
    found = {str(path.relative_to(PACKAGE)) for path in python_files(PACKAGE / "daemon") if "host.now()" in path.read_text()}
    assert found == WALL_CLOCK.keys()
    assert not [path for path in python_files(PACKAGE) if "time.time()" in path.read_text() and path != PACKAGE / "host/__init__.py"]
