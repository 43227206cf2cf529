"""What a hookscript, or the administrator's scripts that ours runs, may make before a start."""

from __future__ import annotations

from pvehooks.values import Guest
from pvehooks.values.starting import Bridges, Paths
from pvehooks.values.stubs import former_of, is_stub


def is_prepared(guest: Guest, seen: Bridges | Paths) -> bool:
    """Whether a script that is not ours runs before the start: it may mount, create or plug in what is not there now."""
    volid = str(guest.options.get("hookscript", ""))
    return bool(volid) and (not is_stub(volid) or bool(former_of(volid)) or seen.hooks())
