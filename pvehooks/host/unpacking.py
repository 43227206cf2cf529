"""Reading an initramfs as it comes from the disk: piece by piece, and what Python cannot unpack through the program that can."""

from __future__ import annotations

import bz2
import lzma
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from pvehooks.formats import initramfs
from pvehooks.host import CommandTrouble, Host

_PIECE = 1 << 18
# More than any initramfs holds: one that unpacks without end is left.
_MOST = 1 << 31
_PROGRAMS = {"zstd": ("zstd", "-dcq"), "lz4": ("lz4", "-dcq"), "lzop": ("lzop", "-dcq")}


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_PYTHON: dict[str, Callable[[], _Unpacker]] = {
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "lzma": lzma.LZMADecompressor,
}


def contents(host: Host, path: str, wanted: Callable[[str], bool]) -> initramfs.Contents:
    """What is in it. Raises OSError, CommandTrouble where the program to unpack it is missing or is not run for a tree, DamagedInitramfs."""
    # A capture knows which files could not be read, and one that is being made notes what is looked at.
    host.read(path, 0)
    file = open(host.locate(path), "rb", buffering=0)  # noqa: SIM115 - a with statement would hide the end from mypy
    open_files = ExitStack()
    open_files.callback(file.close)

    def unpacked(kind: str, place: int) -> Iterator[bytes]:
        file.seek(place)
        if kind in _PYTHON:
            return _by_python(kind, _pieces(file.read))
        if not host.is_node:
            raise CommandTrouble(f"it is packed with {kind}, which is not run for a tree")
        return _by_program(_PROGRAMS[kind], file.fileno(), open_files)

    try:
        return initramfs.read(initramfs.Stream(_pieces(file.read)), wanted, unpacked)
    finally:
        open_files.close()


def _pieces(read: Callable[[int], bytes | None]) -> Iterator[bytes]:
    left = _MOST
    while piece := read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise initramfs.DamagedInitramfs("it is larger than 2 GiB")
        yield piece


def _by_python(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    unpack = _PYTHON[kind]()
    done = 0
    try:
        for piece in pieces:
            # The kernel takes what follows the end for padding.
            if unpack.eof:
                return
            out = unpack.decompress(piece)
            done += len(out)
            if done > _MOST:
                raise initramfs.DamagedInitramfs("it is larger than 2 GiB")
            if out:
                yield out
        if not unpack.eof:
            raise initramfs.DamagedInitramfs("it is cut short")
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise initramfs.DamagedInitramfs(f"{kind} cannot unpack it ({error})") from error


def _by_program(argv: tuple[str, ...], descriptor: int, open_files: ExitStack) -> Iterator[bytes]:
    try:
        process = subprocess.Popen(argv, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise CommandTrouble(f"{argv[0]}, which unpacks it, cannot be run: {error.strerror}") from error
    open_files.callback(process.wait)
    open_files.callback(process.kill)
    assert process.stdout is not None
    open_files.callback(process.stdout.close)
    yield from _pieces(process.stdout.read)
    if process.wait():
        raise initramfs.DamagedInitramfs(f"{argv[0]} cannot unpack it, it is cut short or damaged")
