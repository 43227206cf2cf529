"""How many CPUs the node has."""

from __future__ import annotations

import re

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread

_ONLINE = "/sys/devices/system/cpu/online"


def read(host: Host) -> int | Unread:
    """Those that are online; PVE counts the same ones in /proc/cpuinfo (pve-common, ProcFSTools.pm, read_cpuinfo), which is slow to read."""
    try:
        listed = host.read_text(_ONLINE)
    except OSError as error:
        return unread(_ONLINE, error)
    ranges = [re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part, re.ASCII) for part in listed.split(",")]
    count = sum(int(match[2] or match[1]) - int(match[1]) + 1 for match in ranges if match)
    return count if all(ranges) and count > 0 else Unread(f"{_ONLINE} lists no CPUs")
