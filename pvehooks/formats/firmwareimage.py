"""UEFI firmware images: their volumes, and OVMF's table at the end, as far as it matters to how QEMU can start with them.

Source: UEFI Platform Initialization Specification, volume 3, "Firmware Volume"; edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm
(the table) and OvmfPkg/Include/Fdf (sizes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from uuid import UUID

from pvehooks.values.base import NamedTuple
from pvehooks.values.images import LIMIT, FirmwareImage

_KIB = 1 << 10
# The flash of a whole machine is a multiple of this, or QEMU does not take it with -bios (hw/i386/x86-common.c).
_ROM_STEP = 64 * _KIB
_HEADER = struct.Struct("<16s16sQ4sIHHHBB")
_SIGNATURE = b"_FVH"
_SIGNATURE_AT = 40
_VARIABLES = UUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
_FILES = (UUID("8c8ce578-8a3d-4f1c-9935-896185c32dd3"), UUID("5473c07a-3dcb-4dca-bd6f-1e9689e7349a"))
_FAMILIES = {("code", 0x37C000): "4m", ("code", 0x1E0000): "2m", ("variables", 0x84000): "4m", ("variables", 0x20000): "2m"}
_TABLE = UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
_TABLE_END = 32
_SEV_ES = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
_SEV = UUID("dc886566-984a-4798-a75e-5585a7bf67cc")
_TDX = UUID("e47a6535-984a-4798-865e-4685a7bf8ec2")
# Files that are mistaken for firmware, by their first bytes.
_OTHERS: Mapping[bytes, str] = {
    b"QFI\xfb": "a qcow2 image; make it raw: qemu-img convert -O raw FILE NEW",
    b"IGVM": "an IGVM file, which Proxmox VE does not start VMs with",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\xfd7zXZ": "compressed with xz; unpack it first",
    b"(\xb5/\xfd": "compressed with zstd; unpack it first",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"\x7fELF": "a program (ELF)",
    b"MZ": "an EFI program, or one for DOS or Windows",
    b"!<arch>": "a Debian package or an archive; unpack it first",
    b"\x55\xaa": "an option ROM of a card, not a machine's firmware; hostpciN takes it as romfile",
}


class _Volume(NamedTuple):
    """A firmware volume: where it begins, its length, the GUID of what it holds, and whether its first bytes are code (as on ARM)."""

    at: int
    length: int
    holds: UUID
    begins_with_code: bool


def read(content: bytes) -> FirmwareImage:
    """The kind of firmware in the bytes of a file."""
    size = len(content)
    if size > LIMIT:
        return FirmwareImage("", size, why=f"larger than any firmware ({LIMIT >> 20} MiB)")
    other = next((words for start, words in _OTHERS.items() if content.startswith(start)), "")
    if other or not content.strip(b"\0"):
        return FirmwareImage("", size, why=other or ("empty" if not content else "nothing but zeros"))
    volumes = list(_volumes(content))
    beyond = [volume for volume in volumes if volume.at + volume.length > size]
    if beyond:
        why = f"cut short: its volume at {beyond[0].at:#x} has {beyond[0].length} bytes, the file ends {beyond[0].at + beyond[0].length - size} earlier"
        return FirmwareImage("", size, why=why)
    if not volumes:
        return FirmwareImage("", size, why="no UEFI firmware: it has no firmware volume")
    return _image(content, volumes)


def _image(content: bytes, volumes: list[_Volume]) -> FirmwareImage:
    size, words = len(content), tuple(_words(volume) for volume in volumes)
    variables = [volume for volume in volumes if volume.holds == _VARIABLES]
    code = [volume for volume in volumes if volume.holds in _FILES]
    if not code:
        kind = "variables" if variables else ""
        family = _FAMILIES.get(("variables", size), "")
        return FirmwareImage(kind, size, family, volumes=words, why="" if kind else "firmware volumes of a kind that holds no code")
    table = _table(content)
    arch = "aarch64" if not table and any(volume.begins_with_code for volume in code) else "x86_64"
    if arch == "x86_64" and not table and len(set(content[-16:])) == 1:
        return FirmwareImage(
            "", size, volumes=words, why="without a first instruction at its end: a part of a firmware, or of another machine"
        )
    whole = bool(variables) or (arch == "x86_64" and size in (2 << 20, 4 << 20))
    family = _FAMILIES.get(("variables", variables[0].length), "") if variables else _FAMILIES.get(("code", size), "")
    return FirmwareImage(
        "whole" if whole else "code", size, family, arch, bool(table), _SEV_ES in table, _SEV in table, _TDX in table, words
    )


def fits_bios(image: FirmwareImage) -> bool:
    """Whether QEMU takes it with -bios."""
    return image.kind == "whole" and image.size % _ROM_STEP == 0


def _volumes(content: bytes) -> Iterator[_Volume]:
    """The volumes one after the other; what lies between them (padding, a first instruction) is passed over."""
    at = content.find(_SIGNATURE)
    while at >= 0:
        volume = _volume(content, at - _SIGNATURE_AT)
        if volume is not None:
            yield volume
            at = content.find(_SIGNATURE, volume.at + volume.length)
        else:
            at = content.find(_SIGNATURE, at + 1)


def _volume(content: bytes, at: int) -> _Volume | None:
    """The volume whose header begins there; None where the signature was a coincidence: the header's 16-bit words add up to 0."""
    if at < 0 or at + _HEADER.size > len(content):
        return None
    start, holds, length, _, _, header, _, _, _, revision = _HEADER.unpack_from(content, at)
    if revision not in (1, 2) or not _HEADER.size <= header <= min(length, len(content) - at) or header % 2:
        return None
    if sum(struct.unpack_from(f"<{header // 2}H", content, at)) & 0xFFFF:
        return None
    return _Volume(at, length, UUID(bytes_le=holds), start != bytes(16))


def _words(volume: _Volume) -> str:
    names = {_VARIABLES: "variables", **dict.fromkeys(_FILES, "code")}
    return f"{names.get(volume.holds, str(volume.holds))}, {volume.length // _KIB} KiB at {volume.at:#x}"


def _table(content: bytes) -> frozenset[UUID]:
    """The GUIDs in OVMF's table, that of the table itself among them; it is read backwards from its end."""
    end = len(content) - _TABLE_END
    if end < 18 or UUID(bytes_le=content[end - 16 : end]) != _TABLE:
        return frozenset()
    found = {_TABLE}
    left = _length(content, end) - 18
    at = end - 18
    while left >= 18 and at >= 18:
        length = _length(content, at)
        if not 18 <= length <= left:
            break
        found.add(UUID(bytes_le=content[at - 16 : at]))
        at, left = at - length, left - length
    return frozenset(found)


def _length(content: bytes, end: int) -> int:
    """The length of the entry that ends there: its data, this number and its GUID."""
    return int.from_bytes(content[end - 18 : end - 16], "little")
