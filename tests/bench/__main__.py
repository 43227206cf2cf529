"""Prints all figures; ends with 1 if one is over its limit. Arguments choose some by name.

Each measure runs in a process and in mounts of its own: what one leaves in /etc/pve, lays over /sys or has loaded is nothing to the next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from tests.beds.namespace import enter_private_namespace

# For one measure.
ALONE = "--alone"
if sys.argv[1:2] == [ALONE]:
    enter_private_namespace()

from tests.bench import (  # noqa: E402 - the beds' mounts come first
    audit,
    cluster,
    daemon,
    failures,
    firmware,
    guard,
    host,
    stub,
    writing,
)

MEASURES = {
    "scan": daemon.scan,
    "restart": daemon.restart,
    "writing": writing.many,
    "reaction": writing.reaction,
    "breath": writing.one_breath,
    "burst": daemon.burst,
    "idle": daemon.idle,
    "cluster": cluster.storm,
    "guard": guard.start,
    "firmware": firmware.start,
    "stub": stub.stub,
    "tasks": failures.tasks,
    "message": failures.message,
    "host": host.check,
    "next-boot": host.next_boot,
    "audit": audit.audit,
    "report": audit.report,
}


def main(names: list[str]) -> int:
    """Measures; the exit status tells whether all limits are kept."""
    if names[:1] == [ALONE]:
        return _measure(names[1])
    for name in names:
        if name not in MEASURES:
            sys.exit(f"there is no measure {name}; there are: {' '.join(MEASURES)}")
    with tempfile.TemporaryDirectory() as bytecode:
        # As on a node, where the package was compiled when it was installed.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {name: [sys.executable, "-m", "tests.bench", ALONE, name] for name in names or MEASURES}
        missed = [name for name, command in commands.items() if subprocess.run(command, env=environment, check=False).returncode]
    return 1 if missed else 0


def _measure(name: str) -> int:
    missed = 0
    for figure in MEASURES[name]():
        print(figure.line(), flush=True)
        missed += not figure.met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
