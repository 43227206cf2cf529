"""An initramfs: archives of cpio one after another, with zeros between them, and then maybe a compressed rest that holds more of them.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. In a capture it is text: a line MARK, then for each file
a line "== NAME ==" and what was read of it; or a line "!! WHY" of one that is damaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

MARK = b"# pvehooks: the files of an initramfs\n"
_NEWC = (b"070701", b"070702")
_HEADER = 110
_LAST = "TRAILER!!!"
_LONGEST_NAME = 4096
# No initramfs has as many files, or settings as long.
_MOST_FILES = 1 << 18
_LONGEST = 1 << 18
_PADDING = 4
_DAMAGED = b"!! "
_FILE = re.compile(rb"== (\S.*?) ==")
# By the first bytes, as the kernel's lib/decompress.c has them.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x5d\0\0": "lzma",
    b"\xfd7zXZ": "xz",
    b"\x89LZO": "lzop",
    b"\x02!L\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class DamagedInitramfs(ValueError):
    """What is wrong with it, as a phrase."""


class Contents(NamedTuple):
    """The names of all files, without a slash at the beginning, and the contents of those that were wanted."""

    names: frozenset[str]
    texts: dict[str, bytes]


class Stream:
    """Bytes that come in pieces, read from the beginning on; `position` is how many were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self.position = 0

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer at the end."""
        while len(self._held) < count and (piece := next(self._pieces, b"")):
            self._held += piece
        return self._held[:count]

    def take(self, count: int) -> bytes:
        """The next bytes; raises DamagedInitramfs at an early end."""
        taken = self.peek(count)
        if len(taken) < count:
            raise DamagedInitramfs("it is cut short")
        self._held = self._held[count:]
        self.position += count
        return taken

    def skip(self, count: int) -> None:
        """Leaves bytes out without putting them together; raises DamagedInitramfs at an early end."""
        while count:
            piece = self.peek(1) and self._held[:count]
            if not piece:
                raise DamagedInitramfs("it is cut short")
            self._held = self._held[len(piece) :]
            self.position += len(piece)
            count -= len(piece)

    def skip_zeros(self) -> None:
        """Leaves the zeros out that come next."""
        while self.peek(1) == b"\0":
            self.skip(len(self._held) - len(self._held.lstrip(b"\0")))


def read(stream: Stream, wanted: Callable[[str], bool], unpacked: Callable[[str, int], Iterator[bytes]], nested: bool = False) -> Contents:
    """What is in it; `unpacked` gives the rest from a place on that is compressed in a way ("zstd"). Raises DamagedInitramfs, and what `unpacked` raises."""
    if stream.peek(len(MARK)) == MARK:
        return _of_text(stream)
    names: set[str] = set()
    texts: dict[str, bytes] = {}
    archives = 0
    while True:
        try:
            stream.skip_zeros()
            start = stream.peek(6)
        except DamagedInitramfs:
            # What follows a whole archive may be padding that is not packed.
            if not archives:
                raise
            break
        if not start:
            break
        if start in _NEWC:
            _archive(stream, wanted, names, texts)
            archives += 1
            continue
        kind = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), "")
        if not kind or nested:
            raise DamagedInitramfs("it holds neither a cpio archive nor what is known to be compressed")
        rest = read(Stream(unpacked(kind, stream.position)), wanted, unpacked, nested=True)
        return Contents(rest.names | names, {**texts, **rest.texts})
    if not archives:
        raise DamagedInitramfs("it is empty")
    return Contents(frozenset(names), texts)


def _archive(stream: Stream, wanted: Callable[[str], bool], names: set[str], texts: dict[str, bytes]) -> None:
    """One archive, to its trailer."""
    while True:
        header = stream.take(_HEADER)
        try:
            size, length = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            raise DamagedInitramfs("it has a header that is none of cpio's") from None
        if header[:6] not in _NEWC or not 0 < length <= _LONGEST_NAME or len(names) > _MOST_FILES:
            raise DamagedInitramfs("it has a header that is none of cpio's")
        name = stream.take(length)[:-1].decode("utf-8", "surrogateescape").removeprefix("./").lstrip("/")
        stream.skip(-(_HEADER + length) % _PADDING)
        if name == _LAST:
            return
        names.add(name)
        if size <= _LONGEST and wanted(name):
            texts[name] = stream.take(size)
        else:
            stream.skip(size)
        stream.skip(-size % _PADDING)


# -- as text ----------------------------------------------------------------------------------------------------------


def as_text(contents: Contents) -> bytes:
    """The same as text, for a capture."""
    parts = [MARK]
    for name in sorted(contents.names):
        text = contents.texts.get(name, b"")
        parts.append(f"== {name} ==\n".encode("utf-8", "surrogateescape") + text + (b"" if not text or text.endswith(b"\n") else b"\n"))
    return b"".join(parts)


def damaged_as_text(why: str) -> bytes:
    """One that is damaged as text, for a capture."""
    return MARK + _DAMAGED + why.encode() + b"\n"


def _of_text(stream: Stream) -> Contents:
    text = stream.peek(_LONGEST << 6)
    if text.startswith(_DAMAGED, len(MARK)):
        raise DamagedInitramfs(text[len(MARK) + len(_DAMAGED) :].decode("utf-8", "replace").strip())
    texts = dict(parts(text))
    return Contents(frozenset(texts), {name: text for name, text in texts.items() if text.strip()})


def parts(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of an initramfs as text: the name of each, and what is known of its contents."""
    name, lines = "", []
    for line in text[len(MARK) :].split(b"\n") if text.startswith(MARK) else ():
        found = _FILE.fullmatch(line)
        if found is None:
            lines.append(line)
            continue
        if name:
            yield name, b"\n".join((*lines, b""))
        name, lines = found[1].decode("utf-8", "surrogateescape"), []
    if name:
        yield name, b"\n".join(lines)
