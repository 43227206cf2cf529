"""Entries that people get a message about: each lies in a file of its own until pvehooks-notify.service has taken it.

What writes an entry leaves it there: the daemon, whose sandbox has no network, the guard, which must not wait, the command line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pvehooks.host import Host
from pvehooks.journal.entries import Entry
from pvehooks.values.base import NamedTuple
from pvehooks.wording import printable

HOME = "/var/lib/pvehooks/notify"
# pvehooks-notify.path makes and watches it: where it is not there, nothing would take what is left.
DIRECTORY = f"{HOME}/new"
# A byte for each entry that found the outbox full.
LEFT_OUT = f"{HOME}/left-out"
# So many wait at most, each so long: what fills the outbox is a storm, or a unit that does not run.
MOST = 200
_LONGEST = 4000
_LIMIT = 1 << 16


class Letter(NamedTuple):
    """An entry that people get a message about."""

    # The kind of event.
    event: str
    # The option in [notify].
    option: str
    # syslog's.
    priority: int
    # On one line, printable.
    text: str
    # The VM, 0 for none.
    vmid: int
    # The cause's id, of a failed start.
    cause: str
    node: str
    # Epoch seconds.
    time: float


def leave(host: Host, entry: Entry) -> str:
    """Leaves the entry; returns the name of its file, '' where it could not be left: the journal has it all the same."""
    field = {name.removeprefix("PVEHOOKS_").lower(): value if isinstance(value, str) else "" for name, value in entry.fields.items()}
    vmid = field.get("vmid", "")
    letter = Letter(
        field.get("event", ""),
        entry.notify,
        entry.priority,
        _shortened(printable(entry.message)),
        int(vmid) if vmid.isdecimal() else 0,
        field.get("cause", ""),
        field.get("node", ""),
        host.now(),
    )
    name = f"{int(letter.time * 1e6)}-{host.pid}.json"
    try:
        if len(host.names(DIRECTORY)) >= MOST:
            host.append(LEFT_OUT, b".", mode=0o600)
            return ""
        host.replace(f"{DIRECTORY}/{name}", json.dumps(letter._asdict()).encode(), mode=0o600)
    except OSError:
        return ""
    return name


def waiting(host: Host) -> list[str]:
    """The names of the files in the outbox, the oldest first."""
    return [name for name in _names(host) if name.endswith(".json")]


def is_empty(host: Host) -> bool:
    """Whether nothing at all is in it; what a writer that was killed has left goes after a minute."""
    names = _names(host)
    for name in names:
        if not name.endswith(".json") and abs(host.now() - _written(host, name)) > 60:
            remove(host, [name])
    return not names


def _names(host: Host) -> list[str]:
    try:
        return sorted(host.names(DIRECTORY))
    except OSError:
        return []


def _written(host: Host, name: str) -> float:
    try:
        return host.modified(f"{DIRECTORY}/{name}")
    except OSError:
        return host.now()


def read(host: Host, name: str) -> Letter | None:
    """What lies there; None where it is damaged."""
    try:
        found = json.loads(host.read(f"{DIRECTORY}/{name}", limit=_LIMIT))
        texts = {key: printable(_shortened(str(found[key]))) for key in ("event", "option", "text", "cause", "node")}
        return Letter(**texts, priority=int(found["priority"]), vmid=int(found["vmid"]), time=float(found["time"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def remove(host: Host, names: Iterable[str]) -> None:
    """Takes these files out of the outbox."""
    for name in names:
        host.remove(f"{DIRECTORY}/{name}")


def take_left_out(host: Host) -> int:
    """How many entries found the outbox full since it was last asked."""
    try:
        count = host.size(LEFT_OUT)
        host.remove(LEFT_OUT)
    except OSError:
        return 0
    return count


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} [...]"
