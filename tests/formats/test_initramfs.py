"""An initramfs as cpio archives, packed in every way, damaged in every way, and as text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.formats import initramfs
from pvehooks.formats.initramfs import Contents, DamagedInitramfs, Stream
from pvehooks.host import CommandTrouble, Host, unpacking
from tests.beds.initramfs import cpio

FILES = {
    "etc/modprobe.d/vfio.conf": b"options vfio-pci ids=10de:2204\n",
    "usr/lib/modules/6.8.12-4-pve/kernel/drivers/vfio/pci/vfio-pci.ko": bytes(100_000),
}
EARLY = {"kernel/x86/microcode/GenuineIntel.bin": bytes(3000)}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda raw: lzma.compress(raw, check=lzma.CHECK_CRC32),
    "lzma": lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE),
}


def is_setting(name: str) -> bool:
    return name.endswith(".conf")


def contents(directory: Path, raw: bytes, node: bool = False) -> Contents:
    (directory / "initrd.img").write_bytes(raw)
    if node:
        return unpacking.contents(Host(), str(directory / "initrd.img"), is_setting)
    return unpacking.contents(Host(str(directory)), "/initrd.img", is_setting)


@pytest.mark.parametrize("how", PACKED)
def test_archives_one_after_another(how: str, tmp_path: Path) -> None:
    found = contents(tmp_path, cpio(EARLY) + bytes(1024) + PACKED[how](cpio(FILES)) + bytes(3))
    assert found.names == {*EARLY, *FILES}
    assert found.texts == {"etc/modprobe.d/vfio.conf": FILES["etc/modprobe.d/vfio.conf"]}


def zstd(raw: bytes) -> bytes:
    assert shutil.which("zstd"), "install zstd"
    return subprocess.run(["zstd", "-qc"], input=raw, capture_output=True, check=True).stdout


@pytest.mark.parametrize("node", [True, False], ids=["by the program", "by Python, for a tree"])
def test_what_debian_packs_with(node: bool, tmp_path: Path) -> None:
    packed = zstd(cpio(FILES))
    assert contents(tmp_path, cpio(EARLY) + packed, node).names == {*EARLY, *FILES}
    with pytest.raises(DamagedInitramfs, match="cut short"):
        contents(tmp_path, cpio(EARLY) + packed[:-40], node)
    with pytest.raises(DamagedInitramfs):
        contents(tmp_path, cpio(EARLY) + packed[:9] + b"x" * 20, node)


def lz4(raw: bytes, block: int = 1 << 23) -> bytes:
    """As `lz4 -l` packs it, for the kernel."""
    blocks = [import_module("lz4.block").compress(raw[at : at + block], store_size=False) for at in range(0, len(raw), block)]
    return b"\x02!L\x18" + b"".join(struct.pack("<I", len(each)) + each for each in blocks)


def test_lz4_for_a_tree(tmp_path: Path) -> None:
    large = FILES | {"usr/lib/firmware/large.bin": bytes(range(256)) * 40_000}
    packed = lz4(cpio(large))
    assert contents(tmp_path, cpio(EARLY) + packed).names == {*EARLY, *large}
    assert contents(tmp_path, cpio(EARLY) + packed + bytes(512)).names == {*EARLY, *large}
    for broken in (packed[:-40], packed[:6], packed[:8] + b"\xff" * 40_000, packed[:4] + b"\xff" * 8):
        with pytest.raises(DamagedInitramfs):
            contents(tmp_path, cpio(EARLY) + broken)


def test_lz4_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_MOST", 10_000)
    with pytest.raises(DamagedInitramfs, match="larger than 2 GiB"):
        contents(tmp_path, lz4(cpio(FILES)))


def test_what_python_cannot_unpack_for_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is run for one, and that is said."""
    with pytest.raises(CommandTrouble, match="packed with lzop, which is not run for a tree"):
        contents(tmp_path, cpio(EARLY) + b"\x89LZO")

    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(unpacking, "import_module", missing)
    with pytest.raises(CommandTrouble, match=r"packed with zstd, which is not run for a tree \(apt install python3-zstandard\)"):
        contents(tmp_path, cpio(EARLY) + zstd(cpio(FILES)))
    with pytest.raises(CommandTrouble, match=r"packed with lz4, which is not run for a tree \(apt install python3-lz4\)"):
        contents(tmp_path, cpio(EARLY) + b"\x02!L\x18")


MODULE = bytes(200_000) + b"the end"


@pytest.mark.parametrize("is_node", [True, False], ids=["node", "tree"])
@pytest.mark.parametrize(("suffix", "pack"), [(".xz", lzma.compress), (".zst", zstd), (".gz", gzip.compress)])
def test_the_end_of_a_module(suffix: str, pack: Callable[[bytes], bytes], is_node: bool, tmp_path: Path) -> None:
    """What is not packed in spite of its name is what a capture has."""
    file, host = tmp_path / f"a.ko{suffix}", Host() if is_node else Host(str(tmp_path))
    path = str(file) if is_node else f"/{file.name}"
    for content in (pack(MODULE), MODULE):
        file.write_bytes(content)
        assert unpacking.end_of_module(host, path) == MODULE[-64:]
    file.write_bytes(b"")
    assert unpacking.end_of_module(host, path) == b""
    file.write_bytes(pack(MODULE)[:-4])
    with pytest.raises(DamagedInitramfs):
        unpacking.end_of_module(host, path)


@pytest.mark.parametrize("how", PACKED)
def test_cut_short(how: str, tmp_path: Path) -> None:
    raw = cpio(EARLY) + PACKED[how](cpio(FILES).rstrip(b"\0"))
    with pytest.raises(DamagedInitramfs):
        contents(tmp_path, raw[: len(raw) - 60])


@pytest.mark.parametrize("raw", [b"", bytes(4096), b"garbage", b"070701" + b"z" * 104, cpio(FILES)[:110] + b"x"], ids=repr)
def test_damaged(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedInitramfs):
        contents(tmp_path, raw)


def test_a_packed_one_within_a_packed_one_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedInitramfs):
        contents(tmp_path, gzip.compress(gzip.compress(cpio(FILES))))


def test_as_text_and_back() -> None:
    read = initramfs.read(Stream(iter([cpio(FILES)])), is_setting, no_program)
    again = initramfs.read(Stream(iter([initramfs.as_text(read)])), is_setting, no_program)
    assert again == read


def no_program(kind: str, place: int) -> Iterator[bytes]:
    raise AssertionError(kind)


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(1, 7))
def test_no_content_is_anything_else_than_damaged(noise: bytes, at: int, piece: int) -> None:
    raw = cpio({"a.conf": b"x\n"})[:at] + noise
    pieces = (raw[begin : begin + piece] for begin in range(0, len(raw), piece))
    try:
        initramfs.read(Stream(pieces), is_setting, lambda kind, place: iter(()))
    except DamagedInitramfs as damaged:
        assert str(damaged)
