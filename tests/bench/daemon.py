"""Figures of the daemon beside their references; run by scripts/bench, never by the tests."""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pvehooks.daemon.loop import Daemon
from pvehooks.facts.cluster import nodes as node
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.journal.entries import Entry
from pvehooks.journal.output import Lines
from pvehooks.rules import catalogue
from pvehooks.settings.load import checked
from tests.beds.pmxcfs import Pmxcfs
from tests.beds.process import kill_on_failure
from tests.bench.figures import Figure
from tests.daemon.bed import PROJECT, NodeBed, network, uefi, wait_until

SCANNED = 5000
TIMES = 5
WATCHED = 1000
BURST, BURST_SECONDS = 1000, 10.0
IDLE_SECONDS = 30.0


class Silence(Lines):
    """An output that writes nothing."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def write(self, entry: Entry) -> None:
        """Nothing."""


def guests(count: int) -> dict[str, str | bytes]:
    """Configs of every kind: UEFI with and without rng0, SeaBIOS, one in forty with passthrough, with a snapshot."""
    more = ("rng0: source=/dev/urandom\n", "", "", "\n[before]\nmemory: 1024\nsnaptime: 1700000000\n")
    passed = "hostpci0: 0000:01:00.0,pcie=1\n"
    return {
        f"{vmid}.conf": uefi(f"n{vmid}", passed if vmid % 40 == 2 else more[vmid % 4], old=True).replace(
            "ovmf", "ovmf" if vmid % 3 else "seabios"
        )
        for vmid in range(100, 100 + count)
    }


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scan() -> Iterator[Figure]:
    """The start-up scan against loops over the same files that read them as any program would, as the daemon does, and that parse them too."""
    files = {f"nodes/pve1/qemu-server/{name}": text for name, text in guests(SCANNED).items()}
    with Pmxcfs(files=files), network():
        host = Host()
        paths = [node.config_path("pve1", vmid) for vmid in node.guest_ids(host, "pve1")]

        def opening() -> None:
            for path in paths:
                with open(path, "rb") as file:
                    file.read()

        def reading() -> None:
            for path in paths:
                host.read(path)

        def parsing() -> None:
            for path in paths:
                guestconfig.parse(host.read(path))

        def ours() -> None:
            daemon = Daemon(host, "pve1", checked(host, catalogue.RULES), Silence())
            daemon.parts.arrivals.note()
            daemon.review.review(node.guest_ids(host, "pve1"))

        ours()
        taken = [tuple(map(_timed, (ours, opening, reading, parsing))) for _ in range(7)]
    mine, opened, read, parsed = (statistics.median(column) for column in zip(*taken, strict=True))
    by_open, by_read, by_parsing = (statistics.median(row[0] / row[reference] for row in taken) for reference in (1, 2, 3))
    yield Figure(
        f"start-up scan of {SCANNED} configs", by_open, 1.5, "times only open() and read()", f"{mine:.2f} s; that alone {opened:.2f} s"
    )
    yield Figure("beside only reading them as the daemon does", by_read, 2.8, "times", f"{read:.2f} s")
    yield Figure("beside reading and parsing them", by_parsing, 2.3, "times", f"{parsed:.2f} s")


def restart() -> Iterator[Figure]:
    """The whole start of a daemon that ran before on the same guests, in processor time until it is READY."""
    taken = {count: _start_again(count) for count in (0, WATCHED, SCANNED)}
    words = ", ".join(f"{count} guests {seconds:.2f} s" for count, seconds in taken.items())
    each = 1e6 * (taken[SCANNED] - taken[0]) / SCANNED
    yield Figure(f"restart with {WATCHED} guests", taken[WATCHED] / taken[0], 4, "times one without guests", words)
    yield Figure(f"restart with {SCANNED} guests, for each", each, 250, "us CPU", words)


def _start_again(count: int) -> float:
    """Seconds of CPU."""
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), guests(count), settings="[rng]\nmode = warn\n") as bed:
        spent = []
        for _ in range(1 + TIMES):
            began = time.monotonic()
            bed.start(ready=False)
            assert bed.daemon is not None
            bed.notify.wait_for("READY", "1", after=began, timeout=60)
            spent.append(cpu_seconds(bed.daemon.pid))
            bed.stop()
    return statistics.median(spent[1:])


# The daemon, writing down each judgement ("judge VMID DIGEST") and each time it wakes up ("wake").
_COUNTING = """
import sys
from pvehooks.daemon import loop, main, review
log = open(sys.argv.pop(1), "a", buffering=1)
judge, wait = review.judge, loop.Daemon._wait
def judged(guest, *rest):
    print("judge", guest.vmid, guest.digest, file=log)
    return judge(guest, *rest)
