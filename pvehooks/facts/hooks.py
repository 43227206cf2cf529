"""The administrator's own scripts that the hookscript runs before starts (libexec/hookscript)."""

from __future__ import annotations

import re

from pvehooks.host import Host

DIRECTORY = "/etc/pvehooks/hooks.d"
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def are_there(host: Host) -> bool:
    """Whether there are any, which may make what a start does not find; also where that cannot be seen."""
    try:
        return any(_NAME.fullmatch(name) for name in host.names(DIRECTORY))
    except FileNotFoundError:
        return False
    except OSError:
        return True
