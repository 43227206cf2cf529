"""Applies a plan and undoes it: a two-phase commit over the files of the node.

Prepare: copies of all files, before and after, and a manifest with the state `begun` are on disk before the first file changes.
Commit: the files are written one after the other and read back, the commands run, the state becomes `done`. If a file cannot be written,
those written are rolled back. If the program is killed in between, the manifest lets `host undo` roll back; undo has the state `undoing`
meanwhile, and can be repeated.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator

from pvehooks.actions.host import draft, history
from pvehooks.actions.host.history import FixedFile, FixRecord, FixState
from pvehooks.actions.host.plan import Command, Plan
from pvehooks.actions.host.texts import ByHand
from pvehooks.errors import ActionFailed, Refused
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import NamedTuple

# Updating the initramfs of many kernels takes minutes; an interrupted update leaves the node without a boot.
_SECONDS = 3600.0
_LINES_SHOWN = 5
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
OnCommand = Callable[[str], None]


class AppliedFix(NamedTuple):
    """What was done: where the copies are ('' without any), the files written, the commands run, and those left for the admin."""

    copies_dir: str
    files: tuple[str, ...]
    ran: tuple[Command, ...]
    left_to_admin: tuple[Command, ...]


def apply(host: Host, plan: Plan, on_command: OnCommand) -> AppliedFix:
    """Applies the plan; calls `on_command` before each command. Raises Refused when nothing may be done, ActionFailed."""
    if plan.harm:
        raise Refused(
            f"the next restart would take something from the node: {plan.harm[0].message}",
            hint=f"Fix that as well: pvehooks host fix {' '.join(dict.fromkeys(finding.rule for finding in plan.harm))}",
        )
    if plan.empty:
        return AppliedFix("", (), (), ())
    record = None
    with _locked(host):
        if plan.changes:
            record = _prepare(host, plan)
            _commit(host, plan, record)
        ran, left_to_admin = _run(
            host, plan.commands, on_command, "The files are changed. Once the cause is gone, type" if record else "Type"
        )
        if record is not None:
            _store_state_if_possible(host, record, FixState.DONE)
            history.prune(host)
    return AppliedFix(record.directory if record else "", tuple(change.path for change in plan.changes), ran, left_to_admin)


def _prepare(host: Host, plan: Plan) -> FixRecord:
    """Stores the copies and the manifest; raises ActionFailed with all files as they were."""
    with contextlib.suppress(ActionFailed):
        before = history.last_undoable(host)
        if before is not None and before.state is not FixState.DONE:
            _remove_temporary_files(host, before)
    for change in plan.changes:
        if _read(host, change.path) != change.before:
            raise ActionFailed(
                f"{change.path} was changed by another process a moment ago", "Nothing was changed. Check the file, then try again"
            )
    rules = tuple(dict.fromkeys(item.finding.rule for item in plan.items if not item.by_hand))
    try:
        return history.prepare(host, plan.changes, plan.commands, rules)
    except OSError as error:
        as_root = "; run it as root" if isinstance(error, PermissionError) else ""
        raise ActionFailed(
            f"the files could not be copied to {history.DIRECTORY}: {error.strerror}", f"Nothing was changed{as_root}"
        ) from error


def _commit(host: Host, plan: Plan, record: FixRecord) -> None:
    """Writes the files; raises ActionFailed after rolling back what was written."""
    for number, (file, change) in enumerate(zip(record.files, plan.changes, strict=True)):
        try:
            _write(host, file, change.after)
            if _read(host, file.path) != change.after:
                raise OSError(5, "it does not read back as written")
        except OSError as error:
            trouble = _roll_back(host, record, record.files[: number + 1])
            if not trouble:
                _store_state_if_possible(host, record, FixState.UNDONE)
            hint = f"{trouble}; the copies are in {record.directory}" if trouble else "All is as it was"
            raise ActionFailed(f"{file.path} cannot be written: {error.strerror}", hint) from error


def _write(host: Host, file: FixedFile, content: bytes | None) -> None:
    """Writes the content with the file's mode and owner, or removes the file for None; raises OSError."""
    if content is None:
        host.remove(file.path, durable=True)
    else:
        host.replace(file.path, content, mode=file.mode, durable=True, keep_mode=False, owner=(file.uid, file.gid))


def _run(host: Host, commands: tuple[Command, ...], on_command: OnCommand, again: str) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
    """Runs all commands, for a tree none; returns those run and those left for the admin. Raises ActionFailed."""
    if not host.is_node:
        return (), commands
    for number, command in enumerate(commands):
        words = " ".join(command)
        hint = f"{again}: {' && '.join(' '.join(each) for each in commands[number:])}; or go back: pvehooks host undo"
        on_command(words)
        try:
            done = host.run(command, _SECONDS)
        except CommandTrouble as trouble:
            raise ActionFailed(f"{trouble}", hint) from trouble
        if done.status != 0:
            output = "\n".join((done.stderr or done.stdout).strip().split("\n")[-_LINES_SHOWN:])
            raise ActionFailed(f"{words} ended with {done.status}\n{output}".rstrip(), hint)
    return commands, ()


