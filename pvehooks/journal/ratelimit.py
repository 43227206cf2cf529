"""How many entries the journal gets for one cause: a tenant who changes a config, or fails a start, again and again must not fill it.

Pure: the clock is given.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

_WINDOW = 3600.0
# Entries of one cause in a window, and of all causes of one origin.
_OF_ONE_CAUSE = 10
_IN_ALL = 100
# Suppression lasts for a window at least, and until nothing was suppressed for so long.
_QUIET = 600.0

# What entries come from: the VMID of a guest, 0 for the node's own findings, or the kind of an event of the node.
Origin = int | str


class Suppressed:
    """What was suppressed of one origin: `counts` by kind of event, `last_message` that of the last event, '' for findings alone."""

    def __init__(self, now: float) -> None:
        self.began = self.last = now
        self.counts: Counter[str] = Counter()
        self.last_message = ""

    def add(self, kind: str, message: str, now: float) -> None:
        """One more was suppressed."""
        self.counts[kind] += 1
        self.last = now
        self.last_message = message or self.last_message


class RateLimit:
    """Counts entries by origin and cause. It outlives the guests: one that is made and destroyed again and again has one VMID."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[Origin, dict[str, deque[float]]] = {}
        self._suppressed: dict[Origin, Suppressed] = {}
        self._tidy_due = 0.0

    def suppresses(self, origin: Origin) -> bool:
        """Whether nothing of this origin is logged now."""
        return origin in self._suppressed

    def reached(self, origin: Origin, causes: Sequence[str]) -> str:
        """Counts an entry for each of these causes; '' if they may be logged, else the limit that is reached: suppression begins.

        Not for an origin that is suppressed.
        """
        now = self._clock()
        with self._lock:
            logged = self._logged[origin] = _of_window(self._logged.get(origin, {}), now)
            full = next((cause for cause in causes if len(logged.get(cause, ())) >= _OF_ONE_CAUSE), "")
            if full or sum(map(len, logged.values())) >= _IN_ALL:
                del self._logged[origin]
                self._suppressed[origin] = Suppressed(now)
                return f"{_OF_ONE_CAUSE} times {full}" if full else f"{_IN_ALL} entries"
            for cause in causes:
                logged.setdefault(cause, deque()).append(now)
            return ""

    def suppress(self, origin: Origin, kind: str, message: str = "") -> None:
        """An entry of an origin that is suppressed is not logged."""
        with self._lock:
            self._suppressed[origin].add(kind, message, self._clock())

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
