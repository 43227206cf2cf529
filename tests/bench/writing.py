"""Figures of what is written to guests, beside Perl's start-up as it is on a node; run by scripts/bench, never by the tests."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure
from tests.daemon.bed import PROJECT, NodeBed, uefi, wait_until

MANY, SERIAL = 1000, 10
# What qm takes to be loaded on an idle node, and pve-writer as well.
LOADING = 0.45
BREATHS = 20
# `qm create; qm start` on an idle node works so long from `lock: create` to the last write, and from that to the start's reading of the config.
MAKING, STARTING = 0.13, 0.45
PASSED = "hostpci0: 0000:01:00.0,pcie=1\n"


def many() -> Iterator[Figure]:
    """Many guests that lack an rng0, against as many pairs of `qm config` and `qm set`, one after the other; some of those stand for all."""
    configs: dict[str, str | bytes] = {f"{vmid}.conf": uefi(f"n{vmid}", old=True) for vmid in range(100, 100 + MANY)}
    settings = "[rng]\nexisting = inject\n"
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), configs, settings, loading=LOADING) as bed:
        began = time.monotonic()
        bed.start()
        wait_until(lambda: len(bed.journal.entries("PVEHOOKS_EVENT=injected")) == MANY, "all have it", 600)
        ours = time.monotonic() - began
        assert len({call.ppid for call in bed.qm.calls()}) == 1
        began = time.monotonic()
        for vmid in range(100, 100 + SERIAL):
            assert bed.qm.run("config", str(vmid), "--current").returncode == 0
            assert bed.qm.run("set", str(vmid), "--rng0", "source=/dev/random").returncode == 0
        serial = (time.monotonic() - began) * MANY / SERIAL
    yield Figure(
        f"{MANY} guests given an rng0",
        ours / serial,
        1 / 20,
        "times",
        f"{ours:.1f} s; by qm {serial:.0f} s, {serial / ours:.0f} times as long",
    )


def reaction() -> Iterator[Figure]:
    """From the last write of a new guest until the change is asked for: of a process that is loaded, and of one that is started for it."""
    warm, cold, loading = [], [], []
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), loading=LOADING) as bed:
        bed.start()
        _asked(bed, 100)
        warm += [_asked(bed, vmid) for vmid in range(101, 122)]
        for vmid in range(200, 207):
            _end_writer(bed)
            cold.append(_asked(bed, vmid))
            loading.append(_loading(bed))
        bed.pve.remote_write("nodes/pve2/pvehooks.json", '{"version": "1.0"}\n')
        bed.settle()
        here = [_written(bed, vmid, remote=False) for vmid in range(300, 321)]
        there = [_written(bed, vmid, remote=True) for vmid in range(400, 421)]
    yield Figure("from a change to the request, loaded (median of 21)", statistics.median(warm), 0.3, "s", f"slowest {max(warm):.2f} s")
    once = statistics.median(loading)
    yield Figure(
        "from a change to the request, not loaded",
        statistics.median(cold) / once,
        1.8,
        "times",
        f"{statistics.median(cold):.2f} s; loading {once:.2f} s",
    )
    for where, taken in (("here", here), ("by another node", there)):
        name = f"from a change made {where} to guard and rng0 in the config (median of 21)"
        yield Figure(name, statistics.median(taken), 0.3, "s", f"slowest {max(taken):.2f} s")


def _asked(bed: NodeBed, vmid: int) -> float:
    bed.write(vmid, uefi(f"n{vmid}"))
    written = time.monotonic()
    (change,) = bed.qm.wait_for_calls(1, verb="set", vmid=vmid)
    return change.started - written


def _written(bed: NodeBed, vmid: int, remote: bool) -> float:
    """Until both are in the config, of a change that this node makes or another one."""
    path = f"nodes/pve1/qemu-server/{vmid}.conf"
    (bed.pve.remote_write if remote else bed.pve.local_write)(path, uefi(f"n{vmid}", PASSED))
    began = time.monotonic()
    wait_until(lambda: "rng0: " in (text := bed.read(vmid)) and "pvehooks-guard" in text, f"both in {vmid}")
    return time.monotonic() - began


def _end_writer(bed: NodeBed) -> None:
    """The process that made the last change; the next one needs another."""
    pid = bed.qm.calls("set")[-1].ppid
    os.killpg(pid, 9)
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "it is gone")


def _loading(bed: NodeBed) -> float:
    environment = {**os.environ, "PERL5LIB": bed.qm.perl5lib}
    began = time.monotonic()
    subprocess.run([str(PROJECT / "libexec/pve-writer")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.monotonic() - began


# `qm create VMID; qm start VMID`, as it works and writes; prints when it wrote last and when the start reads, and what.
_BREATH = """
import os, sys, time
path, making, starting, config = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.stdin.read()
def write(text):
    with open(f"{path}.tmp.1", "w") as file:
        file.write(text)
    os.rename(f"{path}.tmp.1", path)
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
write("lock: create\\n")
work(making)
write(config)
written = time.monotonic()
work(starting)
print(written, time.monotonic(), open(path).read())
"""


def one_breath() -> Iterator[Figure]:
    """Guests that are made and started at once, each with a process that is not loaded: those that are started without guard or rng0."""
    unguarded, ours, starts = 0, [], []
    with tempfile.TemporaryDirectory() as directory, NodeBed(Path(directory), loading=LOADING) as bed:
        bed.pve.remote_write("nodes/pve2/pvehooks.json", '{"version": "1.0"}\n')
        bed.start()
        for vmid in range(100, 100 + BREATHS):
            command = [sys.executable, "-ISc", _BREATH, str(bed.pve.config(vmid)), str(MAKING), str(STARTING)]
            config = uefi(f"n{vmid}", PASSED)
            output = subprocess.run(command, input=config, stdout=subprocess.PIPE, text=True, check=True).stdout
            written, started, text = output.split(" ", 2)
            unguarded += not ("hookscript: local:snippets/pvehooks-guard" in text and "rng0: " in text)
            bed.logged("attached", vmid)
            ours.append((bed.qm.calls("set", vmid)[-1].ended or 0) - float(written))
            starts.append(float(started) - float(written))
            _end_writer(bed)
    reference = f"written {statistics.median(ours):.2f} s after the last write, slowest {max(ours):.2f} s; the starts read after {min(starts):.2f} s"
    yield Figure(f"of {BREATHS} guests made and started in one breath, started unguarded", float(unguarded), 0, "", reference)
