"""What the hookscript costs a guest that has nothing to be guarded: what its start waits for."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence

from tests.bench.figures import Figure
from tests.hookscript import bed

PAIRS = 101
PLAIN = "boot: order=scsi0;net0\ncores: 4\nmemory: 4096\nname: web\nnet0: virtio=BC:24:11:2C:69:EC,bridge=vmbr0\nscsi0: local:100/d.qcow2\n"
PYTHON = ("/usr/bin/python3", "-I", "-c", "pass")


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, bed.ENVIRONMENT)
    _, status = os.waitpid(pid, 0)
    taken = time.perf_counter() - began
    assert status == 0, command
    return taken


def stub() -> Iterator[Figure]:
    """Beside a Python that does nothing; both start in pairs, so that a busy machine slows both."""
    with bed.mounts():
        bed.install()
        bed.config(PLAIN)
        bed.script(bed.SNIPPETS / "hook.sh", "#!/bin/sh\nexit 0\n")
        own = str(bed.SNIPPETS / "hook.sh")
        yield from _beside("the hookscript for a guest without hostpci", (str(bed.attach()), "100", "pre-start"), 0.35)
        chained = (str(bed.attach("pvehooks-guard-local+hook.sh")), "100", "pre-start")
        alone = statistics.median(_seconds((own, "100", "pre-start")) for _ in range(PAIRS))
        yield from _beside("the same with a hookscript of its own", chained, 1.0, f"; that one alone {1000 * alone:.1f} ms")


def _beside(name: str, command: Sequence[str], limit: float, more: str = "") -> Iterator[Figure]:
    pairs = [(_seconds(command), _seconds(PYTHON)) for _ in range(PAIRS)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    yield Figure(name, ratio, limit, "times python3 -I -c pass", f"{1000 * mine:.1f} ms; Python {1000 * theirs:.1f} ms{more}")
