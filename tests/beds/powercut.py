"""A disk that loses its power, or a program that is killed: records what is done to a tree, and gives the tree as any cut may leave it.

The model is the weakest that POSIX allows: content is on the disk once its file is synced, a name (made, renamed, removed) once its
directory is. What is not synced may be on the disk all the same, one file system (a folder below the root) at a time. /etc/pve is pmxcfs:
there all is on the disk once it is done, content with the file's close. What a killed program has done is all there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

_PMXCFS = "etc/pve/"


class _Step(NamedTuple):
    """What was done: "mkdir", "create", "rename", "unlink" (a name of `path`'s directory), "content" (synced, of `inode`), "names" (synced, of `path`)."""

    kind: str
    path: str = ""
    inode: int = 0
    target: str = ""
    content: bytes = b""


class Disk:
    """The root's files as they were at first, and all steps since. Where it does not lose power, the program is killed."""

    def __init__(self, root: Path, loses_power: bool = True) -> None:
        self._loses_power = loses_power
        root = Path(os.path.realpath(root))
        self._root = str(root)
        self._steps: list[_Step] = []
        self._open: dict[int, tuple[str, int]] = {}
        self._next = 0
        self._first: dict[str, int | None] = {}
        self._contents: dict[int, bytes] = {}
        self._modes: dict[str, tuple[int, int, int]] = {}
        self._links: dict[str, str] = {}
        for path in sorted(root.rglob("*")):
            if path.is_symlink():
                self._links[str(path)] = os.readlink(path)
                continue
            found = path.stat()
            self._modes[str(path)] = (found.st_mode & 0o7777, found.st_uid, found.st_gid)
            self._first[str(path)] = None if path.is_dir() else self._inode(path.read_bytes())
        self._live = dict(self._first)
        # Of files that are made later, as they are when their content is synced.
        self._new_modes: dict[int, int] = {}

    def _inode(self, content: bytes | None = None) -> int:
        self._next += 1
        if content is not None:
            self._contents[self._next] = content
        return self._next

    # -- recording ----------------------------------------------------------------------------------------------------

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """All that this process does to the root's files meanwhile."""
        real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("open", "close", "rename", "unlink", "mkdir")}

        def at(path: str, directory: int | None) -> str:
            # Also relative to directories that were opened on the way to the root, or before.
            return str(path) if directory is None else os.path.join(os.readlink(f"/proc/self/fd/{directory}"), path)

        def opened(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            where = at(path, dir_fd)
            is_new = not os.path.lexists(where)
            descriptor: int = real["open"](path, flags, mode, dir_fd=dir_fd)
            if f"{where}/".startswith(f"{self._root}/"):
                if is_new:
                    self._live[where] = self._inode()
                    self._note(_Step("create", where, self._live[where] or 0))
                self._open[descriptor] = (where, self._live.get(where) or 0)
            return descriptor

        def closed(descriptor: int) -> None:
            self._note_close(*self._open.pop(descriptor, ("", 0)))
            real["close"](descriptor)

        def synced(descriptor: int) -> None:
            self._note_sync(*self._open[descriptor])

        def renamed(source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
            real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            before, after = at(source, src_dir_fd), at(target, dst_dir_fd)
            self._live[after] = self._live.pop(before)
            self._note(_Step("rename", before, target=after))

        def unlinked(path: str, *, dir_fd: int | None = None) -> None:
            real["unlink"](path, dir_fd=dir_fd)
            self._live.pop(at(path, dir_fd), None)
            self._note(_Step("unlink", at(path, dir_fd)))

        def made(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            real["mkdir"](path, mode, dir_fd=dir_fd)
            self._live[at(path, dir_fd)] = None
            self._note(_Step("mkdir", at(path, dir_fd)))

        fakes = {"open": opened, "close": closed, "fsync": synced, "rename": renamed, "unlink": unlinked, "mkdir": made}
        with ExitStack() as stack:
            for name, fake in fakes.items():
                stack.enter_context(mock.patch.object(os, name, fake))
            yield

    def _note(self, step: _Step) -> None:
        self._steps.append(step)

    def _note_close(self, path: str, inode: int) -> None:
        if inode and self._keeps_at_once(path):
            self._note_content(path, inode)

    def _note_sync(self, path: str, inode: int) -> None:
        if inode:
            self._note_content(path, inode)
        else:
            self._note(_Step("names", path))

    def _note_content(self, path: str, inode: int) -> None:
        self._new_modes[inode] = os.stat(path).st_mode & 0o7777
        self._note(_Step("content", path, inode, content=Path(path).read_bytes()))

    # -- what a cut leaves --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._steps)

    def cuts(self, early: tuple[str, ...] = ()) -> list[int]:
        """After how many steps a cut leaves something else than one step before."""
        found: dict[str, int] = {}
        for count in range(len(self._steps) + 1):
            names, contents = self._left(count, early)
            found.setdefault(repr([(path, inode and contents.get(inode)) for path, inode in sorted(names.items())]), count)
        return sorted(found.values())

    def _left(self, count: int, early: tuple[str, ...]) -> tuple[dict[str, int | None], dict[int, bytes]]:
        """Inodes by path (None for a directory), and contents by inode."""
        done = self._steps[:count]
        names = dict(self._first)
        contents = dict(self._contents)
        for number, step in enumerate(done):
            if step.kind == "content":
                contents[step.inode] = step.content
            elif step.kind != "names" and self._is_on_disk(step, done[number:], early):
                self._put(step, names)
        return names, contents

    def cut(self, count: int, place: Path, early: tuple[str, ...] = ()) -> Path:
        """The tree, put at `place`, as a cut after so many steps leaves it; below the folders `early` all names are on the disk at once."""
        names, contents = self._left(count, early)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for path, inode in sorted(names.items()):
            new = place / os.path.relpath(path, self._root)
            if not new.parent.is_dir():
                continue
            if inode is None:
                new.mkdir()
            else:
                new.write_bytes(contents.get(inode, b""))
            new_mode = 0o755 if inode is None else self._new_modes.get(inode, 0o600)
            mode, uid, gid = self._modes.get(path, (new_mode, 0, 0))
            os.chown(new, uid, gid)
            new.chmod(mode)
        for path, text in self._links.items():
            (place / os.path.relpath(path, self._root)).symlink_to(text)
        return place

    def _keeps_at_once(self, path: str) -> bool:
        return not self._loses_power or os.path.relpath(path, self._root).startswith(_PMXCFS)

    def _is_on_disk(self, step: _Step, after: list[_Step], early: tuple[str, ...]) -> bool:
        directory = os.path.dirname(step.path)
        below = os.path.relpath(step.path, self._root)
        return (
            self._keeps_at_once(step.path)
            or any(below.startswith(f"{folder}/") for folder in early)
            or any(each.kind == "names" and each.path == directory for each in after)
        )

    @staticmethod
    def _put(step: _Step, names: dict[str, int | None]) -> None:
        if step.kind == "rename":
            # What was renamed was made in the same directory, or was there at first.
            if step.path in names:
                names[step.target] = names.pop(step.path)
        elif step.kind == "unlink":
            names.pop(step.path, None)
        else:
            names[step.path] = step.inode if step.kind == "create" else None
