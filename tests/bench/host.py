"""What `pvehooks host check` takes on a node with 200 PCI devices, beside lspci -vv of the machine it runs on."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.beds import boot, pci
from tests.beds.tree import make_fake_tree
from tests.bench.figures import Figure

PROJECT = Path(__file__).parents[2]
DEVICES = 200
TIMES = 7


def check() -> Iterator[Figure]:
    """The CPU time of the whole command, interpreter and all."""
    if not shutil.which("lspci"):
        sys.exit("lspci is missing: apt install pciutils")
    with tempfile.TemporaryDirectory() as directory:
        lines = (
            f"0000:{bus:02x}:00.{function} class=020000 driver=igb group={bus} net=en{bus}f{function}"
            for bus in range(1, 101)
            for function in (0, 1)
        )
        files = boot.with_translation({**boot.plant(""), **pci.plant("\n".join(lines))})
        # lspci wants the BARs.
        files |= {f"{path.rpartition('/')[0]}/resource": "0x0 0x0 0x0\n" * 7 for path in files if path.endswith("/vendor")}
        tree = make_fake_tree(directory, files)
        ours = [sys.executable, "-m", "pvehooks", "host", "check", "--root", str(tree)]
        real = ["lspci", "-A", "linux-sysfs", "-O", f"sysfs.path={tree}/sys/bus/pci", "-vv"]
        taken = statistics.median(_cpu(ours) for _ in range(TIMES))
        reference = statistics.median(_cpu(real) for _ in range(TIMES))
        yield Figure(f"host check, {DEVICES} devices", taken * 1000, 500, "ms CPU", f"lspci -vv of the same tree {reference * 1000:.0f} ms")


def _cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=PROJECT, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
