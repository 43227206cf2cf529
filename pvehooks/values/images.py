"""UEFI firmware images: the contents of an image, and which one a guest was given."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple, Protocol, Unread

# In bytes: no flash that QEMU gives a guest is larger (an ARM guest's has 64 MiB).
LIMIT = 64 << 20


class PinnedFirmware(NamedTuple):
    """The image that a guest was given."""

    # "local:efi-firmware/NAME".
    volid: str
    # 64 hex digits in lower case.
    sha256: str
    # How QEMU loads it: "pflash" (ordinary guests, SEV, SEV-ES) or "bios" (SEV-SNP, TDX).
    style: str
    # Our part of the guest's `args`, unchanged.
    args: str
    # Epoch seconds.
    when: int
    # Where it was set.
    node: str
    # "writing" while our part is added or removed (args with and without it are then both correct), else "done".
    state: str = "done"


class FirmwareImage(NamedTuple):
    """The contents of a file (UEFI PI specification, volume 3, "Firmware Volume"; OVMF's GUIDed table at its end)."""

    # "code", "variables", "whole" (the whole flash of a machine: code, usually behind variables), or "" for a file that is no firmware.
    kind: str
    # In bytes.
    size: int
    # The kind of EFI disk that it needs: "2m", "4m" or "".
    family: str = ""
    # "x86_64", "aarch64" or "".
    arch: str = ""
    # Whether it has OVMF's table, so that it was made for QEMU.
    ovmf: bool = False
    # Whether that table has the entries for SEV-ES guests.
    sev_es: bool = False
    # The same for SEV-SNP.
    snp: bool = False
    # The same for TDX.
    tdx: bool = False
    # Phrases for people.
    volumes: tuple[str, ...] = ()
    # Of a file that is no firmware: a phrase about what it is.
    why: str = ""


class FirmwareNetwork(NamedTuple):
    """The network stack within a firmware image, and what gives it random numbers."""

    # Whether it has one.
    there: bool
    # Whether its drivers wait for random numbers (since edk2-stable202405).
    needs_entropy: bool
    # Whether it has the driver for random numbers of the CPU.
    cpu: bool
    # The same for a virtio RNG device.
    device: bool
    # edk2's release ("2025.02"), '' where the image names none.
    release: str = ""


class FirmwareNetworks(Protocol):
    """The network stacks of firmware images; each image is read when it is asked for, by volume id or path."""

    def of(self, image: str) -> FirmwareNetwork | Unread: ...


class ImageFile(NamedTuple):
    """The file of a volume id on this node."""

    volid: str
    # '' if unknown.
    path: str
    # What is wrong with it, '' if nothing.
    trouble: str = ""
    # Whether it does not exist.
    missing: bool = False
    # '' if it was not read.
    sha256: str = ""
    # Whether the guest's args still contain our part as it was written.
    in_args: bool = True
    # What to type against the trouble, '' if unknown.
    remedy: str = ""
    # In bytes, 0 if it was not read.
    size: int = 0
    # Whether QEMU does not start with a file that has this trouble.
    is_refused: bool = False
