"""Takes what lies in the outbox, and hands it over: events of the same seconds in one message, so many messages an hour, each tried for an hour.

It runs while there is something to hand over. All that it knows lies in files: where it is killed, systemd starts it again, and it goes on.
"""

from __future__ import annotations

from pvehooks.errors import PvehooksError
from pvehooks.host import Host
from pvehooks.journal import entries, outbox
from pvehooks.journal.outbox import Letter
from pvehooks.journal.output import Journal
from pvehooks.notify import channels
from pvehooks.notify.message import TEST, compose, is_wanted
from pvehooks.notify.pending import Pending, Store
from pvehooks.settings import load
from pvehooks.settings.sections import NotifySettings

IDENTIFIER = "pvehooks-notify"
HOUR = 3600.0
# A message waits for more of the same until nothing came for so many seconds, and for so many at most.
_QUIET, _GATHERING = 1.0, 3.0
_STEP = 0.25
# Between two attempts.
_PAUSES = (10.0, 30.0, 60.0, 120.0, 300.0)


def main() -> int:
    """The program."""
    Sender(Host()).run()
    return 0


class Sender:
    """What is in the outbox, and what is not handed over yet."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._store = Store(host)
        self._journal = Journal(IDENTIFIER)
        # What waits for the next hour's messages.
        self._held: list[str] = []
        self._per_hour = 0

    def run(self) -> None:
        """Runs until there is nothing left to hand over."""
        self._store.forget_taken()
        while self.turn():
            self._host.sleep(_STEP * 4)

    def turn(self) -> bool:
        """Takes what may be taken now, hands over what is due; returns whether something is left."""
        self._take()
        for pending in self._store.pending():
            if pending.due <= self._host.now() or pending.made > self._host.now() + HOUR:
                self._attempt(pending)
        return bool(self._store.pending()) or not outbox.is_empty(self._host)

    # -- taking -------------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        names = outbox.waiting(self._host)
        if not names or (names == self._held and self._is_full(self._per_hour)):
            return
        settings = self._settings()
        letters = {name: outbox.read(self._host, name) for name in names}
        tests = {name: letter for name, letter in letters.items() if letter is not None and letter.option == TEST}
        for name, letter in tests.items():
            self._compose({name: letter})
        unwanted = [name for name, letter in letters.items() if name not in tests and (letter is None or not is_wanted(letter, settings))]
        outbox.remove(self._host, unwanted)
        if self._is_full(settings.per_hour):
            self._held, self._per_hour = outbox.waiting(self._host), settings.per_hour
            return
        wanted = {name: letter for name, letter in self._gathered().items() if letter.option != TEST and is_wanted(letter, settings)}
        if wanted:
            self._compose(wanted, outbox.take_left_out(self._host))
            self._store.note_handed_over()

    def _is_full(self, per_hour: int) -> bool:
        return len(self._store.handed_over(HOUR)) >= per_hour

    def _gathered(self) -> dict[str, Letter]:
        """What is in the outbox once nothing more comes."""
        names = outbox.waiting(self._host)
        until = self._host.monotonic() + _GATHERING
        quiet = self._host.monotonic() + _QUIET
        while names and self._host.monotonic() < min(until, quiet):
            self._host.sleep(_STEP)
            now = outbox.waiting(self._host)
            if now != names:
                names, quiet = now, self._host.monotonic() + _QUIET
        read = {name: outbox.read(self._host, name) for name in names}
        return {name: letter for name, letter in read.items() if letter is not None}

    def _compose(self, letters: dict[str, Letter], left_out: int = 0) -> None:
        """Makes a message of these; only once that is on disk they leave the outbox."""
        message = compose(list(letters.values()), left_out)
        ways, _ = channels.channels(self._host)
        self._store.add(message, ways, tuple(letters), is_test=any(letter.option == TEST for letter in letters.values()))
        outbox.remove(self._host, letters)

    def _settings(self) -> NotifySettings:
        """Those in force; of files that cannot be used, which are an error to be reported, the built-in ones."""
        try:
            return load.load(self._host).notify
        except PvehooksError:
            return load.built_in().notify

    # -- handing over -------------------------------------------------------------------------------------------------

    def _attempt(self, pending: Pending) -> None:
        """Hands the message over on the ways that are left; gives it up after an hour."""
        results = {way: channels.hand_over(self._host, way, pending.message) for way in pending.ways}
        for result in results.values():
            if result.missed:
                self._report(pending, result.missed, "one target did not take it")
        if pending.is_test:
            self._store.answer(pending, results)
            return
        left = {way: result.words for way, result in results.items() if not result.done}
        age = max(0.0, self._host.now() - pending.made)
        if left and age < HOUR:
            pause = _PAUSES[min(pending.attempts, len(_PAUSES) - 1)]
            self._store.put_off(pending, left, self._host.now() + pause)
            return
        if left:
            what = "no target took it for an hour" if len(left) == len(pending.all_ways) else "not all targets took it within an hour"
            self._report(pending, "; ".join(left.values()), what)
        self._store.remove(pending)

    def _report(self, pending: Pending, why: str, what: str) -> None:
        words = f"a message was not handed over ({pending.message.subject}): {what}: {why}. Try it: pvehooks notify --test"
        self._journal.write(entries.event("not-notified", words, pending.message.fields["hostname"]))
