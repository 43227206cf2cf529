"""The daemon on a node whose clock is set while it runs: python3 -m tests.daemon.set_clock FILE ARGUMENT... FILE holds the seconds that it is ahead.

Intervals are measured by another clock, which no one sets: they stay as they are.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pvehooks.daemon import main
from pvehooks.host import Host


def run(file: str, *arguments: str) -> int:
    """Runs the daemon."""

    def now(_host: Host) -> float:
        return time.time() + float(Path(file).read_text())

    Host.now = now  # type: ignore[method-assign]
    return main.main(list(arguments))


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
