"""The guard's journal entries. systemd's module takes 15 ms to import, so only a start with an incident imports it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host
    from pvehooks.journal.entries import Entry
    from pvehooks.values import Finding, Guest

IDENTIFIER = "pvehooks-guard"


def event(host: Host, kind: str, message: str, node: str, vmid: int, **fields: str) -> None:
    """Writes an event of a kind in journal.events; `node` is '' if it is unknown. A tree has no journal."""
    if host.is_node:
        from pvehooks.journal import entries

        # PVE names a node by its host name.
        name = node or os.uname().nodename.partition(".")[0]
        _write(host, entries.event(kind, message, name, None, vmid, **fields))


def finding(host: Host, guest: Guest, found: Finding, verdict: str) -> None:
    """Writes a finding that refused a start, or would have."""
    if host.is_node:
        from pvehooks.journal import entries

        _write(host, entries.finding(guest, found, verdict)._replace(notify="refused_starts" if verdict == "block" else ""))


def bug(host: Host, error: BaseException, node: str, vmid: int) -> None:
    """Writes a bug of the guard with its traceback."""
    import traceback

    text = "".join(traceback.format_exception(error))
    event(host, "guard-bug", f"VM {vmid}: the guard made a mistake at a start: {error!r}", node, vmid, traceback=text)


def _write(host: Host, entry: Entry) -> None:
    try:
        from pvehooks.journal import output

        if host.exists(output.SOCKET):
            output.Journal(IDENTIFIER).write(entry)
    except Exception:  # noqa: BLE001 - the start matters more than its journal entry
        return
