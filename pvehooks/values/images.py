"""UEFI firmware images of a guest's own: what an image is, and which one a guest was given."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple

# More bytes than any flash that QEMU gives a guest (an ARM guest's has 64 MiB).
LIMIT = 64 << 20


class PinnedFirmware(NamedTuple):
    """The image that a guest was given: its volume id ("local:efi-firmware/NAME") and its sha256 (64 lower-case hex digits).

    `style` is how QEMU gets it: "pflash" (ordinary guests, SEV, SEV-ES) or "bios" (SEV-SNP, TDX). `args` is our part of the guest's
    `args`, to the letter; `when` epoch seconds, `node` where it was set. `state` is "writing" while our part is put in or taken out,
    when args with and without it are right, and "done" otherwise.
    """

    volid: str
    sha256: str
    style: str
    args: str
    when: int
    node: str
    state: str = "done"


class FirmwareImage(NamedTuple):
    """What a file says of itself (UEFI PI specification, volume 3, "Firmware Volume"; OVMF's GUIDed table at its end).

    `kind` is "code", "variables", "whole" (what a machine has in its flash: code, usually behind variables) or "" for what is no
    firmware, and `why` then says in words what it is instead. `size` is in bytes. `family` is "2m" or "4m", which says to which EFI disk
    it belongs, or ''; `arch` "x86_64", "aarch64" or ''. `ovmf` tells whether it has OVMF's table, made for QEMU; `sev_es`, `snp` and
    `tdx` whether that has what such guests need. `volumes` are words for a person.
    """

    kind: str
    size: int
    family: str = ""
    arch: str = ""
    ovmf: bool = False
    sev_es: bool = False
    snp: bool = False
    tdx: bool = False
    volumes: tuple[str, ...] = ()
    why: str = ""


class ImageFile(NamedTuple):
    """The file of a volume id on this node: its path ('' where it cannot be told), and what is wrong with it ('' if nothing).

    `missing` tells that it is not there; `sha256` is '' and `size` (in bytes) 0 where it was not read. `in_args` tells whether the
    guest's args name it as they were written. `remedy` is what to type against the trouble, '' where that is not known.
    """

    volid: str
    path: str
    trouble: str = ""
    missing: bool = False
    sha256: str = ""
    in_args: bool = True
    remedy: str = ""
    size: int = 0
