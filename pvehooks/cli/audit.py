"""What a person had the command line do, for the journal. Not a verb."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from pvehooks.report.words import printable
from pvehooks.values import Guest

IDENTIFIER = "pvehooks"


def who() -> str:
    """Who asks: by sudo, by login, by PVE's own user in its shell, or the owner of the process."""
    named = (os.environ.get(name, "") for name in ("SUDO_USER", "PVE_USER", "LOGNAME", "USER"))
    return printable(next(filter(None, named), f"user {os.geteuid()}"))[:64]


def tell(host: Host, node: str, kind: str, message: str, **fields: str) -> None:
    """An event of one of the kinds in report.entries, with who asked for it. A tree has no journal; where a node has none, nothing is said."""
    _say(host, node, None, kind, message, fields)


def tell_of(host: Host, guest: Guest, kind: str, message: str, **fields: str) -> None:
    """The same of a guest of this node, whose name is put in front."""
    _say(host, guest.node, guest, kind, message, fields)


def _say(host: Host, node: str, guest: Guest | None, kind: str, message: str, fields: Mapping[str, str]) -> None:
    if not host.is_node:
        return
    from pvehooks.report import entries, sink

    if host.exists(sink.SOCKET):
        by, text = who(), "; ".join(message.splitlines())
        try:
            sink.Journal(IDENTIFIER).say(entries.event(kind, f"{text} (asked for by {by})", node, guest, 0, by=by, **fields))
        except (ImportError, OSError):
            # What was done is done, and told on the terminal.
            return


@contextmanager
def broken_off(host: Host, guest: Guest, kind: str, what: str) -> Iterator[None]:
    """An ActionFailed from within is in the journal as an event of that kind, before it goes on."""
    try:
        yield
    except ActionFailed as failed:
        why = failed.message.removeprefix(f"{guest.label}: ")
        tell_of(host, guest, kind, f"{what} was broken off: {why}. {failed.hint}".rstrip())
        raise
