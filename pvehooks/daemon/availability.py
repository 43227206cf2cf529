"""Whether pmxcfs answers and takes writes, and when it is asked again while it does not. Pure: the clock is given."""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.errors import NodeError

# While pmxcfs is away it is asked with growing pauses.
POLL_PAUSES = (0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
# If the database keeps changing for so long while /etc/pve stays dead, our mount is stale.
_STUCK_AFTER = 30.0
# How long a node that has booted may wait for quorum before that is worth a warning: other nodes boot, too.
_QUORUM_PATIENCE = 300.0


class StuckError(NodeError):
    """This process sees another mount at /etc/pve than the rest of the node."""


class Availability:
    """`away`: pmxcfs does not answer. `quorate`: the cluster had quorum when it last answered."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.away = False
        self.quorate = True
        # Whether there was no quorum yet since the start, and that was not warned about.
        self.awaits_quorum = False
        self._began = clock()
        self._had_quorum = False
        self._clock = clock
        self._asked = 0
        self._changed_at: float | None = None

    def failed(self) -> float:
        """pmxcfs did not answer; the seconds until it is asked again. Raises StuckError."""
        if not self.away:
            self.away, self._asked, self._changed_at = True, 0, None
        pause = POLL_PAUSES[min(self._asked, len(POLL_PAUSES) - 1)]
        self._asked += 1
        if self._changed_at is not None and self._clock() - self._changed_at > _STUCK_AFTER:
            raise StuckError("/etc/pve stays dead for this process while pmxcfs works", hint="It ends so that systemd starts it afresh.")
        return pause

    def answered(self) -> bool:
        """pmxcfs answered: whether it was away."""
        was, self.away = self.away, False
        return was

    def database_changed(self) -> None:
        """pmxcfs' database was written: if pmxcfs is away, it comes back soon, or works for others only."""
        if self.away:
            self._asked = 0
            self._changed_at = self._changed_at or self._clock()

    def quorum(self, quorate: bool) -> bool:
        """Notes whether there is quorum now; whether that has changed."""
        before, self.quorate = self.quorate, quorate
        self._had_quorum = self._had_quorum or quorate
        self.awaits_quorum = not self._had_quorum
        return quorate != before

    def quorum_becomes_overdue(self) -> bool:
        """Whether it was waited for since the start for longer than a boot explains; True once."""
        overdue = self.awaits_quorum and self._clock() - self._began > _QUORUM_PATIENCE
        if overdue:
            self.awaits_quorum, self._had_quorum = False, True
        return overdue
