"""The audit log: what somebody changed with the command line, and who it was, as entries of the journal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from pvehooks.values import Guest
from pvehooks.wording import printable

IDENTIFIER = "pvehooks"


def user() -> str:
    """Who runs the command: by sudo, by login, by PVE's own user in its shell, or the owner of the process."""
    named = (os.environ.get(name, "") for name in ("SUDO_USER", "PVE_USER", "LOGNAME", "USER"))
    return printable(next(filter(None, named), f"user {os.geteuid()}"))[:64]


def log(host: Host, node: str, kind: str, message: str, **fields: str) -> None:
    """Logs an event of one of the kinds in journal.events. A tree has no journal; on a node without one, nothing is logged."""
    _log(host, node, None, kind, message, fields)


def log_guest(host: Host, guest: Guest, kind: str, message: str, **fields: str) -> None:
    """Logs an event about a guest of this node; its name is put in front of the message."""
    _log(host, guest.node, guest, kind, message, fields)


def _log(host: Host, node: str, guest: Guest | None, kind: str, message: str, fields: Mapping[str, str]) -> None:
    if not host.is_node:
        return
    from pvehooks.journal import entries, output

    if host.exists(output.SOCKET):
        by, text = user(), "; ".join(message.split("\n"))
        try:
            output.Journal(IDENTIFIER).write(entries.event(kind, f"{text} (asked for by {by})", node, guest, 0, by=by, **fields))
        except (ImportError, OSError):
            # The change is made, and the terminal shows it.
            return


@contextmanager
def failure_logged(host: Host, guest: Guest, kind: str, what: str) -> Iterator[None]:
    """Logs an ActionFailed from within as an event of that kind, before it goes on."""
    try:
        yield
    except ActionFailed as failed:
        why = failed.message.removeprefix(f"{guest.label}: ")
        log_guest(host, guest, kind, f"{what} was broken off: {why}. {failed.hint}".rstrip())
        raise