def woken(self):
    wait(self)
    print("wake", file=log)
review.judge, loop.Daemon._wait = judged, woken
sys.exit(main.main())
"""


@contextmanager
def _counted(bed: NodeBed, log: Path, **options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon that counts, once it is READY."""
    log.touch()
    # As systemd starts it: without an argument, on a node of that name.
    named = ["unshare", "--uts", "sh", "-c", 'echo pve1 >/proc/sys/kernel/hostname; exec "$@"', "sh"]
    command = [*named, sys.executable, "-c", _COUNTING, str(log)]
    environment = {**os.environ, **bed.notify.environment, "PATH": bed.qm.path, "PYTHONPATH": str(PROJECT), **options}
    with kill_on_failure(subprocess.Popen(command, env=environment, cwd="/")) as daemon:
        bed.notify.wait_for("READY", "1")
        yield daemon
        daemon.terminate()


def _counts(log: Path, kind: str) -> Counter[str]:
    return Counter(line for line in log.read_text().splitlines() if line.startswith(kind))


def burst() -> Iterator[Figure]:
    """Many configs written in a short time: each is judged, none twice for the same content, none lost."""
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), settings="[rng]\nmode = warn\n") as bed:
        log = Path(directory) / "log"
        with _counted(bed, log):
            began = time.monotonic()
            for number in range(BURST):
                bed.write(100 + number, uefi(f"n{number}"))
                time.sleep(max(0.0, began + (number + 1) * BURST_SECONDS / BURST - time.monotonic()))
            took = time.monotonic() - began
            wait_until(lambda: len(_counts(log, "judge")) >= BURST, "all judged", 10)
            time.sleep(1)
        counts = _counts(log, "judge")
    again = sum(count - 1 for count in counts.values())
    yield Figure(f"of {BURST} configs written in {took:.1f} s, not judged", float(BURST - len(counts)), 0, "")
    yield Figure("judged twice for the same content", float(again), 0, "")


def idle() -> Iterator[Figure]:
    """Memory, processor and wake-ups of a daemon with nothing to do."""
    imports = "import pyinotify, systemd.daemon, systemd.journal, configobj, json, subprocess, argparse, os"
    try_imports = f"{imports}; print(open('/proc/self/status').read())"
    reference = _resident(subprocess.run([sys.executable, "-c", try_imports], capture_output=True, text=True, check=True).stdout)
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), guests(WATCHED), settings="[watch]\ninterval = 10\n") as bed:
        log = Path(directory) / "log"
        with _counted(bed, log, WATCHDOG_USEC="10000000") as daemon:
            time.sleep(1)
            before, woken = cpu_seconds(daemon.pid), _counts(log, "wake").total()
            time.sleep(IDLE_SECONDS)
            spent, wakes = cpu_seconds(daemon.pid) - before, _counts(log, "wake").total() - woken
            resident = _resident(Path(f"/proc/{daemon.pid}/status").read_text())
    # Every 10 s the timer, every 5 s the watchdog; one more of each for where the window begins.
    expected = IDLE_SECONDS / 10 + IDLE_SECONDS / 5 + 2
    yield Figure(f"resident with {WATCHED} guests", resident / 1024, 28, "MB", f"the imports alone {reference / 1024:.1f} MB")
    yield Figure(
        "idle: of a core", 100 * spent / IDLE_SECONDS, 0.05, "%", f"{1000 * spent:.0f} ms in {IDLE_SECONDS:.0f} s, timer every 10 s"
    )
    yield Figure(f"idle: times woken up in {IDLE_SECONDS:.0f} s", float(wakes), expected, "", "timer every 10 s, watchdog every 5 s")


def _resident(status: str) -> float:
    """Kilobytes of VmRSS in /proc/PID/status."""
    found = re.search(r"VmRSS:\s*(\d+)", status)
    assert found
    return float(found[1])


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time, from the scheduler (nanoseconds, proc(5) schedstat)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
