"""The fixes that can be undone: for each a directory with a manifest and copies of each file, before and after."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import json
import time

from pvehooks.actions.host.plan import Command, FileChange
from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from pvehooks.values import NamedTuple

DIRECTORY = "/var/lib/pvehooks/host"
LOCK = "/run/pvehooks/locks/host-fix.lock"
LOCK_SECONDS = 3.0
_MANIFEST = "manifest.json"
_VERSION = 1
# The number of fixes that can be undone.
LIMIT = 20


class FixState(enum.StrEnum):
    """BEGUN: some of its files may be written. UNDOING: some may be back. These stay if the program is killed."""

    BEGUN = "begun"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


class FixedFile(NamedTuple):
    """A file of a fix, with the mode and owner that it had."""

    path: str
    # The name of the copy from before the fix, '' if there was no such file.
    before: str
    # The same from after the fix.
    after: str
    mode: int
    # -1 for a new file, like `gid`.
    uid: int
    gid: int


class FixRecord(NamedTuple):
    """A fix: its directory, state, the rules it was for, its files, the commands after them, the processes that wrote."""

    name: str
    state: FixState
    rules: tuple[str, ...]
    files: tuple[FixedFile, ...]
    commands: tuple[Command, ...]
    pids: tuple[int, ...]

    @property
    def directory(self) -> str:
        """Its directory."""
        return f"{DIRECTORY}/{self.name}"


def prepare(host: Host, changes: tuple[FileChange, ...], commands: tuple[Command, ...], rules: tuple[str, ...]) -> FixRecord:
    """Stores everything that an undo needs, before a file is changed; raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(host.now()))
    # Names sort by time, also after the clock went back.
    newest = max(_names(host), default="")
    record = FixRecord(stamp if stamp > newest else f"{newest}-1", FixState.BEGUN, rules, (), commands, (host.pid,))
    host.make_dir(DIRECTORY, mode=0o700, durable=True)
    host.make_dir(record.directory, mode=0o700, durable=True)
    files = []
    for number, change in enumerate(changes):
        before = "" if change.before is None else f"{number}.before"
        after = "" if change.after is None else f"{number}.after"
        mode, uid, gid = (0o644, -1, -1) if change.before is None else host.attributes(change.path)[:3]
        for name, content in ((before, change.before), (after, change.after)):
            if content is not None:
                host.replace(f"{record.directory}/{name}", content, mode=0o600, durable=True, keep_mode=False)
        files.append(FixedFile(change.path, before, after, mode & 0o7777, uid, gid))
    record = record._replace(files=tuple(files))
    write_manifest(host, record)
    for file, change in zip(files, changes, strict=True):
        if (read_copy(host, record, file.before), read_copy(host, record, file.after)) != (change.before, change.after):
            raise OSError(5, "a copy does not read back as written", f"{record.directory}")
    return record


def write_manifest(host: Host, record: FixRecord) -> None:
    """Writes the manifest, with the digests of the copies; raises OSError."""
    document = {
        "version": _VERSION,
        "state": record.state,
        "rules": record.rules,
        "commands": record.commands,
        "pids": record.pids,
        "files": [
            {**file._asdict(), "digests": [_digest(host, record, file.before), _digest(host, record, file.after)]} for file in record.files
        ],
    }
    text = json.dumps(document, indent=1)
    host.replace(f"{record.directory}/{_MANIFEST}", f"{text}\n".encode(), mode=0o600, durable=True, keep_mode=False)


def read_copy(host: Host, record: FixRecord, name: str) -> bytes | None:
    """A copy's bytes, None for ''; raises OSError."""
    return host.read(f"{record.directory}/{name}", 1 << 20) if name else None


def _digest(host: Host, record: FixRecord, name: str) -> str:
    content = read_copy(host, record, name)
    return "" if content is None else hashlib.sha256(content).hexdigest()


def last_undoable(host: Host) -> FixRecord | None:
    """The last fix that is not undone; one without a manifest has changed nothing and does not count. Raises ActionFailed."""
    for name in sorted(_names(host), reverse=True):
        record = _read(host, name)
        if record is not None and record.state is not FixState.UNDONE:
            return record
    return None


def prune(host: Host) -> None:
    """Removes the oldest above LIMIT, undoable and undone ones counted apart. What cannot be read or removed stays."""
    seen = {True: 0, False: 0}
    try:
        names = sorted(_names(host), reverse=True)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(ActionFailed, OSError):
            record = _read(host, name)
            undone = record is None or record.state is FixState.UNDONE
            seen[undone] += 1
            if record is None or seen[undone] > LIMIT:
                _remove(host, f"{DIRECTORY}/{name}")


def _remove(host: Host, place: str) -> None:
    """The manifest goes first: a directory without one is no fix."""
    host.remove(f"{place}/{_MANIFEST}", durable=True)
    for name in host.names(place):
        host.remove(f"{place}/{name}")
    host.remove_dir(place)


def _names(host: Host) -> list[str]:
    try:
        return [name for name in host.folders(DIRECTORY) if name[:1].isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(host: Host, name: str) -> FixRecord | None:
    """A fix; None if it has no manifest. Raises ActionFailed if the manifest or a copy is damaged."""
    path = f"{DIRECTORY}/{name}/{_MANIFEST}"
    try:
        content = host.read(path)
    except FileNotFoundError:
        return None
    hint = f"Put the files back by hand: their copies are in {DIRECTORY}/{name}"
    try:
        document = json.loads(content)
        if document["version"] != _VERSION or document["state"] not in list(FixState):
            raise ValueError("it is of another version")
        rows = document["files"]
        files = tuple(FixedFile(*(row[field] for field in FixedFile._fields)) for row in rows)
        record = FixRecord(
            name,
            FixState(document["state"]),
            tuple(map(str, document["rules"])),
            files,
            tuple(tuple(map(str, command)) for command in document["commands"]),
            tuple(map(int, document["pids"])),
        )
        if not all(_is_valid(file) for file in files):
            raise ValueError("it names a file outside of /etc")
        if any(
            row["digests"] != [_digest(host, record, file.before), _digest(host, record, file.after)]
            for row, file in zip(rows, files, strict=True)
        ):
            raise ValueError("a copy is not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ActionFailed(f"{path} cannot be used: {error}", hint) from error
    except OSError as error:
        raise ActionFailed(f"{error.filename or path}: {error.strerror}", hint) from error
    return record


def _is_valid(file: FixedFile) -> bool:
    """Whether the fields are of the kind that this program writes."""
    plain = all(isinstance(text, str) for text in (file.path, file.before, file.after))
    if not plain or not all(isinstance(number, int) for number in (file.mode, file.uid, file.gid)):
        return False
    return (
        file.path.startswith("/etc/")
        and ".." not in file.path
        and not any("/" in name for name in (file.before, file.after))
        and bool(file.before or file.after)
    )
