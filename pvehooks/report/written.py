"""Values of a report that was written before, by any version, here or elsewhere: of the kind that belongs there, or TypeError, ValueError."""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping

# Of seconds and of counts: what is larger is no such number.
LATEST = 1 << 37


def as_object(value: object) -> Mapping[str, object]:
    """An object."""
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def as_list(value: object) -> list[object]:
    """An array."""
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def as_text(value: object, longest: int | None = None) -> str:
    """A string, of which no more than `longest` characters are taken."""
    if not isinstance(value, str):
        raise TypeError(value)
    return value[:longest]


def as_seconds(when: object) -> int:
    """Seconds since 1970: a number as the last report is kept, RFC 3339 as it is printed."""
    if isinstance(when, str):
        when = calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))
    if not isinstance(when, int) or isinstance(when, bool) or not 0 <= when <= LATEST:
        raise ValueError(when)
    return when
