"""How many entries the journal gets for one cause: a tenant who changes a config, or fails a start, again and again must not fill it.

Nor one who makes and destroys guests: what is logged of guests that are gone is limited in all. Pure: the clock is given.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence

_WINDOW = 3600.0
# Entries of one cause in a window, and of all causes of one origin.
_OF_ONE_CAUSE = 10
_IN_ALL = 100
# Entries about guests that are gone, in a window.
OF_GONE = 1000
# Suppression lasts for a window at least, and until nothing was suppressed for so long.
_QUIET = 600.0

# What entries come from: the VMID of a guest, 0 for the node's own findings, or the kind of an event of the node.
Origin = int | str
# Stands for all guests that come while too much was logged of those that are gone.
NEW_GUESTS = -1


class Suppressed:
    """What was suppressed of one origin: `counts` by kind of event, `last_message` that of the last event, '' for findings alone.

    `logged` is how many entries there were before.
    """

    def __init__(self, now: float, logged: int = 0) -> None:
        self.began = self.last = now
        self.logged = logged
        self.counts: Counter[str] = Counter()
        self.last_message = ""

    def add(self, kind: str, message: str, now: float) -> None:
        """One more was suppressed."""
        self.counts[kind] += 1
        self.last = now
        self.last_message = message or self.last_message


class RateLimit:
    """Counts entries by origin and cause. It outlives the guests: one that is made and destroyed again and again has one VMID.

    `here` are the VMIDs of this node's guests, now and later; None where that is not known.
    """

    def __init__(self, clock: Callable[[], float], here: Collection[int] | None = None) -> None:
        self._clock = clock
        self._here = here
        self._lock = threading.Lock()
        self._logged: dict[Origin, dict[str, deque[float]]] = {}
        self._suppressed: dict[Origin, Suppressed] = {}
        # Guests that are gone, of which there were entries; and those that were here when these became too many.
        self._gone: set[int] = set()
        self._known: frozenset[int] = frozenset()
        self._tidy_due = 0.0

    def is_here(self, origin: Origin) -> bool:
        """Whether it is no guest that is known to be gone."""
        return not isinstance(origin, int) or origin <= 0 or self._here is None or origin in self._here

    def suppressed_as(self, origin: Origin) -> Origin | None:
        """The origin under which nothing of this one is logged now: itself, or NEW_GUESTS; None where it is logged."""
        if origin in self._suppressed:
            return origin
        is_new = NEW_GUESTS in self._suppressed and isinstance(origin, int) and origin > 0 and origin not in self._known
        return NEW_GUESTS if is_new else None

    def left(self, vmid: int) -> bool:
        """The guest is not on this node any more; whether suppression of new ones begins."""
        with self._lock:
            return self._is_gone(vmid, self._clock())

    def _is_gone(self, vmid: int, now: float) -> bool:
        if vmid not in self._logged and vmid not in self._suppressed:
            return False
        self._gone.add(vmid)
        if NEW_GUESTS in self._suppressed or self._of_gone(now) < OF_GONE:
            return False
        self._known = frozenset(self._here or ())
        self._suppressed[NEW_GUESTS] = Suppressed(now)
        return True

    def _of_gone(self, now: float) -> int:
        """How many entries there were about guests that are gone."""
        here = self._here or ()
        self._gone = {vmid for vmid in self._gone if vmid not in here and (vmid in self._logged or vmid in self._suppressed)}
        logged = [_of_window(self._logged[vmid], now) if vmid in self._logged else {} for vmid in self._gone]
        suppressed = [self._suppressed[vmid].logged for vmid in self._gone if vmid in self._suppressed]
        return sum(len(times) for each in logged for times in each.values()) + sum(suppressed)

    def reached(self, origin: Origin, causes: Sequence[str]) -> str:
        """Counts an entry for each of these causes; '' if they may be logged, else the limit that is reached: suppression begins.

        Not for an origin that is suppressed.
        """
        now = self._clock()
        with self._lock:
            logged = self._logged[origin] = _of_window(self._logged.get(origin, {}), now)
            full = next((cause for cause in causes if len(logged.get(cause, ())) >= _OF_ONE_CAUSE), "")
            number = sum(map(len, logged.values()))
            if full or number >= _IN_ALL:
                del self._logged[origin]
                self._suppressed[origin] = Suppressed(now, number)
                return f"{_OF_ONE_CAUSE} times {full}" if full else f"{_IN_ALL} entries"
            for cause in causes:
                logged.setdefault(cause, deque()).append(now)
            return ""

    def suppress(self, origin: Origin, kind: str, message: str = "") -> None:
        """An entry of an origin that is suppressed is not logged."""
        suppressed_as = self.suppressed_as(origin)
        with self._lock:
            if suppressed_as is not None and suppressed_as in self._suppressed:
                self._suppressed[suppressed_as].add(kind, message, self._clock())

    def ended(self) -> list[tuple[Origin, Suppressed]]:
        """What is suppressed no longer from now on."""
        now = self._clock()
        with self._lock:
            ended = [
                (origin, each) for origin, each in self._suppressed.items() if now - each.began >= _WINDOW and now - each.last >= _QUIET
            ]
            for origin, _ in ended:
                del self._suppressed[origin]
            if now >= self._tidy_due:
                # Not at each call: there may be tens of thousands of guests.
                self._tidy_due = now + _QUIET
                known = {origin: _of_window(logged, now) for origin, logged in self._logged.items()}
                self._logged = {origin: logged for origin, logged in known.items() if logged}
        return ended


def _of_window(logged: Mapping[str, deque[float]], now: float) -> dict[str, deque[float]]:
    """Without what was logged before the window."""
    for times in logged.values():
        while times and now - times[0] >= _WINDOW:
            times.popleft()
    return {cause: times for cause, times in logged.items() if times}
