"""The FUSE operations of pmxcfs (pve-cluster: pmxcfs.c and cfs-plug-*.c), on libfuse 2 like the original."""

from __future__ import annotations

import errno
import grp
import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from typing import Any

from .database import Entry
from .node import Node
from .store import MAX_FILE_SIZE, MAX_INODES

BLOCK_SIZE = 4096
MAX_BLOCKS = 128 * MAX_FILE_SIZE // BLOCK_SIZE
ENCODING = "latin-1"
"""What fusepy is to decode names with: it has no way to say surrogateescape."""
PRIVATE = re.compile(r"(nodes/[^/]+/)?priv(/|$)")


def _www_data() -> int:
    try:
        return grp.getgrnam("www-data").gr_gid
    except KeyError:
        return 33  # base-passwd's fixed number


def _inward(name: str) -> str:
    return name if name.isascii() else os.fsdecode(name.encode(ENCODING))


def _outward(name: str) -> str:
    return name if name.isascii() else os.fsencode(name).decode(ENCODING)


def _refuse(code: int, path: str) -> OSError:
    return OSError(code, os.strerror(code), path)


class Filesystem:
    """Called by fusepy with the operation's name. What pmxcfs lacks (links, mknod, xattrs) is lacking here: ENOSYS."""

    use_ns = True  # fusepy: times as integers

    def __init__(self, node: Node, on_mounted: Callable[[], None]) -> None:
        self._node = node
        self._on_mounted = on_mounted
        self._gid = _www_data()
        home = f"nodes/{node.name}"
        self._links = {"local": home} | {kind: f"{home}/{kind}" for kind in ("qemu-server", "openvz", "lxc")}
        counters = node.store.counters
        self._generators: dict[str, Callable[[], str]] = {
            ".version": lambda: counters.version_text(node.name),
            ".vmlist": counters.vmlist_text,
            ".members": lambda: counters.members_text(node.name, node.cluster, node.quorate),
            ".rrd": lambda: "",
            ".clusterlog": lambda: '{\n"data": [\n]\n}\n',
            ".debug": lambda: "0\n",
        }
        self._generated: dict[str, bytes] = {}

    def __call__(self, operation: str, path: str, *arguments: Any) -> Any:
        """fusepy's way in. Names come and go as latin-1, so that they may be any bytes (see ENCODING)."""
        if operation == "rename":
            arguments = (_inward(arguments[0]),)
        result = getattr(self, operation)(_inward(path), *arguments)
        return map(_outward, result) if operation == "readdir" else result

    def init(self, _root: str) -> None:
        """The kernel has greeted: the mount works from now on."""
        self._on_mounted()

    # --- looking ---

    def getattr(self, path: str, _handle: int | None = None) -> dict[str, int]:
        """stat(2). Like the original, this is the moment in which a generated file's text is made."""
        path = path[1:]
        with self._node.passing() as store:
            quorate = self._node.quorate
            if path in self._generators:
                text = self._generated[path] = self._generators[path]().encode()
                mode = stat.S_IFREG | (0o640 if path == ".debug" else 0o440)
                return {"st_mode": mode, "st_nlink": 1, "st_size": len(text), "st_gid": self._gid}
            if path in self._links:
                mode = stat.S_IFLNK | (0o777 if quorate else 0o555)
                size = len(self._links[path])
                return {"st_mode": mode & ~0o022, "st_nlink": 1, "st_size": size, "st_gid": self._gid}
            entry = store.entries.get(path)
            if entry is None:
                raise _refuse(errno.ENOENT, path)
            return self._stat(path, entry, quorate or path == "")

    def _stat(self, path: str, entry: Entry, quorate: bool) -> dict[str, int]:
        if entry.is_directory:
            mode, links, size = stat.S_IFDIR | (0o777 if quorate else 0o555), 2, 0
        else:
            mode, links, size = stat.S_IFREG | (0o666 if quorate else 0o444), 1, len(entry.data or b"")
        if PRIVATE.match(path):
            mode &= ~0o077
        else:
            mode &= ~0o022 if entry.is_directory else ~0o027
        when = entry.mtime * 1_000_000_000
        times = {"st_atime": when, "st_mtime": when, "st_ctime": when}
        blocks = -(-size // BLOCK_SIZE)
        return {"st_mode": mode, "st_nlink": links, "st_size": size, "st_blocks": blocks, "st_gid": self._gid, **times}

    def readlink(self, path: str) -> str:
        """The links to the own node's directories."""
        return self._links[path[1:]]

    def readdir(self, path: str, _handle: int) -> Iterator[str]:
        """The names in a directory."""
        path = path[1:]
        with self._node.passing() as store:
            names = list(store.entries[path].names) if path in store.entries else []
        own = [*self._generators, *self._links] if path == "" else []
        return iter([".", "..", *own, *(name for name in names if name not in own)])

    def open(self, path: str, _flags: int) -> int:
        """open(2) asks for existence only: a write without quorum fails later."""
        path = path[1:]
        with self._node.passing() as store:
            if path not in self._generators and path not in store.entries:
                raise _refuse(errno.ENOENT, path)
        return 0

    def read(self, path: str, size: int, offset: int, _handle: int) -> bytes:
        """A file's present content; of a generated file, the text of the last getattr."""
        path = path[1:]
        with self._node.passing() as store:
            if path in self._generators:
                return self._generated[path][offset : offset + size]
            if path in store.crashing:
                os.kill(os.getpid(), signal.SIGSEGV)  # as the original, which reads memory it never had
            entry = store.entries.get(path)
            if entry is None or entry.data is None:
                raise _refuse(errno.ENOENT, path)
            return entry.data[offset : offset + size]

    def statfs(self, _path: str) -> dict[str, int]:
        """128 MiB in all; not read-only, with or without quorum."""
        with self._node.passing() as store:
            used = sum(-(-len(entry.data or b"") // BLOCK_SIZE) for entry in store.entries.values())
            free = MAX_BLOCKS - used
            inodes = MAX_INODES - len(store.entries)
        blocks = {"f_bsize": BLOCK_SIZE, "f_blocks": MAX_BLOCKS, "f_bfree": free, "f_bavail": free}
        return {**blocks, "f_files": MAX_INODES, "f_ffree": inodes, "f_namemax": 256}

    # --- changing ---

    def _change(self, operation: str, path: str, *arguments: Any) -> int:
        if path[1:] in self._generators or path[1:] in self._links:
            raise _refuse(errno.EIO if operation in ("write", "truncate") else errno.EACCES, path)
        self._node.change(operation, path[1:], *arguments)
        return 0

    def create(self, path: str, _mode: int) -> int:
        """open(2) with O_CREAT."""
        return self._change("create", path)

    def write(self, path: str, data: bytes, offset: int, _handle: int) -> int:
        """write(2): one change, whatever its size (big_writes: up to 128 KiB each)."""
        if path == "/.debug":
            return len(data)
        self._change("write", path, data, offset)
        return len(data)

    def truncate(self, path: str, size: int, _handle: int | None = None) -> int:
        """truncate(2), and open(2) with O_TRUNC."""
        return 0 if path == "/.debug" else self._change("truncate", path, size)

    def utimens(self, path: str, times: tuple[int, int]) -> int:
        """utimensat(2)."""
        return self._change("set_mtime", path, times[1] // 1_000_000_000)

    def unlink(self, path: str) -> int:
        """unlink(2)."""
        return self._change("delete", path)

    def rmdir(self, path: str) -> int:
        """rmdir(2)."""
        return self._change("delete", path)

    def mkdir(self, path: str, _mode: int) -> int:
        """mkdir(2)."""
        return self._change("mkdir", path)

    def rename(self, source: str, target: str) -> int:
        """rename(2)."""
        if target[1:] in self._generators or target[1:] in self._links:
            raise _refuse(errno.EACCES, target)
        return self._change("rename", source, target[1:])

    def chmod(self, path: str, mode: int) -> int:
        """Only the mode a file has anyway may be set."""
        if stat.S_IMODE(mode) != (0o600 if PRIVATE.match(path[1:]) else 0o640):
            raise _refuse(errno.EPERM, path)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Only the owner a file has anyway may be set."""
        if uid not in (0, -1) or gid not in (self._gid, -1):
            raise _refuse(errno.EPERM, path)
        return 0
