"""What a kind of event in the journal consists of."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple

# syslog's priorities.
ERR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7


class Kind(NamedTuple):
    """A kind of event, and what the journal's catalogue explains of it."""

    name: str
    priority: int
    title: str
    explanation: str
    # Whether it is an error of the daemon or of what it does, and counted as such in the metrics.
    error: bool = False
    # Whether each entry is about one guest.
    about_guest: bool = False
    # Whether each entry is logged, however many there are: it reports a start that nothing checked.
    protects: bool = False
    # The option in [notify] for messages to people about it; '' where the journal is enough.
    notify: str = ""
