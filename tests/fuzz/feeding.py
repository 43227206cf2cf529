"""A tree on a file system in memory, of which one file at a time gets another content and is read."""

from __future__ import annotations

import random
import resource
import time
from functools import lru_cache
from pathlib import Path

from pvehooks.host import Host
from tests.beds import uses
from tests.beds.tree import Content
from tests.fuzz.readers import DISK, READERS
from tests.guard import bed

# CPU seconds, and bytes, that no input may take.
MOST_SECONDS = 0.5
MOST_MEMORY = 200 << 20
# What a mutation puts in: what splits, ends, nests, or is large.
PIECES = [
    *(b"\0", b"9" * 5000, b"\xff\xfe", "\u2028".encode(), b"\n", b"\r", b" ", b"\t", b"/dev/", b"/dev/nvme0n1", b"../..", b"[", b"]", b":"),
    *(
        b"=",
        b",",
        b";",
        b"-",
        b"0x",
        b"%s",
        b"{",
        b"}",
        b'"',
        b"'",
        b"\\",
        b"\\040",
        b"\x1b[2J",
        "\u202e".encode(),
        b"1e999",
        b"null",
        b"[[" * 3000,
    ),
]


class ReaderFailed(AssertionError):
    """A reader raised, or took more time or memory than any may."""


class _SameLinks(Host):
    """A tree whose links stay as they are: where a path leads is looked up once. It would take half of the time of all inputs."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._located = lru_cache(maxsize=1 << 14)(super().locate)

    def locate(self, path: str, follow: bool = True) -> str:
        """As Host.locate."""
        return self._located(path, follow)


class Tree:
    """The tree of a node with all files that are read; `feed` changes one of them for one look."""

    def __init__(self, directory: Path) -> None:
        files: dict[str, Content] = {**uses.idle(), **{path: reader.seed for path, reader in READERS.items()}}
        files["proc/4711/fd/3"] = files["proc/4712/fd/3"] = b""
        self.root = bed.node(directory, files, hostpci=f"{bed.NOT_CLEAN}\nhostpci1: {DISK}")
        self.host = _SameLinks(str(self.root))

    def feed(self, path: str, content: bytes) -> None:
        """Reads a file that has this content. Raises ReaderFailed."""
        file = self.root / path
        before = file.read_bytes()
        file.write_bytes(content)
        began, peak = time.process_time(), _peak()
        try:
            READERS[path].read(self.host)
        except Exception as error:
            raise ReaderFailed(f"{path} with the content {content!r}: {type(error).__name__}: {error}") from error
        finally:
            file.write_bytes(before)
        taken, grown = time.process_time() - began, _peak() - peak
        if taken > MOST_SECONDS or grown > MOST_MEMORY:
            raise ReaderFailed(f"{path} with the content {content!r}: {taken:.2f} s, {grown >> 20} MiB more")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def mutated(content: bytes, chance: random.Random) -> bytes:
    """The content with up to six edits: bytes replaced, removed, repeated, or put in."""
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(content))
        end = min(len(content), at + chance.choice((0, 0, 1, 1, 4, 40)))
        new = chance.choice((chance.choice(PIECES), chance.randbytes(chance.randint(0, 8)), content[at:end] * chance.choice((2, 50)), b""))
        content = content[:at] + new + content[end:]
    return content


def seed(path: str) -> bytes:
    """The usual content."""
    content = READERS[path].seed
    assert isinstance(content, str | bytes)
    return content.encode() if isinstance(content, str) else content
