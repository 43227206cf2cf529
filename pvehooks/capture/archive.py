"""Captures as files: written whole or not at all, and unpacked without trust in who made them."""

from __future__ import annotations

import json
import lzma
import signal
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NamedTuple, cast

from pvehooks.capture.record import LARGEST, Thing
from pvehooks.capture.replay import FACTS, raise_unreadable
from pvehooks.errors import NodeError
from pvehooks.host import Host

TOP = "pvehooks-capture"
MANIFEST = "/MANIFEST"
_MAGIC = b"\xfd7zXZ\0"
# Packed, unpacked, and things: several times what the largest nodes have.
MOST_PACKED = 32 << 20
MOST_BYTES = 128 << 20
MOST_THINGS = 150_000
# What a file may become: captures of nodes become 7 to 25 times as large. A small file that becomes a large one was made to do harm.
_ALWAYS = 8 << 20
_MOST_RATIO = 64
# For the dictionary: xz -6, with which captures are packed, has one of 8 MiB.
_MOST_MEMORY = 80 << 20
# Seconds of CPU time for all that is done with a capture; the largest nodes take a tenth of that.
_MOST_SECONDS = 120.0
_LONGEST_PATH = 4096


class _Stream:
    """Bytes for tarfile, which only reads on, or only writes on."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = content
        self.parts: list[bytes] = []
        self._at = 0

    def read(self, size: int) -> bytes:
        found = self.content[self._at : self._at + size]
        self._at += len(found)
        return found

    def write(self, part: bytes) -> int:
        self.parts.append(bytes(part))
        return len(part)


# -- writing ----------------------------------------------------------------------------------------------------------


def packed(things: dict[str, Thing], modes: dict[str, int], times: dict[str, float], time: float) -> bytes:
    """The file's bytes. `modes` and `times` are those that are known, `time` that of all others."""
    stream = _Stream()
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(things, key=lambda path: path.split("/")):
            thing = things[path]
            entry = tarfile.TarInfo(TOP + path.rstrip("/"))
            entry.mtime = int(times.get(path, time))
            executable = 0o111 if modes.get(path, 0) & 0o111 else 0
            entry.type = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE}.get(thing.kind, tarfile.REGTYPE)
            entry.mode = 0o755 if thing.kind == "dir" else 0o777 if thing.kind == "link" else 0o644 | executable
            entry.linkname = thing.text
            entry.size = len(thing.content or b"")
            tar.addfile(entry, cast("IO[bytes]", _Stream(thing.content or b"")))
    return lzma.compress(b"".join(stream.parts), preset=6)


# -- reading ----------------------------------------------------------------------------------------------------------


class Member(NamedTuple):
    """What a capture holds at a path."""

    path: str
    thing: Thing
    mode: int


def is_packed(path: str) -> bool:
    """Whether the path names a file, be it a capture or not."""
    try:
        return stat.S_ISREG(Host().owner_and_mode(path)[1])
    except OSError:
        return False


def members(path: str) -> Iterator[Member]:
    """What the file holds, checked: a tree of directories, files and links, each once, all in one place; raises NodeError."""
    try:
        raw = Host().read(path, MOST_PACKED)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error
    if len(raw) > MOST_PACKED or not raw.startswith(_MAGIC):
        raise_unreadable(path, "it is no xz file" if len(raw) <= MOST_PACKED else "it is too large")
    try:
        most = min(MOST_BYTES, _ALWAYS + _MOST_RATIO * len(raw))
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
        content = unpacker.decompress(raw, most + 1)
        if len(content) > most or not unpacker.eof:
            raise_unreadable(path, "it becomes too large when it is unpacked" if len(content) > most else "its end is missing")
        with tarfile.open(fileobj=cast("IO[bytes]", _Stream(content)), mode="r|") as tar:
            yield from _checked(path, tar)
    except (lzma.LZMAError, tarfile.TarError, UnicodeError, ValueError, EOFError) as error:
        raise_unreadable(path, str(error) or type(error).__name__)