# -- undo -------------------------------------------------------------------------------------------------------------


class Undone(NamedTuple):
    """What was rolled back: the fix's directory and rules, the files, the commands run and those left for the admin."""

    copies_dir: str
    rules: tuple[str, ...]
    files: tuple[str, ...]
    ran: tuple[Command, ...]
    left_to_admin: tuple[Command, ...]


def undo(host: Host, force: bool, on_command: OnCommand) -> Undone | None:
    """Rolls the last fix back; None if there is none. Raises Refused with a diff if a file was edited since, ActionFailed."""
    with _locked(host):
        record = history.last_undoable(host)
        if record is None:
            return None
        due = [file for file in record.files if _read(host, file.path) != history.read_copy(host, record, file.before)]
        edited = [file for file in due if _read(host, file.path) != history.read_copy(host, record, file.after)]
        if edited and not force:
            raise Refused(
                "\n".join(line for file in edited for line in _describe_edit(host, record, file)),
                "To put it back all the same: pvehooks host undo --force",
            )
        _require_editable(host, due)
        for number, file in enumerate(edited):
            _back_up_edit(host, record, file, number)
        was_undoing = record.state is FixState.UNDOING
        record = record._replace(pids=tuple(dict.fromkeys((*record.pids, host.pid))))
        _store_state(host, record, FixState.UNDOING)
        trouble = _roll_back(host, record, tuple(due))
        if trouble:
            raise ActionFailed(trouble, f"The copies are in {record.directory}")
        _remove_temporary_files(host, record)
        ran, left_to_admin = _run(host, record.commands, on_command, "The files are back. Type") if due or was_undoing else ((), ())
        _store_state_if_possible(host, record, FixState.UNDONE)
    return Undone(record.directory, record.rules, tuple(file.path for file in due), ran, left_to_admin)


def _require_editable(host: Host, files: list[FixedFile]) -> None:
    for file in files:
        try:
            draft.require_editable(host, file.path)
        except ByHand as why:
            raise Refused(f"{why}", "It is not written to; put it back by hand") from why


def _back_up_edit(host: Host, record: FixRecord, file: FixedFile, number: int) -> None:
    content = _read(host, file.path)
    if content is not None:
        try:
            host.replace(f"{record.directory}/{number}.edited", content, mode=0o600, durable=True, keep_mode=False)
        except OSError as error:
            raise ActionFailed(f"{file.path} could not be copied to {record.directory}: {error.strerror}", "Nothing was changed") from error


def _roll_back(host: Host, record: FixRecord, files: tuple[FixedFile, ...]) -> str:
    """Restores the files from the copies; returns which could not be restored, '' for none."""
    for file in files:
        try:
            content = history.read_copy(host, record, file.before)
            if _read(host, file.path) == content:
                continue
            _write(host, file, content)
        except OSError as error:
            return f"{file.path} cannot be put back: {error.strerror}"
    return ""


def _remove_temporary_files(host: Host, record: FixRecord) -> None:
    """Removes what a program that was killed while it wrote has left beside the files."""
    for file in record.files:
        for pid in record.pids:
            host.remove(f"{file.path}.tmp.{pid}")


def _describe_edit(host: Host, record: FixRecord, file: FixedFile) -> Iterator[str]:
    """What was edited since the fix, as a diff."""
    yield f"{file.path} was edited since pvehooks changed it:"
    yield from diff(file.path, history.read_copy(host, record, file.after), _read(host, file.path))


# -- both -------------------------------------------------------------------------------------------------------------


def diff(path: str, before: bytes | None, after: bytes | None) -> Iterator[str]:
    """The lines of a unified diff; None is a file that does not exist."""
    old, new = (_LINE.findall((content or b"").decode("utf-8", "surrogateescape")) for content in (before, after))
    was, becomes = ("/dev/null" if content is None else path for content in (before, after))
    for line in difflib.unified_diff(old, new, was, becomes):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def _read(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ActionFailed(f"{path}: {error.strerror}", "Nothing was changed") from error


def _store_state(host: Host, record: FixRecord, state: FixState) -> None:
    try:
        history.write_manifest(host, record._replace(state=state))
    except OSError as error:
        as_root = "; run it as root" if isinstance(error, PermissionError) else ""
        raise ActionFailed(f"{record.directory} cannot be written: {error.strerror}", f"No file was put back{as_root}") from error


def _store_state_if_possible(host: Host, record: FixRecord, state: FixState) -> None:
    """For a full disk: the files are as they should be, and the state before this one allows an undo as well."""
    with contextlib.suppress(OSError):
        history.write_manifest(host, record._replace(state=state))


@contextlib.contextmanager
def _locked(host: Host) -> Iterator[None]:
    """Excludes other fixes and undos; raises ActionFailed."""
    lock = host.lock(history.LOCK, history.LOCK_SECONDS)
    try:
        lock.__enter__()
    except BlockingIOError as error:
        raise ActionFailed("another host fix or host undo is at work", "Wait for it, and try it again") from error
    except OSError as error:
        raise ActionFailed(f"{history.LOCK}: {error.strerror}", "Run it as root") from error
    try:
        yield
    finally:
        lock.__exit__()
