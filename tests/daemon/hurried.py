"""The daemon with less patience, so that tests need not wait as long as a node may: python3 -m tests.daemon.hurried ARGUMENT..."""

from __future__ import annotations

import sys
from functools import partial

from pvehooks.daemon import loop, main, signals, stall

# How long a qm that runs at the end may take, and how long the loop may stand still before pmxcfs is asked. How long pmxcfs may take to answer is
# as it is on a node: a slow machine takes long for that, too.
GRACE = 4.0
PATIENCE = 0.5
TICK = 0.1


def run(*arguments: str) -> int:
    """Runs the daemon."""
    loop.QM_GRACE = signals.QM_GRACE = GRACE  # type: ignore[attr-defined]
    stall._TICK = TICK
    main.StallWatch = partial(stall.StallWatch, patience=PATIENCE)  # type: ignore[attr-defined]
    return main.main(list(arguments))


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
