"""When which guest is to be reviewed: changes settle first, retries have their time. Pure: the clock is given."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pvehooks.values.base import NamedTuple

# Stands for all guests of the node.
EVERYTHING = -1
# A burst of changes to one guest is reviewed after so many settling times at the latest.
_PATIENCE = 5
# Seconds within which guests are due together.
_TOGETHER = 0.1


class Throttle:
    """When work that is asked for again and again may be done next: so that it takes `share` of the time, and `most` seconds later at the latest.

    It stands in a with statement around the work.
    """

    def __init__(self, clock: Callable[[], float], share: float, most: float) -> None:
        self.due = 0.0
        self._clock = clock
        self._share = share
        self._most = most
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        now = self._clock()
        self.due = now + min(self._most, (now - self._began) / self._share)


class _Entry(NamedTuple):
    """When it is due, when it changed first, and whether the review is to happen even if the config is as it was."""

    due: float
    first: float
    forced: bool


class Due(NamedTuple):
    """What is due: whether a guest's review is forced, by VMID; the same of all guests, None where that is not due.

    A guest's is forced where that of all is: what made them due, settings for example, concerns this one too.
    """

    guests: dict[int, bool]
    everything: bool | None = None


class Schedule:
    """One entry for each VMID, or EVERYTHING. `clock` and `settling_seconds` are in seconds."""

    def __init__(self, clock: Callable[[], float], settling_seconds: float) -> None:
        self.settling_seconds = settling_seconds
        self._clock = clock
        self._entries: dict[int, _Entry] = {}

    def changed(self, vmid: int, forced: bool = False) -> None:
        """The guest may have changed: it is due when no further change came for the settling time."""
        now = self._clock()
        first, before = (self._entries[vmid].first, self._entries[vmid].forced) if vmid in self._entries else (now, False)
        due = max(now, min(now + self.settling_seconds, first + _PATIENCE * self.settling_seconds))
        self._entries[vmid] = _Entry(due, first, forced or before)

    def due_now(self, vmid: int) -> None:
        """The guest is due at once."""
        now = self._clock()
        entry = self._entries.get(vmid, _Entry(now, now, forced=False))
        self._entries[vmid] = entry._replace(due=now)

    def after(self, vmid: int, seconds: float, forced: bool = False) -> None:
        """The guest is due in so many seconds, or when it was due already if that is earlier."""
        due = self._clock() + seconds
        if vmid in self._entries:
            due, forced = min(due, self._entries[vmid].due), forced or self._entries[vmid].forced
        self._entries[vmid] = _Entry(due, due, forced)

    def again(self, vmid: int, pause: float) -> None:
        """The guest is to be reviewed again after the pause, and once it has settled, even if its config is as it was."""
        self.after(vmid, max(pause, self.settling_seconds), forced=True)

    def forget(self, vmid: int) -> None:
        """The guest is not on this node any more."""
        self._entries.pop(vmid, None)

    def next(self) -> float:
        """When something is due next, on the clock; infinity when nothing is."""
        return min((entry.due for entry in self._entries.values()), default=float("inf"))

    def take(self, busy: Collection[int] = (), until: float | None = None) -> Due:
        """Takes out what is due by now, or by `until`; a guest that is `busy` (a job runs for it) is put off for the settling time.

        What is due a moment later is taken with it: guests that one command changes are one review, and what is logged of them one entry.
        """
        now = self._clock() if until is None else until
        last = now + _TOGETHER if any(entry.due <= now for entry in self._entries.values()) else now
        for vmid in busy:
            if vmid in self._entries and self._entries[vmid].due <= last:
                self._entries[vmid] = _Entry(now + self.settling_seconds, now, self._entries[vmid].forced)
        guests = {vmid: entry.forced for vmid, entry in self._entries.items() if entry.due <= last}
        for vmid in guests:
            del self._entries[vmid]
        everything = guests.pop(EVERYTHING, None)
        return Due({vmid: forced or everything is True for vmid, forced in guests.items()}, everything)
