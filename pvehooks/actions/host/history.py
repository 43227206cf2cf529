"""What is kept of a fix for its undoing: a directory with a manifest and copies of each file, before and after."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time

from pvehooks.actions.hostfix.plan import Change, Command
from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from pvehooks.values import NamedTuple

DIRECTORY = "/var/lib/pvehooks/host"
LOCK = "/run/lock/pvehooks/host-fix.lock"
LOCK_SECONDS = 3.0
_MANIFEST = "manifest.json"
_VERSION = 1
# So many can be undone one after the other.
MOST = 20
# Begun: some of its files may be written. Undoing: some may be back. Where a program was killed it stays so.
STATES = ("begun", "done", "undoing", "undone")


class File(NamedTuple):
    """A file of a fix; `before` and `after` name the copies, '' where there is none. Mode and owner are those it had, the owner of a new one is -1."""

    path: str
    before: str
    after: str
    mode: int
    uid: int
    gid: int


class Kept(NamedTuple):
    """A fix: its directory, state, the rules it was for, its files, the commands after them, the processes that wrote."""

    name: str
    state: str
    rules: tuple[str, ...]
    files: tuple[File, ...]
    commands: tuple[Command, ...]
    pids: tuple[int, ...]

    @property
    def place(self) -> str:
        """Its directory."""
        return f"{DIRECTORY}/{self.name}"


def keep(host: Host, changes: tuple[Change, ...], commands: tuple[Command, ...], rules: tuple[str, ...]) -> Kept:
    """Keeps all that is needed to undo, before anything is changed; raises OSError."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(host.now()))
    # Names must grow, also where the clock went back.
    newest = max(_names(host), default="")
    kept = Kept(stamp if stamp > newest else f"{newest}-1", "begun", rules, (), commands, (host.pid,))
    host.make_dir(DIRECTORY, mode=0o700)
    host.make_dir(kept.place, mode=0o700)
    files = []
    for number, change in enumerate(changes):
        before = "" if change.before is None else f"{number}.before"
        after = "" if change.after is None else f"{number}.after"
        mode, uid, gid = (0o644, -1, -1) if change.before is None else host.attributes(change.path)[:3]
        for name, content in ((before, change.before), (after, change.after)):
            if content is not None:
                host.replace(f"{kept.place}/{name}", content, mode=0o600, durable=True, keep_mode=False)
        files.append(File(change.path, before, after, mode & 0o7777, uid, gid))
    kept = kept._replace(files=tuple(files))
    write(host, kept)
    for file, change in zip(files, changes, strict=True):
        if (copy(host, kept, file.before), copy(host, kept, file.after)) != (change.before, change.after):
            raise OSError(5, "a copy does not read back as written", f"{kept.place}")
    return kept


def write(host: Host, kept: Kept) -> None:
    """Writes the manifest, with the digests of the copies; raises OSError."""
    document = {
        "version": _VERSION,
        "state": kept.state,
        "rules": kept.rules,
        "commands": kept.commands,
        "pids": kept.pids,
        "files": [
            {**file._asdict(), "digests": [_digest(host, kept, file.before), _digest(host, kept, file.after)]} for file in kept.files
        ],
    }
    text = json.dumps(document, indent=1)
    host.replace(f"{kept.place}/{_MANIFEST}", f"{text}\n".encode(), mode=0o600, durable=True, keep_mode=False)


def copy(host: Host, kept: Kept, name: str) -> bytes | None:
    """A copy's bytes, None for ''; raises OSError."""
    return host.read(f"{kept.place}/{name}", 1 << 20) if name else None


def _digest(host: Host, kept: Kept, name: str) -> str:
    content = copy(host, kept, name)
    return "" if content is None else hashlib.sha256(content).hexdigest()


def last(host: Host) -> Kept | None:
    """The last fix that is not undone; those that were ended before they had a manifest changed nothing. Raises ActionFailed."""
    for name in sorted(_names(host), reverse=True):
        kept = _read(host, name)
        if kept is not None and kept.state != "undone":
            return kept
    return None


def prune(host: Host) -> None:
    """Removes old fixes: those that can be undone and those that were are counted apart. What cannot be read or removed stays."""
    kept_of = {True: 0, False: 0}
    try:
        names = sorted(_names(host), reverse=True)
    except OSError:
        return
    for name in names:
        with contextlib.suppress(ActionFailed, OSError):
            kept = _read(host, name)
            undone = kept is None or kept.state == "undone"
            kept_of[undone] += 1
            if kept is None or kept_of[undone] > MOST:
                _remove(host, f"{DIRECTORY}/{name}")


def _remove(host: Host, place: str) -> None:
    """Without its manifest a directory is no fix any more: that goes first."""
    for name in sorted(host.names(place), key=lambda name: name != _MANIFEST):
        host.remove(f"{place}/{name}")
    host.remove_dir(place)


def _names(host: Host) -> list[str]:
    try:
        return [name for name in host.folders(DIRECTORY) if name[:1].isdigit()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(host: Host, name: str) -> Kept | None:
    """A fix; None where it has no manifest. Raises ActionFailed where that, or a copy, is not as it was written."""
    path = f"{DIRECTORY}/{name}/{_MANIFEST}"
    try:
        content = host.read(path)
    except FileNotFoundError:
        return None
    hint = f"Put the files back by hand: their copies are in {DIRECTORY}/{name}"
    try:
        document = json.loads(content)
        if document["version"] != _VERSION or document["state"] not in STATES:
            raise ValueError("it is of another version")
        rows = document["files"]
        files = tuple(File(*(row[field] for field in File._fields)) for row in rows)
        kept = Kept(
            name,
            document["state"],
            tuple(map(str, document["rules"])),
            files,
            tuple(tuple(map(str, command)) for command in document["commands"]),
            tuple(map(int, document["pids"])),
        )
        if not all(_sound(file) for file in files):
            raise ValueError("it names a file outside of /etc")
        if any(
            row["digests"] != [_digest(host, kept, file.before), _digest(host, kept, file.after)]
            for row, file in zip(rows, files, strict=True)
        ):
            raise ValueError("a copy is not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ActionFailed(f"{path} cannot be used: {error}", hint) from error
    except OSError as error:
        raise ActionFailed(f"{error.filename or path}: {error.strerror}", hint) from error
    return kept


def _sound(file: File) -> bool:
    """Whether its fields are what this program writes."""
    plain = all(isinstance(text, str) for text in (file.path, file.before, file.after))
    if not plain or not all(isinstance(number, int) for number in (file.mode, file.uid, file.gid)):
        return False
    return (
        file.path.startswith("/etc/")
        and ".." not in file.path
        and not any("/" in name for name in (file.before, file.after))
        and bool(file.before or file.after)
    )
