"""What a person had the command line do, for the journal. Not a verb."""

from __future__ import annotations

import os

from pvehooks.host import Host
from pvehooks.report.words import printable

IDENTIFIER = "pvehooks"


def who() -> str:
    """Who asks: by sudo, by login, by PVE's own user in its shell, or the owner of the process."""
    named = (os.environ.get(name, "") for name in ("SUDO_USER", "PVE_USER", "LOGNAME", "USER"))
    return printable(next(filter(None, named), f"user {os.geteuid()}"))[:64]


def tell(host: Host, node: str, kind: str, message: str, **fields: str) -> None:
    """An event of one of the kinds in report.entries, with who asked for it. A tree has no journal; where a node has none, nothing is said."""
    if not host.is_node:
        return
    from pvehooks.report import entries, sink

    if host.exists(sink.SOCKET):
        by, text = who(), "; ".join(message.splitlines())
        try:
            sink.Journal(IDENTIFIER).say(entries.event(kind, f"{text} (asked for by {by})", node, None, 0, by=by, **fields))
        except (ImportError, OSError):
            # What was done is done, and told on the terminal.
            return
