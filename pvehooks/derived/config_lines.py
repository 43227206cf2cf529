"""Lines of a guest's config in messages."""

from __future__ import annotations

_LONGEST = 100


def quoted(line: str) -> str:
    """A line of a config for a message, cut where it is too long for one."""
    return repr(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
