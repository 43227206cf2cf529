"""The service manager's side of the daemon: readiness, status and watchdog, sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from systemd import daemon


def notify(state: str) -> None:
    """Sends the state to the service manager; one that does not listen is no reason to end."""
    with contextlib.suppress(OSError):
        daemon.notify(state)


def ask_for_time(seconds: float) -> None:
    """Asks for more time to start or to stop."""
    notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


class Watchdog:
    """Pings the service manager, twice as often as it asks for."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._next = clock()

    def next(self) -> float:
        """When the next ping is due, on the clock; infinity without a watchdog."""
        return self._next if self._interval else float("inf")

    def ping(self) -> None:
        """Pings if that is due."""
        if self._interval and self._clock() >= self._next:
            notify("WATCHDOG=1")
            self._next = self._clock() + self._interval


class Status:
    """The line that `systemctl status` shows."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, text: str) -> None:
        """Sends the line if it is another than before."""
        if text != self._last:
            self._last = text
            notify(f"STATUS={text}")
