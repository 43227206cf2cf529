"""The daemon's log: entries about events of its node, counted by kind, and limited in number for each cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from pvehooks.journal import entries
from pvehooks.journal.entries import Entry
from pvehooks.journal.events import KINDS
from pvehooks.journal.output import Journal, Lines
from pvehooks.journal.ratelimit import OF_GONE, Origin, RateLimit, Suppressed
from pvehooks.values import Guest


class Log:
    """Writes entries to the output. `counts` is how often an event of each kind happened, whether it was logged or suppressed.

    `here` are the VMIDs of this node's guests, now and later; None where that is not known.
    """

    def __init__(
        self,
        node: str,
        output: Journal | Lines,
        clock: Callable[[], float],
        counts: Counter[str] | None = None,
        here: Collection[int] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._node = node
        self._output = output
        self._limit = RateLimit(clock, here)

    def event(self, kind: str, message: str, guest: Guest | None = None, vmid: int = 0, **fields: str) -> None:
        """Logs an event of one of the kinds in the table."""
        self.counts[kind] += 1
        entry = entries.event(kind, message, self._node, guest, vmid, **fields)
        origin: Origin = guest.vmid if guest else vmid or kind
        if KINDS[kind].protects:
            self.write(entry)
        elif self.suppresses(origin):
            self._limit.suppress(origin, kind, entry.message)
        else:
            cause = " ".join(filter(None, (kind, fields.get("rule", ""), fields.get("cause", ""))))
            if self.admits(origin, guest.label if guest else "", kind, [cause], entry.message):
                self.write(entry)

    def bug(self, bug: Exception, words: str, vmid: int = 0) -> None:
        """Logs a bug of ours with its traceback."""
        import traceback

        message = f"{words}: {bug!r}. Please report it: journalctl -t pvehooksd -o verbose PVEHOOKS_EVENT=bug"
        self.event("bug", message, vmid=vmid, traceback="".join(traceback.format_exception(bug)))

    def write(self, entry: Entry) -> None:
        """Writes an entry as it is, without a limit."""
        self._output.write(entry)

    # -- the limit ----------------------------------------------------------------------------------------------------

    def suppresses(self, origin: Origin) -> bool:
        """Whether nothing of this origin is logged now."""
        return self._limit.suppressed_as(origin) is not None

    def suppress(self, origin: Origin, kind: str) -> None:
        """Notes that an entry of a suppressed origin is not logged."""
        self._limit.suppress(origin, kind)

    def admits(self, origin: Origin, label: str, kind: str, causes: Sequence[str], message: str = "") -> bool:
        """Whether entries of these causes may be logged; if not, they are suppressed from now on, and that is logged once."""
        reached = self._limit.reached(origin, causes)
        if not reached:
            if isinstance(origin, int) and not self._limit.is_here(origin):
                self.left(origin)
            return True
        self._limit.suppress(origin, kind, message)
        vmid = 0
        if isinstance(origin, str):
            whose, see = f"entries of the kind {origin}", "journalctl -t pvehooksd"
        elif origin:
            whose, see, vmid = f"entries about {label or f'VM {origin}'}", f"pvehooks check {origin}", origin
        else:
            whose, see = f"entries about findings of node {self._node}", "pvehooks host check"
        words = f"{whose} are suppressed for an hour at least: there were {reached} within an hour. All else goes on. What holds now: {see}"
        self._log_suppressed(words, vmid)
        return False

    def left(self, vmid: int) -> None:
        """The guest is not on this node any more; where too much was logged of those that are gone, entries about new ones are suppressed."""
        if self._limit.left(vmid):
            self._log_suppressed(
                f"entries about VMs that are new on this node are suppressed for an hour at least: there were {OF_GONE} about VMs that are gone again"
                " within an hour. Refused starts are logged, and all else goes on. Who makes and destroys them:"
                " grep -E ':qm(create|restore|clone|destroy):' /var/log/pve/tasks/index. What holds now: pvehooks check"
            )

    def _log_suppressed(self, words: str, vmid: int = 0) -> None:
        self.counts["suppressed"] += 1
        self.write(entries.event("suppressed", words, self._node, vmid=vmid))

    def ended(self) -> list[tuple[Origin, Suppressed]]:
        """What is suppressed no longer from now on."""
        return self._limit.ended()
