"""A summary of the node once a week, as an entry that people get a message about: [notify] digest, off by default."""

from __future__ import annotations

from pvehooks import wording
from pvehooks.daemon.stats import Stats
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.judge import counts_by_severity
from pvehooks.settings.effective import Settings
from pvehooks.values import StartVerdict

# Holds when the last digest was left, in epoch seconds.
PATH = "/var/lib/pvehooks/digest"
WEEK = 7 * 86400.0
# Seconds between two looks whether one is due.
_PAUSE = 600.0


class Digest:
    """Leaves the digest. The daemon's loop asks it after every turn."""

    def __init__(self, host: Host, log: Log) -> None:
        self._host = host
        self._log = log
        self._next = 0.0

    def publish(self, stats: Stats, settings: Settings) -> None:
        """Logs the digest if one is due; the first one as soon as it is switched on."""
        now = self._host.monotonic()
        if now < self._next or stats.away or not settings.notify.digest:
            return
        self._next = now + _PAUSE
        # After a clock that was put back the last one lies in the future.
        if 0 <= self._host.now() - self._last() < WEEK:
            return
        try:
            # First: a digest that is lost is better than one at each look.
            self._host.replace(PATH, b"%d\n" % self._host.now())
        except OSError:
            return
        self._log.event("digest", describe(stats))

    def _last(self) -> float:
        try:
            return float(int(self._host.read(PATH, 64)))
        except (OSError, ValueError, OverflowError):
            return float("-inf")


def describe(stats: Stats) -> str:
    """The node's guests and findings on one line."""
    by_start: dict[tuple[StartVerdict, str], list[str]] = {}
    for guest in stats.guests.values():
        if guest.start is not StartVerdict.WOULD:
            by_start.setdefault((guest.start, guest.why_unguarded), []).append(guest.label)
    parts = [
        f"{wording.start(start, unguarded)}: {wording.and_more(by_start[start, unguarded])}"
        for start, unguarded in sorted(by_start, key=lambda key: (key[0] is not StartVerdict.MUST_NOT, key[1]))
    ]
    of_node = counts_by_severity((each.severity, each.examined, each.ignored) for each in stats.node)
    for found, of, command in ((stats.findings(), "the VMs", "pvehooks check"), (of_node, "the node itself", "pvehooks host check")):
        if any(found.values()):
            parts.append(f"of {of} {wording.counted_findings(found)}, see: {command}")
    return f"{wording.counted(len(stats.guests), 'VM')}; {'; '.join(parts) or 'nothing found'}"
