"""Prints all figures; ends with 1 if one is over its limit. Arguments choose some by name."""

from __future__ import annotations

import sys

from tests.beds.namespace import enter_private_namespace

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
    missed = 0
    for name in names or MEASURES:
        for figure in MEASURES[name]():
            print(figure.line(), flush=True)
            missed += not figure.met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
