"""Keeps a marked block in the node's notes, which Proxmox VE's web interface shows; all around it stays as it is, byte by byte."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from pvehooks import records
from pvehooks.actions import backups, qm, writer_process
from pvehooks.actions.result import Outcome, Result
from pvehooks.errors import ActionFailed, PmxcfsAway
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.formats import nodenotes
from pvehooks.host import Host
from pvehooks.values.base import sha1

# That the block was written, on the node's own disk: one that is missing then was taken away by an administrator.
WRITTEN = "/var/lib/pvehooks/node-notes"
_MAX_BYTES = 1 << 20
_SWITCH = "[gui] node_notes = off"


def path(node: str) -> str:
    """The file that has the notes."""
    return f"{node_facts.NODES}/{node}/config"


def keep(host: Host, node: str, block: Sequence[str]) -> Result:
    """Has these lines be the block, without any: has it gone. `words` say why it is not so. It waits for Proxmox VE's code: not for the loop."""
    try:
        before = records.read(host, path(node), _MAX_BYTES) or b""
    except PmxcfsAway as error:
        return Result(Outcome.WAITING, error.message)
    try:
        where = nodenotes.place(before)
    except nodenotes.Damaged:
        lost = f"{nodenotes.BEGIN} or {nodenotes.END} is missing, or is there twice"
        return Result(Outcome.DECLINED, f"its marks in the node's notes were edited ({lost}); delete what is left of the block by hand")
    after = nodenotes.with_block(before, block)
    if after == before:
        return _noted(host, bool(block), Outcome.ALREADY)
    if block and not where.is_there and host.exists(WRITTEN):
        return Result(Outcome.DECLINED, f"it was taken out of the node's notes by hand; to have it again, {_SWITCH}, then on")
    if block and len(nodenotes.notes(after)) > nodenotes.LIMIT:
        return Result(Outcome.DECLINED, "the node's notes would be longer than the 64 KiB that Proxmox VE takes")
    try:
        copy = backups.save_file(host, f"notes-{node}", before)
    except ActionFailed as error:
        return Result(Outcome.UNSAVED, f"{error.message}. {error.hint}")
    if not block:
        # First: a block that is missing is not taken for another's doing.
        _noted(host, False, Outcome.DONE)
    result = _write(host, node, before, after)
    try:
        left = records.read(host, path(node), _MAX_BYTES) or b""
    except PmxcfsAway as error:
        return Result(Outcome.WAITING, error.message)
    is_written = left == after or nodenotes.is_with_block(left, before, block)
    if left != before and not is_written and result.outcome is not Outcome.CHANGED:
        return Result(Outcome.NOT_VERIFIED, f"{path(node)} is not as expected after it was written; as it was before: {copy}")
    with contextlib.suppress(OSError):
        host.remove(copy)
        if not left:
            # There was none before.
            host.remove(path(node))
    return _noted(host, bool(block), Outcome.DONE) if is_written else result


def _noted(host: Host, is_there: bool, outcome: Outcome) -> Result:
    """Notes whether the block was written."""
    try:
        if is_there and not host.exists(WRITTEN):
            host.make_dir(WRITTEN.rpartition("/")[0], mode=0o700)
            host.replace(WRITTEN, b"")
        elif not is_there:
            host.remove(WRITTEN, durable=True)
    except OSError as error:
        return Result(Outcome.UNSAVED, f"{WRITTEN}: {error.strerror}")
    return Result(outcome, "")


def _write(host: Host, node: str, before: bytes, after: bytes) -> Result:
    if not host.is_node:
        host.replace(path(node), after)
        return Result(Outcome.DONE, "")
    try:
        answer = writer_process.of(host).ask("notes", 0, digest=sha1(before).hex(), notes=nodenotes.notes(after))
    except (writer_process.Unavailable, writer_process.Away, writer_process.Lost) as trouble:
        return Result(Outcome.WAITING, str(trouble))
    words = qm.first_words(answer.words)
    if answer.outcome == "changed" or qm.situation(answer.words) is Outcome.CHANGED:
        return Result(Outcome.CHANGED, "")
    if answer.outcome == "lossy":
        what = "lines that end with blanks, or values that it does not take"
        return Result(
            Outcome.LOSSY, f"Proxmox VE would write more of {path(node)} anew ({what}); edit and save the notes once in its web interface"
        )
    return Result(Outcome.WAITING, f"Proxmox VE did not write the node's notes: {words or answer.outcome}")
