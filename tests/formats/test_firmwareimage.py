"""What a file says of itself as firmware: Debian's own images, and everything that is none."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks.formats import firmwareimage
from pvehooks.values.images import LIMIT

OVMF = Path("/usr/share/OVMF")
CODE_4M, VARS_4M = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"


def code() -> bytes:
    return CODE_4M.read_bytes()


def variables() -> bytes:
    return VARS_4M.read_bytes()


def test_code() -> None:
    image = firmwareimage.read(code())
    assert (image.kind, image.size, image.family, image.arch, image.ovmf) == ("code", 3653632, "4m", "x86_64", True)
    assert image.sev_es
    assert not firmwareimage.fits_bios(image)
    assert image.volumes == ("code, 3360 KiB at 0x0", "code, 208 KiB at 0x348000")


def test_variables() -> None:
    image = firmwareimage.read(variables())
    assert (image.kind, image.family, image.arch) == ("variables", "4m", "")
    assert not firmwareimage.fits_bios(image)


def test_whole() -> None:
    """Variables and code one after the other are what a whole image is."""
    image = firmwareimage.read(variables() + code())
    assert (image.kind, image.size, image.family) == ("whole", 4 << 20, "4m")
    assert firmwareimage.fits_bios(image)
    assert image.volumes[0] == "variables, 528 KiB at 0x0"


def test_whole_of_no_multiple_of_a_rom() -> None:
    image = firmwareimage.read(variables() + bytes(4096) + code())
    assert image.kind == "whole"
    assert not firmwareimage.fits_bios(image)


@pytest.mark.parametrize("cut", [100, 0x348000 + 5000, 3653632 - 1])
def test_cut_short(cut: int) -> None:
    image = firmwareimage.read(code()[:cut])
    assert image.kind == ""
    assert image.why.startswith("cut short")


def test_code_without_its_end() -> None:
    """The first volume alone is whole in itself, and has no first instruction."""
    assert "without a first instruction" in firmwareimage.read(code()[:0x348000] + b"\xff" * 65536).why


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (bytes(1 << 16), "nothing but zeros"),
        (b"QFI\xfb" + bytes(100), "qcow2"),
        (b"\x7fELF" + bytes(100), "a program"),
        (b"name: x\nbios: ovmf\n", "no firmware volume"),
        (b"\x55\xaa\x40" + bytes(100), "option ROM"),
        (bytes(40) + b"_FVH" + bytes(100), "no firmware volume"),
        (b"x" * (LIMIT + 1), "larger than any firmware"),
    ],
    ids=["empty", "zeros", "qcow2", "program", "config", "rom", "signature alone", "huge"],
)
def test_no_firmware(content: bytes, why: str) -> None:
    image = firmwareimage.read(content)
    assert image.kind == ""
    assert why in image.why


def test_a_header_whose_sum_is_wrong_is_none() -> None:
    broken = bytearray(code())
    broken[50] ^= 1
    assert firmwareimage.read(bytes(broken)).volumes == ("code, 208 KiB at 0x348000",)


def test_table_entries() -> None:
    """SEV and TDX metadata are told by their GUIDs in the table, which is walked from its end."""
    entries = {"sev_es": firmwareimage._SEV_ES, "snp": firmwareimage._SEV, "tdx": firmwareimage._TDX}
    for wanted, guid in entries.items():
        entry = bytes(4) + struct.pack("<H", 4 + 18) + guid.bytes_le
        other = bytes(8) + struct.pack("<H", 8 + 18) + bytes(range(16))
        table = entry + other + struct.pack("<H", len(entry) + len(other) + 18) + firmwareimage._TABLE.bytes_le
        content = code()
        content = content[: -32 - len(table)] + table + content[-32:]
        image = firmwareimage.read(content)
        assert {name: getattr(image, name) for name in entries} == {name: name == wanted for name in entries}


@given(st.integers(0, 1 << 32), st.integers(0, 60), st.booleans())
def test_any_damage_is_reported_and_nothing_raises(seed: int, length: int, at_the_end: bool) -> None:
    """Headers and the table are overwritten at random places."""
    chance = random.Random(seed)
    content = bytearray(code())
    where = len(content) - 200 + chance.randrange(140) if at_the_end else chance.choice((0, 0x348000)) + chance.randrange(72)
    content[where : where + length] = chance.randbytes(min(length, len(content) - where))
    image = firmwareimage.read(bytes(content))
    assert image.kind in ("", "code", "whole", "variables")
    assert (image.kind == "") is bool(image.why)
