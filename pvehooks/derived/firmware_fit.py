"""Whether a firmware image fits a guest: pure judgements, and the words for QEMU that make it start with the image.

Source: qemu-server, OVMF.pm (print_ovmf_commandline), Machine.pm (get_vm_machine), CPUConfig.pm (get_cvm_type); QEMU's manual.
"""

from __future__ import annotations

import re

from pvehooks.derived.remedies import machine_of_version
from pvehooks.values import Guest, NamedTuple, Unread
from pvehooks.values.images import FirmwareImage

NODE_NAME = "pvehooks-firmware"
PFLASH, BIOS = "pflash", "bios"
# From this machine version on PVE gives QEMU its firmware by -blockdev, which a later -machine overrides.
BLOCKDEV = (10, 0)
_WITH_BIOS = ("snp", "tdx")
_OLD_WINDOWS = ("wxp", "w2k", "w2k3", "w2k8", "wvista")
# PVE keeps Windows guests without a version at this one, or at the one that they were made with where that is new enough.
_WINDOWS_BASE, _WINDOWS_MADE = (5, 1), (9, 1)
_ROM_STEP = 64 << 10
# The flash of QEMU's ARM machine has just this size; what all flash of a PC may have together (hw/arm/virt.c, hw/i386/pc_sysfw.c).
_ARM_FLASH, _PC_FLASH = 64 << 20, 8 << 20
_CODE_SIZES = {0x37C000: "4m", 0x1E0000: "2m"}


class Unfit(NamedTuple):
    """Why an image does not fit a guest, and what to type ('' where nothing helps); `no_start` where QEMU would refuse to start."""

    why: str
    remedy: str = ""
    no_start: bool = False


def confidential(guest: Guest) -> str:
    """The kind of a confidential guest: 'std' (SEV), 'es', 'snp', 'tdx', or ''."""
    if "amd-sev" in guest.options:
        return str(guest.properties("amd-sev").get("type", ""))
    return str(guest.properties("intel-tdx").get("type", "tdx")) if "intel-tdx" in guest.options else ""


def style(guest: Guest) -> str:
    """How QEMU gets the firmware of such a guest."""
    return BIOS if confidential(guest) in _WITH_BIOS else PFLASH


def words(path: str, how: str) -> tuple[str, ...]:
    """The arguments that make QEMU start with the image in place of PVE's own."""
    if how == BIOS:
        return ("-bios", path)
    file = path.replace(",", ",,")
    blockdev = f"driver=raw,node-name={NODE_NAME},read-only=on,file.driver=file,file.filename={file}"
    return ("-blockdev", blockdev, "-machine", f"pflash0={NODE_NAME}")


def unfit(guest: Guest, image: FirmwareImage, qemu: tuple[int, int] | Unread) -> Unfit | None:
    """Why the guest cannot be given the image; `qemu` is the version of the node's QEMU."""
    if not guest.uefi:
        bios = str(guest.options.get("bios", "seabios"))
        return Unfit(
            f"it starts with bios: {bios}, and firmware images are for bios: ovmf",
            f"If it is a UEFI VM: qm set {guest.vmid} --bios ovmf",
        )
    if image.kind not in ("code", "whole"):
        return Unfit(f"the image is {image.why or 'without code: it holds variables only'}")
    arch = str(guest.options.get("arch", "x86_64"))
    if image.arch not in ("", arch):
        return Unfit(f"the image is for {image.arch}, and the VM's machine is {arch}")
    if style(guest) == BIOS:
        return _unfit_for_bios(guest, image)
    return _unfit_for_pflash(guest, image, qemu)


def misfit(guest: Guest, given: str, qemu: tuple[int, int] | Unread, size: int = 0, arch: str = "x86_64") -> Unfit | None:
    """Why a guest cannot start any more with an image that it was given in the style `given`: the guest was changed since.

    The image is known by its `size` alone (0 where that is unknown): more takes too long before a start. `arch` is the guest's.
    """
    back = f"Take the image from it: pvehooks firmware unset {guest.vmid}"
    if not guest.uefi:
        return Unfit("it is not set to bios: ovmf now", f"{back}. Or make it a UEFI VM again: qm set {guest.vmid} --bios ovmf")
    if style(guest) != given:
        kind = {"": "an ordinary one", "std": "one with SEV", "es": "one with SEV-ES", "snp": "one with SEV-SNP", "tdx": "one with TDX"}
        return Unfit(f"the VM is {kind.get(confidential(guest), 'another one')} now, which gets its firmware in another way", back)
    if style(guest) == BIOS:
        return None
    old = None if isinstance(qemu, Unread) else _machine_too_old(guest, qemu)
    if old is not None or not size:
        return old
    if arch == "aarch64":
        return None if size == _ARM_FLASH else Unfit("its machine is ARM now, and the image is for x86", back, no_start=True)
    if size > _PC_FLASH:
        return Unfit("its machine is x86 now, and the image is for ARM", back, no_start=True)
    return _wrong_family(guest, FirmwareImage("code", size, _CODE_SIZES.get(size, "")))


def is_refused(size: int, given: str, arch: str) -> bool:
    """Whether QEMU does not start with a file of so many bytes as firmware, given in this style: it fits into no flash, or is no ROM.

    Tried with QEMU 7.2: 65 MiB as pflash0 ("combined size of system firmware exceeds 8388608 bytes"); as -bios it starts.
    """
    if given == BIOS:
        return size % _ROM_STEP != 0
    return size != _ARM_FLASH if arch == "aarch64" else size > _PC_FLASH


