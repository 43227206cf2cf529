"""Messages that are not handed over yet, and when others were: files in /var/lib/pvehooks/notify, which root alone can write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pvehooks.host import Host
from pvehooks.journal import outbox
from pvehooks.notify.channels import HandOver
from pvehooks.notify.message import Message

DIRECTORY = f"{outbox.HOME}/pending"
ANSWERS = f"{outbox.HOME}/tests"
_TIMES = f"{outbox.HOME}/handed-over.json"
_LIMIT = 1 << 22


class Pending(NamedTuple):
    """A message, and what became of it so far."""

    # Its file's name.
    name: str
    message: Message
    # Where it goes, and where it has not come to yet.
    all_ways: tuple[str, ...]
    ways: tuple[str, ...]
    # Why not, by way.
    why: dict[str, str]
    # Epoch seconds: when it was made, and when it is tried next.
    made: float
    due: float
    attempts: int
    is_test: bool
    # The files of the outbox that it was made of.
    letters: tuple[str, ...]


class Store:
    """The messages on disk."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def pending(self) -> list[Pending]:
        """All of them, the oldest first. What is damaged is none, and removed."""
        try:
            names = sorted(self._host.names(DIRECTORY))
        except OSError:
            return []
        found = []
        for name in names:
            each = self._read(name)
            if each is None:
                self._host.remove(f"{DIRECTORY}/{name}")
            else:
                found.append(each)
        return found

    def _read(self, name: str) -> Pending | None:
        try:
            stored = json.loads(self._host.read(f"{DIRECTORY}/{name}", limit=_LIMIT))
            subject, severity, text, fields, data = stored["message"]
            message = Message(str(subject), str(severity), str(text), dict(fields), dict(data))
            return Pending(
                name,
                message,
                tuple(map(str, stored["all_ways"])),
                tuple(map(str, stored["ways"])),
                {str(way): str(why) for way, why in stored["why"].items()},
                float(stored["made"]),
                float(stored["due"]),
                int(stored["attempts"]),
                bool(stored["is_test"]),
                tuple(map(str, stored["letters"])),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return None

    def add(self, message: Message, ways: Sequence[str], letters: tuple[str, ...], is_test: bool) -> None:
        """A new message, which is due; it is named as the first of its letters, so that the same letters are not two messages."""
        now = self._host.now()
        self._write(Pending(letters[0], message, tuple(ways), tuple(ways), {}, now, now, 0, is_test, letters))

    def put_off(self, pending: Pending, why: Mapping[str, str], due: float) -> None:
        """Those ways, which failed, are tried again then."""
        now = self._host.now()
        made = min(pending.made, now)
        self._write(pending._replace(ways=tuple(why), why=dict(why), made=made, due=due, attempts=pending.attempts + 1))

    def _write(self, pending: Pending) -> None:
        stored: dict[str, Any] = pending._asdict()
        del stored["name"]
        self._host.make_dir(DIRECTORY, mode=0o700)
        self._host.replace(f"{DIRECTORY}/{pending.name}", json.dumps(stored).encode(), mode=0o600, durable=True)

    def remove(self, pending: Pending) -> None:
        """It is handed over, or given up."""
        self._host.remove(f"{DIRECTORY}/{pending.name}")

    def forget_taken(self) -> None:
        """Takes what messages were made of out of the outbox: the one who made them was killed before it did."""
        for pending in self.pending():
            outbox.remove(self._host, pending.letters)

    # -- tests --------------------------------------------------------------------------------------------------------

    def answer(self, pending: Pending, results: Mapping[str, HandOver]) -> None:
        """A test is tried once; who asked for it reads what became of it."""
        answer = {way: result._asdict() for way, result in results.items()}
        self._host.make_dir(ANSWERS, mode=0o700)
        self._host.replace(f"{ANSWERS}/{pending.name}", json.dumps(answer).encode(), mode=0o600)
        self.remove(pending)

    def take_answer(self, name: str) -> dict[str, HandOver] | None:
        """What became of the test that was left as that file; None as long as that is not known."""
        try:
            stored = json.loads(self._host.read(f"{ANSWERS}/{name}", limit=_LIMIT))
            self._host.remove(f"{ANSWERS}/{name}")
            return {str(way): HandOver(**result) for way, result in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None

    # -- how many in an hour ------------------------------------------------------------------------------------------

    def handed_over(self, seconds: float) -> list[float]:
        """When messages were made in the last `seconds`; a clock that was put back leaves none in the future."""
        now = self._host.now()
        try:
            stored = json.loads(self._host.read(_TIMES, limit=_LIMIT))
            return [float(when) for when in stored if now - seconds < float(when) <= now]
        except (OSError, ValueError, TypeError, RecursionError, OverflowError):
            return []

    def note_handed_over(self) -> None:
        """One more, now."""
        times = [*self.handed_over(3600.0), self._host.now()]
        self._host.replace(_TIMES, json.dumps(times).encode(), mode=0o600)
