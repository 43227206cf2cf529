"""pmxcfs' database: a real SQLite file in WAL mode, whose `config.db-wal` is the doorbell every change rings."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

DT_DIR = 4  # dirent.h, as pmxcfs stores them
DT_REG = 8

SCHEMA = """
CREATE TABLE IF NOT EXISTS tree (inode INTEGER PRIMARY KEY NOT NULL, parent INTEGER NOT NULL, version INTEGER NOT NULL,
    writer INTEGER NOT NULL, mtime INTEGER NOT NULL, type INTEGER NOT NULL, name TEXT NOT NULL, data BLOB)
"""
VERSION_ROW = (0, 0, 0, 0, 0, DT_REG, "__version__", None)


class Entry:
    """A file (`data` is bytes) or a directory (`data` is None, `names` are its children)."""

    # No dataclass: the module would be a tenth of what each start of the file system takes.
    def __init__(self, inode: int, version: int, mtime: int, data: bytes | None, names: dict[str, None]) -> None:
        self.inode = inode
        self.version = version
        self.mtime = mtime
        self.data = data
        self.names = names

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.data is None


def _storable(name: str) -> str | bytes:
    """SQLite takes no text that is not UTF-8; a file name may be any bytes."""
    name_bytes = name.encode("utf-8", "surrogateescape")
    return name if name.isascii() or name_bytes == name.encode("utf-8", "replace") else name_bytes


def _text(stored: str | bytes) -> str:
    return stored.decode("utf-8", "surrogateescape") if isinstance(stored, bytes) else stored


class Database:
    """The table of inodes. Every change is one transaction, as in pmxcfs: one ring of the doorbell."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / "config.db"
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        file.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")  # pmxcfs: NORMAL; a bed need not survive a power cut
        self._connection.text_factory = _text
        self._connection.execute(SCHEMA)

    def close(self) -> None:
        """Close cleanly: SQLite folds the -wal file back and removes it."""
        self._connection.close()

    def load(self) -> Iterator[tuple[str, Entry]]:
        """Every path with its entry, parents before children."""
        rows = self._connection.execute("SELECT inode, parent, version, mtime, type, name, data FROM tree").fetchall()
        children: dict[int, list[tuple[str, Entry]]] = {}
        for inode, parent, version, mtime, kind, name, data in rows:
            if inode != 0:
                content = None if kind == DT_DIR else bytes(data or b"")
                children.setdefault(parent, []).append((_text(name), Entry(inode, version, mtime, content, {})))
        pending = [("", 0)]
        while pending:
            prefix, inode = pending.pop()
            for name, entry in children.get(inode, []):
                yield prefix + name, entry
                if entry.is_directory:
                    pending.append((f"{prefix}{name}/", entry.inode))

    def save(self, name: str, parent: int, entry: Entry, replaced: int | None = None) -> None:
        """Store an entry, in place of the inode that it replaced by a rename."""
        self._connection.execute("BEGIN")
        if replaced is not None:
            self._connection.execute("DELETE FROM tree WHERE inode = ?", (replaced,))
        kind = DT_DIR if entry.is_directory else DT_REG
        row = (entry.inode, parent, entry.version, 0, entry.mtime, kind, _storable(name), entry.data)
        self._connection.execute("REPLACE INTO tree VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._finish(entry.version, entry.mtime)

    def delete(self, inode: int, version: int, mtime: int) -> None:
        """Remove an inode."""
        self._connection.execute("BEGIN")
        self._connection.execute("DELETE FROM tree WHERE inode = ?", (inode,))
        self._finish(version, mtime)

    def clear(self) -> None:
        """Forget everything (before another node's tree is taken over)."""
        self._connection.execute("DELETE FROM tree")

    def _finish(self, version: int, mtime: int) -> None:
        row = (0, 0, version, 0, mtime, *VERSION_ROW[5:])
        self._connection.execute("REPLACE INTO tree VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._connection.execute("COMMIT")
