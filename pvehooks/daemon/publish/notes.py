"""What the node's notes say of its guests and free devices, in Proxmox VE's web interface: [gui] node_notes, off by default.

Each write is one for every node of the cluster, so the block is written when it says something else, every ten minutes at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from pvehooks import wording
from pvehooks.actions import node_notes
from pvehooks.actions.result import Outcome, Result
from pvehooks.daemon.stats import GuestStats, Stats
from pvehooks.derived import groups
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.formats import nodenotes
from pvehooks.host import Host
from pvehooks.settings.effective import Settings
from pvehooks.values import Node, Severity, StartVerdict, Unread

PAUSE = 600.0
# Of the block with its marks, as it is written. All notes together may have 64 KiB.
LIMIT = 8192
# Devices come and go without a guest's change, and a person may edit the notes.
_LOOK = 3600.0
_MOST = 20
_RULES = 4
_LONGEST = 80


class NodeNotes:
    """Keeps the block in the notes. The daemon's loop asks it after every turn; `wake` is called when it has been seen to, in a thread."""

    def __init__(self, host: Host, node: str, wake: Callable[[], None]) -> None:
        self._host = host
        self._node = node
        self._wake = wake
        # When it is seen to again, at the earliest and where nothing has changed.
        self._not_before = self._look_due = float("-inf")
        # The switch, and how often guests had changed, when it was last seen to.
        self._is_on: bool | None = None
        self._changes: int | None = None
        self._reported = ""
        self._work: threading.Thread | None = None
        self._done = threading.Event()
        self._result = Result(Outcome.ALREADY, "")

    def publish(self, stats: Stats, settings: Settings) -> str:
        """Has the block written if that is due; returns what stands against that, once."""
        now, is_on = self._host.monotonic(), settings.gui.node_notes
        if self._work is not None:
            return self._collect() if self._done.is_set() else ""
        changes = stats.changes if is_on else 0
        is_switched = is_on is not self._is_on
        if not is_switched and changes == self._changes and (not is_on or now < self._look_due):
            return ""
        if stats.away or not stats.quorate or (now < self._not_before and not is_switched):
            return ""
        self._is_on, self._changes = is_on, changes
        self._not_before, self._look_due = now + PAUSE, now + _LOOK
        self._work = threading.Thread(target=self._keep, args=(dict(stats.guests) if is_on else None,), daemon=True)
        self._work.start()
        return ""

    def _keep(self, guests: Mapping[int, GuestStats] | None) -> None:
        try:
            block = [] if guests is None else list(fitting(guests, hardware.gather(self._host, self._node)))
            self._result = node_notes.keep(self._host, self._node, block)
        except PmxcfsAway as error:
            self._result = Result(Outcome.WAITING, error.message)
        except Exception as bug:  # noqa: BLE001 - a bug here must not end the care for this node's guests; it is reported
            self._result = Result(Outcome.BROKEN, f"a bug: {bug!r}")
        finally:
            self._done.set()
            self._wake()

    def _collect(self) -> str:
        assert self._work is not None
        self._work.join()
        self._work = None
        self._done.clear()
        result = self._result
        if result.outcome in (Outcome.WAITING, Outcome.UNSAVED, Outcome.CHANGED):
            self._changes = None
        before, self._reported = self._reported, result.words
        return f"what the node's notes say of VMs and devices: {result.words}" if result.words not in ("", before) else ""


def fitting(guests: Mapping[int, GuestStats], node: Node) -> Iterator[str]:
    """The block's lines, with as many entries as there is room for."""
    most = _MOST
    while True:
        lines = list(_lines(guests, node, most))
        size = sum(len(nodenotes.encoded(line)) for line in (nodenotes.BEGIN, *lines, nodenotes.END))
        if size <= LIMIT or not most:
            yield from lines
            return
        most //= 2


def _lines(guests: Mapping[int, GuestStats], node: Node, most: int) -> Iterator[str]:
    found = [(vmid, guest) for vmid, guest in guests.items() if guest.start is not StartVerdict.WOULD or _rules(guest)]
    found.sort(key=lambda each: (_ORDER[each[1].start], each[0]))
    yield ""
    yield "### pvehooks: VMs and passthrough"
    yield ""
    yield f"{wording.counted(len(guests), 'VM')}, {len(found) or 'none'} with something that needs a look{':' if found else '.'}"
    yield ""
    for _, guest in found[:most]:
        yield f"- {_guest(guest)}"
    yield from _more(len(found) - most, "pvehooks check")
    yield from _free(node, most)
    yield f"What to do about it: {_code('pvehooks check VMID')}. What a finding means: {_code('pvehooks explain RULE')}."
    yield ""


_ORDER = {StartVerdict.MUST_NOT: 0, StartVerdict.WOULD_NOT: 1, StartVerdict.WOULD: 2}


def _rules(guest: GuestStats) -> list[str]:
    """The rules of the findings that say what a start comes to."""
    heavy = Severity.WARNING if guest.start is StartVerdict.WOULD else Severity.BLOCK
    return list(dict.fromkeys(each.rule for each in guest.findings if each.severity is heavy and each.examined and not each.ignored))


def _guest(guest: GuestStats) -> str:
    words = wording.start(guest.start, guest.why_unguarded) if guest.start is not StartVerdict.WOULD else "would start, with a warning"
    return f"{_text(guest.label)} **{_text(words)}**: {wording.and_more([_code(rule) for rule in _rules(guest)], _RULES)}"


def _free(node: Node, most: int) -> Iterator[str]:
    if isinstance(node.pci, Unread):
        return
    free = [member for group in groups.groups(node) if group.free for member in group.devices if not member.board]
    yield f"Free to be passed through: {'' if free else 'nothing.'}".strip()
    yield ""
    for member in free[:most]:
        named = ", ".join(dict.fromkeys(each.label for each in member.named))
        words = [_code(member.device.address), _text(member.device.words), *([_text(f"(named by {named})")] if named else [])]
        yield f"- {' '.join(words)}"
    yield from _more(len(free) - most, "pvehooks host groups --free")


def _more(count: int, command: str) -> Iterator[str]:
    if count > 0:
        yield f"- and {count} more: {_code(command)}"
    yield ""


def _code(words: str) -> str:
    """A word of ours as code: it has no backtick."""
    return f"`{words}`"


def _text(words: str) -> str:
    """Text that others may have written, shortened, and so that nothing in it is markup, a link or HTML."""
    # Most daemons write no notes.
    from pvehooks.report import markdown

    shown = wording.printable(words)
    return markdown.text(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}...")
