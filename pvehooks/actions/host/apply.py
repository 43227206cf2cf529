"""Doing what was planned: copies first, then the files, then the commands; and putting the files back."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator

from pvehooks.actions.hostfix import draft, kept
from pvehooks.actions.hostfix.kept import File, Kept
from pvehooks.actions.hostfix.plan import Command, Plan
from pvehooks.actions.hostfix.texts import ByHand
from pvehooks.errors import ActionFailed, Refused
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import NamedTuple

# Making the initramfs of many kernels anew takes minutes; one that is ended half way leaves no boot.
_SECONDS = 3600.0
_SHOWN = 5
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
Tell = Callable[[str], None]


class Done(NamedTuple):
    """What was done: where the copies are ('' without any), the files written, the commands run, and those left for a person."""

    place: str
    files: tuple[str, ...]
    ran: tuple[Command, ...]
    to_type: tuple[Command, ...]


def apply(host: Host, plan: Plan, tell: Tell) -> Done:
    """Does it; raises Refused where nothing may be done, ActionFailed. `tell` is told each command before it runs."""
    if plan.harm:
        raise Refused(
            f"the next restart would take something from the node: {plan.harm[0].message}",
            hint=f"Mend that as well: pvehooks host fix {' '.join(dict.fromkeys(finding.rule for finding in plan.harm))}",
        )
    if plan.empty:
        return Done("", (), (), ())
    done = None
    with _locked(host):
        if plan.changes:
            done = _write_all(host, plan)
        ran, to_type = _run(host, plan.commands, tell, "The files are changed. Once the cause is gone, type" if done else "Type")
        if done is not None:
            _note_if_possible(host, done._replace(state="done"))
            kept.prune(host)
    return Done(done.place if done else "", tuple(change.path for change in plan.changes), ran, to_type)


def _write_all(host: Host, plan: Plan) -> Kept:
    with contextlib.suppress(ActionFailed):
        before = kept.last(host)
        if before is not None and before.state != "done":
            _forget_beside(host, before)
    for change in plan.changes:
        if _content(host, change.path) != change.before:
            raise ActionFailed(f"{change.path} was changed by somebody a moment ago", "Nothing was done; look, and try it again")
    rules = tuple(dict.fromkeys(item.finding.rule for item in plan.items if not item.by_hand))
    try:
        record = kept.keep(host, plan.changes, plan.commands, rules)
    except OSError as error:
        as_root = "; run it as root" if isinstance(error, PermissionError) else ""
        raise ActionFailed(
            f"the files could not be copied to {kept.DIRECTORY}: {error.strerror}", f"Nothing was changed{as_root}"
        ) from error
    for number, (file, change) in enumerate(zip(record.files, plan.changes, strict=True)):
        try:
            _put(host, file, change.after)
            if _content(host, file.path) != change.after:
                raise OSError(5, "it does not read back as written")
        except OSError as error:
            trouble = _put_back(host, record, record.files[: number + 1])
            if not trouble:
                _note_if_possible(host, record._replace(state="undone"))
            hint = f"{trouble}; the copies are in {record.place}" if trouble else "All is as it was"
            raise ActionFailed(f"{file.path} cannot be written: {error.strerror}", hint) from error
    return record


def _put(host: Host, file: File, content: bytes | None) -> None:
    """Has the file hold this, with its mode and owner, or not be there; raises OSError."""
    if content is None:
        host.remove(file.path)
    else:
        host.replace(file.path, content, mode=file.mode, durable=True, keep_mode=False, owner=(file.uid, file.gid))


def _run(host: Host, commands: tuple[Command, ...], tell: Tell, again: str) -> tuple[tuple[Command, ...], tuple[Command, ...]]:
    """Runs them all, or none for a tree; which were run, and which are left for a person. Raises ActionFailed."""
    if not host.is_node:
        return (), commands
    for number, command in enumerate(commands):
        words = " ".join(command)
        hint = f"{again}: {' && '.join(' '.join(each) for each in commands[number:])}; or go back: pvehooks host undo"
        tell(words)
        try:
            done = host.run(command, _SECONDS)
        except CommandTrouble as trouble:
            raise ActionFailed(f"{trouble}", hint) from trouble
        if done.status != 0:
            said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN:])
            raise ActionFailed(f"{words} ended with {done.status}\n{said}".rstrip(), hint)
    return commands, ()


# -- back -------------------------------------------------------------------------------------------------------------


class Undone(NamedTuple):
    """What was put back: the fix's place and rules, the files, the commands run and those left for a person."""

    place: str
    rules: tuple[str, ...]
    files: tuple[str, ...]
    ran: tuple[Command, ...]
    to_type: tuple[Command, ...]


