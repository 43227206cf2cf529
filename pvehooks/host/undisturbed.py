"""Signals that wait while something is done that must not be broken off half way."""

from __future__ import annotations

import os
import signal


class Undisturbed:
    """Signals that would end the program (Ctrl-C, a lost terminal, kill) wait until the with statement ends, and are obeyed then."""

    def __init__(self) -> None:
        self._caught = 0

    def __enter__(self) -> Undisturbed:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        self._former = [(number, signal.signal(number, self._note)) for number in numbers]
        return self

    def _note(self, number: int, _: object) -> None:
        self._caught = number

    def __exit__(self, *_: object) -> None:
        for number, former in self._former:
            signal.signal(number, former)
        if self._caught:
            os.kill(os.getpid(), self._caught)