def _unfit_for_bios(guest: Guest, image: FirmwareImage) -> Unfit | None:
    kind = {"snp": "SEV-SNP", "tdx": "TDX"}[confidential(guest)]
    if image.kind != "whole" or image.size % _ROM_STEP:
        return Unfit(
            f"a VM with {kind} gets its firmware by -bios, and QEMU takes no code-only image there",
            "Import the whole image of the same build",
        )
    if not (image.snp if confidential(guest) == "snp" else image.tdx):
        return Unfit(f"the image has no metadata for {kind}: QEMU would not start with it", f"Import one that was built for {kind}")
    return None


def _unfit_for_pflash(guest: Guest, image: FirmwareImage, qemu: tuple[int, int] | Unread) -> Unfit | None:
    if image.kind == "whole":
        return Unfit(
            "a whole image has its variables in itself, where nothing can be written, and would pass over the EFI disk",
            "Import the code-only image of the same build",
        )
    if confidential(guest) == "es" and not image.sev_es:
        return Unfit("the image has no SEV-ES reset block: QEMU would not start with it", "Import one that was built for SEV-ES")
    return _machine_too_old(guest, qemu) or _wrong_family(guest, image)


def _machine_too_old(guest: Guest, qemu: tuple[int, int] | Unread) -> Unfit | None:
    if isinstance(qemu, tuple) and not isinstance(qemu, Unread) and qemu < BLOCKDEV:
        there = ".".join(map(str, qemu))
        words = f"the node's QEMU is {there}, and firmware images need 10.0 or later"
        return Unfit(words, "Upgrade the node to Proxmox VE 9", no_start=True)
    version = machine_version(guest, qemu)
    if isinstance(version, Unread):
        return Unfit(f"the version of its machine is unknown: {version.why}", f"Set one: {machine_of_version(guest, BLOCKDEV)}")
    if version >= BLOCKDEV:
        return None
    there = ".".join(map(str, version))
    windows = " (Windows: it keeps the version that it was made with)" if _windows(guest) and not _written_version(guest) else ""
    new_devices = " (Windows may find new devices then)" if _windows(guest) else ""
    words = f"its machine version is {there}{windows}: nothing overrides its firmware below 10.0"
    return Unfit(words, f"Raise it{new_devices}: {machine_of_version(guest, BLOCKDEV)}", no_start=True)


def machine_version(guest: Guest, qemu: tuple[int, int] | Unread) -> tuple[int, int] | Unread:
    """The version of the machine that the guest's next start gets."""
    written = _written_version(guest)
    if written is not None:
        return written
    if not _windows(guest):
        return qemu
    made = re.match(r"(\d{1,4})\.(\d{1,4})", str(guest.properties("meta").get("creation-qemu", "")), re.ASCII)
    version = (int(made[1]), int(made[2])) if made else _WINDOWS_BASE
    base = version if version >= _WINDOWS_MADE else _WINDOWS_BASE
    return qemu if not isinstance(qemu, Unread) and base > qemu else base


def _written_version(guest: Guest) -> tuple[int, int] | None:
    found = re.search(r"-(\d{1,4})\.(\d{1,4})", str(guest.properties("machine").get("type", "")), re.ASCII)
    return (int(found[1]), int(found[2])) if found else None


def _windows(guest: Guest) -> bool:
    ostype = str(guest.options.get("ostype", ""))
    return ostype in _OLD_WINDOWS or re.fullmatch(r"win\d+", ostype) is not None


def _wrong_family(guest: Guest, image: FirmwareImage) -> Unfit | None:
    """Code and variables must be of one size; a SEV guest's variables are always of the large one, ARM has but one."""
    if not image.family or image.arch == "aarch64":
        return None
    if "efidisk0" not in guest.options:
        if image.family == "2m" and not confidential(guest):
            return None
        remedy = f"Give it one: qm set {guest.vmid} --efidisk0 STORAGE:1,efitype=4m"
        return (
            None
            if confidential(guest)
            else Unfit("it has no EFI disk, and PVE's stand-in is of the 2M family, the image of the 4M one", remedy)
        )
    family = "4m" if confidential(guest) else str(guest.properties("efidisk0").get("efitype", "2m"))
    if family == image.family:
        return None
    return Unfit(
        f"its EFI disk is of the {family.upper()} family and the image of the {image.family.upper()} one: its variables would not fit",
        f"Import the {family.upper()} image of the same firmware",
    )


def image_in(args: tuple[str, ...]) -> str:
    """The path of the image that a user's own words give the guest as its firmware; '' where none of them is a whole path."""
    option, _, value = own_firmware(args)[0].partition(" ")
    if option.lstrip("-") in ("bios", "pflash"):
        return value if value.startswith("/") else ""
    parts = dict(part.partition("=")[::2] for part in value.split(","))
    path = parts.get("file.filename", "") or parts.get("filename", "") or parts.get("file", "")
    return path if path.startswith("/") else ""


def own_firmware(args: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What in a user's own words for QEMU gives it a firmware already ('' if nothing does), and the words without that."""
    for at, word in enumerate(args):
        option = word.removeprefix("-").removeprefix("-") if word.startswith("-") else ""
        value = args[at + 1] if at + 1 < len(args) else ""
        parts = value.split(",")
        if (
            option in ("bios", "pflash", "L")
            or (option == "drive" and "if=pflash" in parts)
            or (option in ("machine", "M") and any(part.startswith("pflash0=") for part in parts))
            or (option and f"node-name={NODE_NAME}" in parts)
        ):
            return f"{word} {value}".strip(), (*args[:at], *args[at + 2 :])
    return "", args
