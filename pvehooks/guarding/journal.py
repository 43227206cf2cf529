"""What the guard leaves in the journal. systemd's module takes 15 ms to import: a start without an incident does without."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host
    from pvehooks.journal.entries import Entry
    from pvehooks.values import Finding, Guest

IDENTIFIER = "pvehooks-guard"


def event(host: Host, kind: str, message: str, node: str, vmid: int, **fields: str) -> None:
    """An event of one of the kinds in journal.events; `node` is '' where it was not found out. A tree has no journal."""
    if host.is_node:
        from pvehooks.journal import entries

        # PVE names a node by its host name.
        name = node or os.uname().nodename.partition(".")[0]
        _send(host, entries.event(kind, message, name, None, vmid, **fields))


def finding(host: Host, guest: Guest, found: Finding, verdict: str) -> None:
    """A finding that refused a start, or would have."""
    if host.is_node:
        from pvehooks.journal import entries

        _send(host, entries.finding(guest, found, verdict))


def bug(host: Host, error: BaseException, node: str, vmid: int) -> None:
    """A mistake of ours, with its traceback; nothing that goes wrong here may hide it."""
    import traceback

    text = "".join(traceback.format_exception(error))
    event(host, "guard-bug", f"VM {vmid}: the guard made a mistake at a start: {error!r}", node, vmid, traceback=text)


def _send(host: Host, entry: Entry) -> None:
    try:
        from pvehooks.journal import output

        if host.exists(output.SOCKET):
            output.Journal(IDENTIFIER).write(entry)
    except Exception:  # noqa: BLE001 - the start matters more than what is noted of it
        return
