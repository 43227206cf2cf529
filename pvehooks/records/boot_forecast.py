"""What `pvehooks host check --next-boot` found last, for the daemon: its sandbox has no kernel modules to look at. It is gone with the next boot."""

from __future__ import annotations

import json

from pvehooks.formats.summary import read_next_boot
from pvehooks.host import Host
from pvehooks.values.summaries import NextBootSummary

PATH = "/run/pvehooks/next-boot.json"
_LIMIT = 1 << 14


def read(host: Host) -> NextBootSummary | None:
    """It, or None where no one has looked since the node was booted."""
    try:
        return read_next_boot(json.loads(host.read(PATH, limit=_LIMIT)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write(host: Host, found: NextBootSummary) -> None:
    """Keeps it; raises OSError."""
    host.make_dir(PATH.rpartition("/")[0])
    host.replace(PATH, json.dumps([*found]).encode(), mode=0o600, keep_mode=False)