def _checked(file: str, tar: tarfile.TarFile) -> Iterator[Member]:
    kinds: dict[str, str] = {}
    total = 0
    for entry in tar:
        path = _path(file, entry.name)
        kind = "dir" if entry.isdir() else "link" if entry.issym() else "file" if entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else ""
        if not kind or entry.sparse is not None:
            raise_unreadable(file, f"{path!r} is neither a file nor a directory nor a symbolic link")
        if path in kinds or kinds.get(path.rpartition("/")[0] or "/", "dir" if path == "/" else "") != "dir":
            raise_unreadable(file, f"{path!r} is there twice, or in no directory")
        total += entry.size
        if entry.size > LARGEST or total > MOST_BYTES or len(kinds) >= MOST_THINGS:
            raise_unreadable(file, "it is too large")
        kinds[path] = kind
        if kind == "link":
            _require_inside(file, path, entry.linkname)
        held = tar.extractfile(entry) if kind == "file" else None
        yield Member(path, Thing(kind, held.read() if held else None, entry.linkname if kind == "link" else ""), entry.mode & 0o755)


def _path(file: str, name: str) -> str:
    """The path in the tree."""
    parts = name.split("/")
    if parts[0] != TOP or any(part in ("", ".", "..") or "\0" in part for part in parts) or len(name) > _LONGEST_PATH:
        raise_unreadable(file, f"the name {name[:80]!r} leads out of it")
    return "/" + "/".join(parts[1:])


def _require_inside(file: str, path: str, text: str) -> None:
    """A link must not lead out of the tree; an absolute one begins at its top."""
    depth = 0 if text.startswith("/") else path.count("/") - 1
    for part in text.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            raise_unreadable(file, f"the link {path!r} leads out of it")
    if not text or "\0" in text or len(text) > _LONGEST_PATH:
        raise_unreadable(file, f"the link {path!r} leads nowhere")


@contextmanager
def unpacked(path: str) -> Iterator[str]:
    """A private directory with the tree of a capture, for a with statement: it goes when that ends, by Ctrl-C and kill, too.

    A capture that was made to keep the program busy is given up: NodeError is raised, wherever the program is then.
    """

    def give_up(*_: object) -> None:
        raise_unreadable(path, f"looking at it takes more than {seconds:.0f} s")

    seconds = _MOST_SECONDS
    handlers: dict[signal.Signals, Callable[..., object]] = {signal.SIGTERM: _end, signal.SIGHUP: _end, signal.SIGPROF: give_up}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    # Again and again: a rule that is broken off counts as a bug of that rule, and the next one begins.
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    host = Host()
    directory = ""
    try:
        with host.undisturbed():
            directory = host.make_private_dir()
        unpack(path, directory)
        yield directory
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        if directory:
            with host.undisturbed():
                host.remove_tree(directory)
        for number, handler in former.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def unpack(path: str, directory: str) -> None:
    """Puts the tree of a capture into a directory; raises NodeError."""
    if not extract_to(members(path), directory):
        raise_unreadable(path, f"it has no usable {FACTS[1:]}")


def extract_to(members: Iterable[Member], directory: str) -> bool:
    """Puts things into a directory; absolute links become relative ones, so that none leads out. Whether the capture's facts are among them."""
    tree = Host(directory)
    links: dict[str, str] = {}
    facts: dict[str, Any] | None = None
    for path, (kind, content, text), mode in members:
        if path == FACTS:
            facts = _loaded(content or b"")
        elif kind == "dir":
            tree.make_dir(path, 0o700)
        elif kind == "link":
            if text.startswith("/"):
                links[path] = text
                text = "../" * (path.count("/") - 1) + text.lstrip("/") or "."
            tree.make_link(path, text)
        else:
            tree.replace(path, content or b"", mode=0o600 | mode & 0o100, keep_mode=False)
    if facts is not None:
        tree.replace(FACTS, json.dumps({**facts, "links": links}).encode(), mode=0o600)
    return facts is not None


def _loaded(raw: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
