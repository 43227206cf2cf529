"""Reading an initramfs, or a packed module, as it comes from the disk: piece by piece, and what Python cannot unpack through the program that can."""

from __future__ import annotations

import bz2
import lzma
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from typing import Any, BinaryIO, Protocol

from pvehooks.formats import initramfs
from pvehooks.host import CommandTrouble, Host

_PIECE = 1 << 18
# More than any initramfs holds: one that unpacks without end is left.
_MOST = 1 << 31
# The end of a module is looked for in no more than this.
_MOST_OF_MODULE = 1 << 29
_END_OF_MODULE = 64
_LZ4, _LZ4_BLOCK = b"\x02!L\x18", 8 << 20
# What unpacks it where no program is run: for a tree.
_LIBRARIES = {"zstd": "python3-zstandard", "lz4": "python3-lz4"}
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
# How a module is packed by the end of its name, and by which bytes it then begins (the kernel's scripts/Makefile.modinst).
_MODULES = {".xz": ("xz", b"\xfd7zXZ"), ".zst": ("zstd", b"\x28\xb5\x2f\xfd"), ".gz": ("gzip", b"\x1f\x8b")}


class _Zstd:
    """python3-zstandard, which a tree needs: no program is run for one. Raises ImportError where it is not installed."""

    def __init__(self) -> None:
        self._library = import_module("zstandard")
        self._unpacker = self._library.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._unpacker.eof)

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return bytes(self._unpacker.decompress(data))
        except self._library.ZstdError as error:
            raise OSError(str(error)) from error


def _by_lz4(library: Any, stream: initramfs.Stream) -> Iterator[bytes]:
    """As the kernel reads it (lib/decompress_unlz4.c): blocks of 8 MiB, each behind its packed size, and no mark at the end.

    python3-lz4 knows the other format of lz4(1), and single blocks.
    """
    done = 0
    while stream.peek(1):
        header = stream.take(4)
        size = int.from_bytes(header, "little")
        if header == _LZ4:
            continue
        if not size:
            return
        if size > 2 * _LZ4_BLOCK:
            raise initramfs.DamagedInitramfs(f"lz4 cannot unpack it (a block of {size} bytes)")
        try:
            piece = bytes(library.decompress(stream.take(size), uncompressed_size=_LZ4_BLOCK))
        except library.LZ4BlockError as error:
            raise initramfs.DamagedInitramfs(f"lz4 cannot unpack it ({error})") from error
        done += len(piece)
        if done > _MOST:
            raise initramfs.DamagedInitramfs("it is larger than 2 GiB")
        yield piece


def contents(host: Host, path: str, wanted: Callable[[str], bool]) -> initramfs.Contents:
    """What is in it. Raises OSError, CommandTrouble where the program to unpack it is missing or is not run for a tree, DamagedInitramfs."""
    # A capture knows which files could not be read, and one that is being made notes what is looked at.
    host.read(path, 0)
    file = open(host.locate(path), "rb", buffering=0)  # noqa: SIM115 - a with statement would hide the end from mypy
    open_files = ExitStack()
    open_files.callback(file.close)
    try:
        return initramfs.read(
            initramfs.Stream(_pieces(file.read)), wanted, lambda kind, place: _unpacked(host, file, kind, place, open_files)
        )
    finally:
        open_files.close()


def is_packed_module(path: str) -> bool:
    """Whether a file is a module that is packed, by its name."""
    return ".ko." in path and path.endswith(tuple(_MODULES))


def end_of_module(host: Host, path: str) -> bytes:
    """The last bytes of a packed module as the kernel loads it. Raises as contents() does.

    A capture has these bytes alone, unpacked; none where it could not be unpacked.
    """
    kind, magic = next(_MODULES[suffix] for suffix in _MODULES if path.endswith(suffix))
    host.read(path, 0)
    file = open(host.locate(path), "rb", buffering=0)  # noqa: SIM115 - as above
    open_files = ExitStack()
    open_files.callback(file.close)
    try:
        if file.read(len(magic)) != magic:
            return host.read_end(path, _END_OF_MODULE)[1]
        end, size = b"", 0
        for piece in _unpacked(host, file, kind, 0, open_files):
            end, size = (end + piece)[-_END_OF_MODULE:], size + len(piece)
            if size > _MOST_OF_MODULE:
                raise initramfs.DamagedInitramfs("it is larger than 512 MiB")
        return end
    finally:
        open_files.close()


def _unpacked(host: Host, file: BinaryIO, kind: str, place: int, open_files: ExitStack) -> Iterator[bytes]:
    """What is packed in a file from a place on."""
    file.seek(place)
    if kind in _PYTHON:
        return _by_python(kind, _PYTHON[kind](), _pieces(file.read))
    if host.is_node:
        return _by_program(_PROGRAMS[kind], file.fileno(), open_files)
    try:
        if kind == "zstd":
            return _by_python(kind, _Zstd(), _pieces(file.read))
        if kind == "lz4":
            return _by_lz4(import_module("lz4.block"), initramfs.Stream(_pieces(file.read)))
    except ImportError:
        raise CommandTrouble(f"it is packed with {kind}, which is not run for a tree (apt install {_LIBRARIES[kind]})") from None
    raise CommandTrouble(f"it is packed with {kind}, which is not run for a tree")


def _pieces(read: Callable[[int], bytes | None]) -> Iterator[bytes]:
    left = _MOST
    while piece := read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise initramfs.DamagedInitramfs("it is larger than 2 GiB")
        yield piece


def _by_python(kind: str, unpack: _Unpacker, pieces: Iterator[bytes]) -> Iterator[bytes]:
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
