"""One node's copy of the cluster's files: the tree, its rules, its counters and its database."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .counters import Counters, guest_place
from .database import Database, Entry

MAX_FILE_SIZE = 1024 * 1024  # pve-cluster: memdb.h
MAX_INODES = 256 * 1024

Dump = list[tuple[str, bytes | None]]
"""A whole tree: path -> content, or None for a directory; parents first."""


def _error(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


def _split(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent, name


class Store:
    """The operations pmxcfs replicates. Paths are relative to the mount; every refusal is an OSError."""

    def __init__(self, db_directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._database = Database(db_directory)
        self.entries: dict[str, Entry] = {"": Entry(0, 0, int(clock()), None, {})}
        self.crashing: set[str] = set()
        for path, entry in self._database.load():
            self._hang_in(path, entry)
            self._version = max(self._version, entry.version)
        self.counters = Counters(self._new_starttime(db_directory))
        self.counters.restart_numbering(self.entries)

    def close(self) -> None:
        """Close the database cleanly."""
        self._database.close()

    @property
    def _version(self) -> int:
        return self.entries[""].version

    @_version.setter
    def _version(self, version: int) -> None:
        self.entries[""].version = version

    def _new_starttime(self, directory: Path) -> int:
        """The time of this start in seconds; never that of the start before, as real restarts take over a second."""
        remembered = directory / ".pmxcfs.lockfile"
        last = int(remembered.read_text()) if remembered.exists() else 0
        starttime = max(int(self._clock()), last + 1)
        remembered.write_text(str(starttime))
        return starttime

    # --- the tree ---

    def _hang_in(self, path: str, entry: Entry) -> int:
        """Put an entry into the tree; the inode of its directory."""
        parent, name = _split(path)
        directory = self.entries[parent]
        directory.names[name] = None
        self.entries[path] = entry
        return directory.inode

    def _take_out(self, path: str) -> Entry:
        entry = self.entries[path]
        if entry.names:
            raise _error(errno.ENOTEMPTY, path)
        parent, name = _split(path)
        del self.entries[parent].names[name]
        del self.entries[path]
        self.crashing.discard(path)
        return entry

    def _existing(self, path: str) -> Entry:
        entry = self.entries.get(path)
        if entry is None:
            raise _error(errno.ENOENT, path)
        return entry

    def _require_parent(self, path: str) -> None:
        parent, name = _split(path)
        if name in ("", ".", ".."):
            raise _error(errno.EACCES, path)
        if not self._existing(parent).is_directory:
            raise _error(errno.ENOTDIR, path)

    def _next_version(self) -> int:
        root = self.entries[""]
        root.version += 1
        root.mtime = int(self._clock())
        return root.version

    def _new_entry(self, data: bytes | None) -> Entry:
        version = self._next_version()
        return Entry(version, version, self.entries[""].mtime, data, {})

    def _save(self, path: str, entry: Entry, replaced: int | None = None) -> None:
        parent, name = _split(path)
        self._database.save(name, self.entries[parent].inode, entry, replaced)

    def _store_content(self, path: str, data: bytes, mtime: int | None = None) -> None:
        entry = self.entries[path]
        entry.version = self._next_version()
        entry.mtime = self.entries[""].mtime if mtime is None else mtime
        entry.data = data
        self.counters.file_changed(path)
        self._save(path, entry)

    def _refuse_second_place(self, path: str) -> None:
        """A VMID exists once in the cluster (pve-cluster: memdb.c, vmlist_different_vm_exists)."""
        found = guest_place(path)
        if found is not None and self.counters.is_elsewhere(*found):
            raise _error(errno.EEXIST, path)

    def _guest_changed(self, path: str) -> None:
        found = guest_place(path)
        if found is not None:
            self.counters.guest_changed(*found)

    # --- what is replicated ---

    def create(self, path: str) -> None:
        """Make an empty file."""
        self._require_parent(path)
        self._refuse_second_place(path)
        if path in self.entries:
            raise _error(errno.EEXIST, path)
        entry = self._new_entry(b"")
        self._hang_in(path, entry)
        self.counters.file_changed(path)
        self._save(path, entry)
        self._guest_changed(path)

    def _writable(self, path: str, size: int) -> bytes:
        if size > MAX_FILE_SIZE:
            raise _error(errno.EFBIG, path)
        self._require_parent(path)
        self._refuse_second_place(path)
        data = self._existing(path).data
        if data is None:
            raise _error(errno.ENOTDIR, path)
        return data

    def write(self, path: str, data: bytes, offset: int) -> None:
        """Overwrite a part of a file, or extend it."""
        old = self._writable(path, offset + len(data))
        self.crashing.discard(path)
        self._store_content(path, old[:offset].ljust(offset, b"\0") + data + old[offset + len(data) :])
        self._guest_changed(path)

    def truncate(self, path: str, size: int) -> None:
        """Cut a file, or extend it. Extending an *empty* one leaves pmxcfs a size without memory behind it."""
        old = self._writable(path, size)
        if size and not old:
            self.crashing.add(path)
        self._store_content(path, old[:size].ljust(size, b"\0"))
        self._guest_changed(path)

    def set_mtime(self, path: str, mtime: int) -> None:
        """utime(2): moves no guest's counter. On a lock directory it asks for the lock, and is refused while held."""
        self._require_parent(path)
        entry = self._existing(path)
        if entry.is_directory and path.startswith("priv/lock/") and mtime < entry.mtime:
            raise _error(errno.EACCES, path)
        entry.version = self._next_version()
        entry.mtime = mtime
        self.counters.file_changed(path)
        self._save(path, entry)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        self._require_parent(path)
        if path in self.entries:
            raise _error(errno.EEXIST, path)
        entry = self._new_entry(None)
        self._hang_in(path, entry)
        self._save(path, entry)

    def delete(self, path: str) -> None:
        """Remove a file or an empty directory."""
        entry = self._existing(path)
        if path == "":
            raise _error(errno.EACCES, path)
        self._take_out(path)
        self.counters.file_changed(path)
        self._database.delete(entry.inode, self._next_version(), self.entries[""].mtime)
        found = guest_place(path)
        if found is not None:
            self.counters.guest_gone(found[0])

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing what is there, or an empty directory. Between two nodes this is a migration."""
        entry = self._existing(source)
        if source == "" or (entry.is_directory and source.startswith("priv/lock/")):
            raise _error(errno.EACCES, source)
        left, reached = guest_place(source), guest_place(target)
        if reached is not None and not entry.is_directory and (left is None or left[0] != reached[0]):
            self._refuse_second_place(target)
        self._require_parent(target)
        replaced = self._take_out(target).inode if target in self.entries else None
        self.counters.file_changed(source)
        self.counters.file_changed(target)
        crashing = source in self.crashing
        self._take_out(source)
        if crashing:
            self.crashing.add(target)
        entry.version = self._next_version()
        entry.mtime = self.entries[""].mtime
        self._hang_in(target, entry)
        self._save(target, entry, replaced)
        if not entry.is_directory:
            if left is not None:
                self.counters.guest_gone(left[0])
            if reached is not None:
                self.counters.guest_changed(*reached)

    # --- whole trees ---

    def put(self, path: str, data: bytes) -> None:
        """Make or replace a file with its parents, without going through a `.tmp` name."""
        parent, _ = _split(path)
        self.make_parents(parent)
        if path not in self.entries:
            self.create(path)
        self.write(path, data, 0)
        if len(self.entries[path].data or b"") > len(data):
            self.truncate(path, len(data))

    def make_parents(self, path: str) -> None:
        """mkdir -p."""
        if path not in self.entries:
            self.make_parents(_split(path)[0])
            self.mkdir(path)

    def dump(self) -> Dump:
        """The whole tree, for a node that joins."""
        return [(path, entry.data) for path, entry in self.entries.items() if path]

    def adopt(self, dump: Iterable[tuple[str, bytes | None]]) -> None:
        """Take over another node's tree; all numbers are given anew."""
        self._database.clear()
        version = self._version
        self.entries = {"": Entry(0, version, int(self._clock()), None, {})}
        self.crashing.clear()
        for path, data in dump:
            entry = self._new_entry(data)
            self._hang_in(path, entry)
            self._save(path, entry)
        self.counters.restart_numbering(self.entries)
