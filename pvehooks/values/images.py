"""UEFI firmware images: the contents of an image, and which one a guest was given."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple

# In bytes: no flash that QEMU gives a guest is larger (an ARM guest's has 64 MiB).
LIMIT = 64 << 20


class PinnedFirmware(NamedTuple):
    """The image that a guest was given: its volume id ("local:efi-firmware/NAME") and its sha256 (64 lower-case hex digits).

    `style` is how QEMU loads it: "pflash" (ordinary guests, SEV, SEV-ES) or "bios" (SEV-SNP, TDX). `args` is our part of the guest's
    `args`, unchanged; `when` epoch seconds, `node` where it was set. `state` is "writing" while our part is added or removed: args with
    and without it are then both correct; otherwise it is "done".
    """

    volid: str
    sha256: str
    style: str
    args: str
    when: int
    node: str
    state: str = "done"


class FirmwareImage(NamedTuple):
    """The contents of a file (UEFI PI specification, volume 3, "Firmware Volume"; OVMF's GUIDed table at its end).

    `kind` is "code", "variables", "whole" (the whole flash of a machine: code, usually behind variables) or "" for a file that is no
    firmware; `why` is then a phrase about what it is. `size` is in bytes. `family` is "2m" or "4m", the kind of EFI disk that
    it needs, or ''; `arch` "x86_64", "aarch64" or ''. `ovmf`: it has OVMF's table, made for QEMU; `sev_es`, `snp` and
    `tdx`: that table has the entries that such guests need. `volumes` are phrases for people.
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
    """The file of a volume id on this node: its path ('' if unknown), and `trouble`, what is wrong with it ('' if nothing).

    `missing`: it does not exist; `sha256` is '' and `size` (in bytes) 0 if it was not read. `in_args`: the
    guest's args still contain our part as it was written. `remedy` is what to type against the trouble, '' if unknown.
    """

    volid: str
    path: str
    trouble: str = ""
    missing: bool = False
    sha256: str = ""
    in_args: bool = True
    remedy: str = ""
    size: int = 0