def undo(host: Host, force: bool, tell: Tell) -> Undone | None:
    """Puts the files of the last fix back; None where there is none. Raises Refused with a diff where somebody edited one, ActionFailed."""
    with _locked(host):
        record = kept.last(host)
        if record is None:
            return None
        due = [file for file in record.files if _content(host, file.path) != kept.copy(host, record, file.before)]
        edited = [file for file in due if _content(host, file.path) != kept.copy(host, record, file.after)]
        if edited and not force:
            raise Refused(
                "\n".join(line for file in edited for line in _edited(host, record, file)),
                "To put it back all the same: pvehooks host undo --force",
            )
        _require_ours(due, host)
        for number, file in enumerate(edited):
            _save_edited(host, record, file, number)
        half = record.state == "undoing"
        record = record._replace(state="undoing", pids=tuple(dict.fromkeys((*record.pids, host.pid))))
        _note(host, record)
        trouble = _put_back(host, record, tuple(due))
        if trouble:
            raise ActionFailed(trouble, f"The copies are in {record.place}")
        _forget_beside(host, record)
        ran, to_type = _run(host, record.commands, tell, "The files are back. Type") if due or half else ((), ())
        _note_if_possible(host, record._replace(state="undone"))
    return Undone(record.place, record.rules, tuple(file.path for file in due), ran, to_type)


def _require_ours(files: list[File], host: Host) -> None:
    for file in files:
        try:
            draft.require_ours(host, file.path)
        except ByHand as why:
            raise Refused(f"{why}", "It is not written to; put it back by hand") from why


def _save_edited(host: Host, record: Kept, file: File, number: int) -> None:
    content = _content(host, file.path)
    if content is not None:
        try:
            host.replace(f"{record.place}/{number}.edited", content, mode=0o600, durable=True, keep_mode=False)
        except OSError as error:
            raise ActionFailed(f"{file.path} could not be copied to {record.place}: {error.strerror}", "Nothing was changed") from error


def _put_back(host: Host, record: Kept, files: tuple[File, ...]) -> str:
    """Has the files as they were; what could not be put back."""
    for file in files:
        try:
            content = kept.copy(host, record, file.before)
            if _content(host, file.path) == content:
                continue
            _put(host, file, content)
        except OSError as error:
            return f"{file.path} cannot be put back: {error.strerror}"
    return ""


def _forget_beside(host: Host, record: Kept) -> None:
    """Removes what a program that was killed while it wrote has left beside the files."""
    for file in record.files:
        for pid in record.pids:
            host.remove(f"{file.path}.tmp.{pid}")


def _edited(host: Host, record: Kept, file: File) -> Iterator[str]:
    """Says that somebody edited the file since, with a diff."""
    yield f"{file.path} was edited since pvehooks changed it:"
    yield from diff(file.path, kept.copy(host, record, file.after), _content(host, file.path))


# -- both -------------------------------------------------------------------------------------------------------------


def diff(path: str, before: bytes | None, after: bytes | None) -> Iterator[str]:
    """A unified diff, a line each; None is a file that is not there."""
    old, new = (_LINE.findall((content or b"").decode("utf-8", "surrogateescape")) for content in (before, after))
    was, becomes = ("/dev/null" if content is None else path for content in (before, after))
    for line in difflib.unified_diff(old, new, was, becomes):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def _content(host: Host, path: str) -> bytes | None:
    try:
        return host.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ActionFailed(f"{path}: {error.strerror}", "Nothing was changed") from error


def _note(host: Host, record: Kept) -> None:
    try:
        kept.write(host, record)
    except OSError as error:
        as_root = "; run it as root" if isinstance(error, PermissionError) else ""
        raise ActionFailed(f"{record.place} cannot be written: {error.strerror}", f"No file was put back{as_root}") from error


def _note_if_possible(host: Host, record: Kept) -> None:
    """Where the disk is full all is done all the same; what is noted before then serves for an undo as well."""
    with contextlib.suppress(OSError):
        kept.write(host, record)


@contextlib.contextmanager
def _locked(host: Host) -> Iterator[None]:
    """Holds off other fixes and undos; raises ActionFailed."""
    lock = host.lock(kept.LOCK, kept.LOCK_SECONDS)
    try:
        lock.__enter__()
    except BlockingIOError as error:
        raise ActionFailed("another host fix or host undo is at work", "Wait for it, and try it again") from error
    except OSError as error:
        raise ActionFailed(f"{kept.LOCK}: {error.strerror}", "Run it as root") from error
    try:
        yield
    finally:
        lock.__exit__()
