"""What a kind of event in the journal consists of."""

from __future__ import annotations

from typing import NamedTuple

# syslog's priorities.
ERR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7


class Kind(NamedTuple):
    """A kind of event: its name, priority, and what the journal's catalogue explains of it.

    `error`: it is an error of the daemon or of what it does, and counted as such in the metrics. `about_guest`: each entry is about one guest.
    """

    name: str
    priority: int
    title: str
    explanation: str
    error: bool = False
    about_guest: bool = False
