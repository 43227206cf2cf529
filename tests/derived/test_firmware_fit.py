"""Which image fits which guest, by kind of guest, machine, EFI disk and QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived import firmware_fit as fit
from pvehooks.values import Guest, Unread
from pvehooks.values.images import FirmwareImage
from tests.derived.bed import guest_on_node

MIB = 1 << 20
UEFI = "bios: ovmf\n"
DISK_4M = f"{UEFI}efidisk0: local:vm-100-disk-0,efitype=4m\n"
DISK_2M = f"{UEFI}efidisk0: local:vm-100-disk-0\n"
SEV, ES, SNP = (f"{UEFI}amd-sev: {kind}\n" for kind in ("std", "es", "snp"))
TDX = f"{UEFI}intel-tdx: tdx,attestation=0\n"
CODE_4M = FirmwareImage("code", 0x37C000, "4m", "x86_64")
CODE_2M = FirmwareImage("code", 0x1E0000, "2m", "x86_64")
WHOLE = FirmwareImage("whole", 4 * MIB, "", "x86_64")
QEMU_10, QEMU_9 = (10, 0), (9, 2)
NO_QEMU = Unread("it is not installed")


def guest(config: str, tmp_path: Path) -> Guest:
    return guest_on_node(tmp_path, config)[0]


@pytest.mark.parametrize(
    ("config", "kind", "style"),
    [
        (UEFI, "", "pflash"),
        (SEV, "std", "pflash"),
        (ES, "es", "pflash"),
        (SNP, "snp", "bios"),
        (TDX, "tdx", "bios"),
        (f"{UEFI}intel-tdx: type=tdx,attestation=0\n", "tdx", "bios"),
    ],
)
def test_kinds_of_guests(config: str, kind: str, style: str, tmp_path: Path) -> None:
    found = guest(config, tmp_path)
    assert (fit.confidential(found), fit.style(found)) == (kind, style)


@pytest.mark.parametrize(
    ("config", "image", "qemu", "why"),
    [
        ("memory: 512\n", CODE_4M, QEMU_10, "it starts with bios: seabios, and firmware images are for bios: ovmf"),
        (DISK_4M, FirmwareImage("variables", MIB), QEMU_10, "the image is without code: it holds variables only"),
        (DISK_4M, FirmwareImage("", 5, why="a text"), QEMU_10, "the image is a text"),
        (DISK_4M, CODE_4M._replace(arch="aarch64"), QEMU_10, "the image is for aarch64, and the VM's machine is x86_64"),
        (f"{DISK_4M}arch: aarch64\n", CODE_4M, QEMU_10, "the image is for x86_64, and the VM's machine is aarch64"),
        (DISK_4M, CODE_4M._replace(arch=""), QEMU_10, ""),
        (DISK_4M, CODE_4M, QEMU_10, ""),
        (DISK_4M, CODE_4M, (10, 1), ""),
        (DISK_4M, WHOLE, QEMU_10, "a whole image has its variables in itself, where nothing can be written, and would pass over the EFI disk"),
        (DISK_4M, CODE_4M, QEMU_9, "the node's QEMU is 9.2, and firmware images need 10.0 or later"),
        (DISK_4M, CODE_4M, NO_QEMU, "the version of its machine is unknown: it is not installed"),
        (f"{DISK_4M}machine: pc-q35-10.0\n", CODE_4M, NO_QEMU, ""),
        (f"{DISK_4M}machine: pc-q35-9.2\n", CODE_4M, QEMU_10, "its machine version is 9.2: nothing overrides its firmware below 10.0"),
        (
            f"{DISK_4M}ostype: win11\n",
            CODE_4M,
            QEMU_10,
            "its machine version is 5.1 (Windows: it keeps the version that it was made with): nothing overrides its firmware below 10.0",
        ),
        (
            f"{DISK_4M}ostype: win11\nmachine: pc-i440fx-9.1\n",
            CODE_4M,
            QEMU_10,
            "its machine version is 9.1: nothing overrides its firmware below 10.0",
        ),
        # -- families
        (DISK_2M, CODE_4M, QEMU_10, "its EFI disk is of the 2M family and the image of the 4M one: its variables would not fit"),
        (DISK_4M, CODE_2M, QEMU_10, "its EFI disk is of the 4M family and the image of the 2M one: its variables would not fit"),
        (DISK_2M, CODE_2M, QEMU_10, ""),
        (DISK_2M, CODE_4M._replace(family=""), QEMU_10, ""),
        (UEFI, CODE_2M, QEMU_10, ""),
        (UEFI, CODE_4M, QEMU_10, "it has no EFI disk, and PVE's stand-in is of the 2M family, the image of the 4M one"),
        (SEV, CODE_4M, QEMU_10, ""),
        (SEV, CODE_2M, QEMU_10, ""),
        (f"{DISK_2M}amd-sev: type=std\n", CODE_4M, QEMU_10, ""),
        (f"{DISK_2M}amd-sev: type=std\n", CODE_2M, QEMU_10, "its EFI disk is of the 4M family and the image of the 2M one: its variables would not fit"),
        (f"{DISK_2M}arch: aarch64\n", FirmwareImage("code", 64 * MIB, "4m", "aarch64"), QEMU_10, ""),
        # -- confidential guests
        (ES, CODE_4M, QEMU_10, "the image has no SEV-ES reset block: QEMU would not start with it"),
        (ES, CODE_4M._replace(sev_es=True), QEMU_10, ""),
        (SEV, CODE_4M._replace(sev_es=False), QEMU_10, ""),
        (SNP, CODE_4M, QEMU_10, "a VM with SEV-SNP gets its firmware by -bios, and QEMU takes no code-only image there"),
        (SNP, WHOLE._replace(snp=True, size=4 * MIB + 1), QEMU_10, "a VM with SEV-SNP gets its firmware by -bios, and QEMU takes no code-only image there"),
        (TDX, CODE_4M, QEMU_10, "a VM with TDX gets its firmware by -bios, and QEMU takes no code-only image there"),
        (SNP, WHOLE._replace(tdx=True), QEMU_10, "the image has no metadata for SEV-SNP: QEMU would not start with it"),
        (TDX, WHOLE._replace(snp=True), QEMU_10, "the image has no metadata for TDX: QEMU would not start with it"),
        (SNP, WHOLE._replace(snp=True), QEMU_9, ""),
        (TDX, WHOLE._replace(tdx=True), QEMU_9, ""),
        (SNP, WHOLE._replace(snp=True, size=64 << 10), QEMU_10, ""),
    ],
)  # fmt: skip
def test_unfit(config: str, image: FirmwareImage, qemu: tuple[int, int] | Unread, why: str, tmp_path: Path) -> None:
    found = fit.unfit(guest(config, tmp_path), image, qemu)
    assert (found.why if found else "") == why


@pytest.mark.parametrize(
    ("config", "given", "qemu", "size", "arch", "why", "no_start"),
    [
        ("memory: 512\n", "pflash", QEMU_10, 0, "x86_64", "it is not set to bios: ovmf now", False),
        (UEFI, "bios", QEMU_10, 0, "x86_64", "the VM is an ordinary one now, which gets its firmware in another way", False),
        (SEV, "bios", QEMU_10, 0, "x86_64", "the VM is one with SEV now, which gets its firmware in another way", False),
        (ES, "bios", QEMU_10, 0, "x86_64", "the VM is one with SEV-ES now, which gets its firmware in another way", False),
        (SNP, "pflash", QEMU_10, 0, "x86_64", "the VM is one with SEV-SNP now, which gets its firmware in another way", False),
        (TDX, "pflash", QEMU_10, 0, "x86_64", "the VM is one with TDX now, which gets its firmware in another way", False),
        (SNP, "bios", QEMU_9, 64 * MIB, "x86_64", "", False),
        (DISK_4M, "pflash", QEMU_10, 0, "x86_64", "", False),
        (DISK_4M, "pflash", QEMU_9, 0, "x86_64", "the node's QEMU is 9.2, and firmware images need 10.0 or later", True),
        (f"{DISK_4M}machine: q35\n", "pflash", NO_QEMU, 0x37C000, "x86_64", "", False),
        (f"{DISK_4M}machine: pc-q35-9.0\n", "pflash", QEMU_10, 0, "x86_64", "its machine version is 9.0: nothing overrides its firmware below 10.0", True),
        (f"{DISK_4M}machine: pc-q35-9.0\n", "pflash", QEMU_10, 0x1E0000, "x86_64", "its machine version is 9.0: nothing overrides its firmware below 10.0", True),
        (DISK_4M, "pflash", QEMU_10, 0x37C000, "x86_64", "", False),
        (DISK_4M, "pflash", QEMU_10, 0x1E0000, "x86_64", "its EFI disk is of the 4M family and the image of the 2M one: its variables would not fit", False),
        (DISK_2M, "pflash", QEMU_10, 0x37C000, "x86_64", "its EFI disk is of the 2M family and the image of the 4M one: its variables would not fit", False),
        (DISK_2M, "pflash", QEMU_10, 0x37C001, "x86_64", "", False),
        (DISK_4M, "pflash", QEMU_10, 8 * MIB, "x86_64", "", False),
        (DISK_4M, "pflash", QEMU_10, 8 * MIB + 1, "x86_64", "its machine is x86 now, and the image is for ARM", True),
        (DISK_4M, "pflash", QEMU_10, 64 * MIB, "aarch64", "", False),
        (DISK_4M, "pflash", QEMU_10, 4 * MIB, "aarch64", "its machine is ARM now, and the image is for x86", True),
    ],
)  # fmt: skip
def test_misfit(config: str, given: str, qemu: tuple[int, int] | Unread, size: int, arch: str, why: str, no_start: bool, tmp_path: Path) -> None:
    found = fit.misfit(guest(config, tmp_path), given, qemu, size, arch)
    assert ((found.why, found.no_start) if found else ("", False)) == (why, no_start)


def test_an_image_of_unknown_size_on_the_usual_machine(tmp_path: Path) -> None:
    assert fit.misfit(guest(DISK_4M, tmp_path), "pflash", QEMU_10) is None


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ("machine: pc-q35-9.2,viommu=intel\n", "Raise it: qm set 100 --machine pc-q35-10.0,viommu=intel"),
        ("machine: pc-i440fx-9.2\n", "Raise it: qm set 100 --machine pc-i440fx-10.0"),
        ("ostype: win11\nmachine: q35\n", "Raise it (Windows may find new devices then): qm set 100 --machine pc-q35-10.0"),
        ("ostype: w2k8\n", "Raise it (Windows may find new devices then): qm set 100 --machine pc-i440fx-10.0"),
        ("machine: virt-9.2\n", "Raise it: qm set 100 --machine virt-10.0"),
    ],
)
def test_a_machine_that_is_too_old(config: str, remedy: str, tmp_path: Path) -> None:
    found = fit.unfit(guest(DISK_4M + config, tmp_path), CODE_4M, QEMU_10)
    assert found is not None and (found.remedy, found.no_start) == (remedy, True)


@pytest.mark.parametrize(("config", "base"), [("", "pc-i440fx"), ("arch: aarch64\n", "virt"), ("machine: q35\n", "pc-q35")])
def test_a_version_for_a_machine_without(config: str, base: str, tmp_path: Path) -> None:
    found = fit.unfit(guest(DISK_4M + config, tmp_path), CODE_4M._replace(arch=""), NO_QEMU)
    assert found is not None and (found.remedy, found.no_start) == (f"Set one: qm set 100 --machine {base}-10.0", False)


@pytest.mark.parametrize(
    ("config", "qemu", "version"),
    [
        ("", QEMU_9, QEMU_9),
        ("machine: q35\n", QEMU_10, QEMU_10),
        ("machine: pc-q35-8.1+pve0\n", QEMU_10, (8, 1)),
        ("ostype: l26\nmeta: creation-qemu=9.2.0\n", QEMU_10, QEMU_10),
        ("ostype: win10\n", QEMU_10, (5, 1)),
        ("ostype: win10\nmeta: creation-qemu=8.1.5\n", QEMU_10, (5, 1)),
        ("ostype: win10\nmeta: creation-qemu=9.1.0\n", QEMU_10, (9, 1)),
        ("ostype: win10\nmeta: creation-qemu=10.1.2\n", QEMU_10, QEMU_10),
        ("ostype: win10\nmeta: creation-qemu=10.1.2\n", NO_QEMU, (10, 1)),
        ("ostype: wvista\n", (4, 0), (4, 0)),
        ("ostype: other\n", NO_QEMU, NO_QEMU),
    ],
)
def test_machine_version(config: str, qemu: tuple[int, int] | Unread, version: tuple[int, int] | Unread, tmp_path: Path) -> None:
    assert fit.machine_version(guest(UEFI + config, tmp_path), qemu) == version


@pytest.mark.parametrize(
    ("args", "own", "rest"),
    [
        ((), "", ()),
        (("-smbios", "type=1"), "", ("-smbios", "type=1")),
        (("-bios", "/x.fd", "-s"), "-bios /x.fd", ("-s",)),
        (("-s", "--pflash", "/x.fd"), "--pflash /x.fd", ("-s",)),
        (("-L", "/roms"), "-L /roms", ()),
        (("-L",), "-L", ()),
        (("-s", "bios"), "", ("-s", "bios")),
        (("-drive", "file=x,if=pflash,unit=0"), "-drive file=x,if=pflash,unit=0", ()),
        (("-drive", "file=if=pflash"), "", ("-drive", "file=if=pflash")),
        (("-device", "x,if=pflash"), "", ("-device", "x,if=pflash")),
        (("-machine", "q35,pflash0=code"), "-machine q35,pflash0=code", ()),
        (("-M", "pflash0=code"), "-M pflash0=code", ()),
        (("-machine", "q35"), "", ("-machine", "q35")),
        (("-global", "pflash0=code"), "", ("-global", "pflash0=code")),
        (("-blockdev", "driver=raw,node-name=pvehooks-firmware"), "-blockdev driver=raw,node-name=pvehooks-firmware", ()),
        (("-blockdev", "driver=raw,node-name=mine"), "", ("-blockdev", "driver=raw,node-name=mine")),
        (("word", "node-name=pvehooks-firmware"), "", ("word", "node-name=pvehooks-firmware")),
    ],
)  # fmt: skip
def test_firmware_in_the_users_own_words(args: tuple[str, ...], own: str, rest: tuple[str, ...]) -> None:
    assert fit.own_firmware(args) == (own, rest)


def test_words_for_qemu() -> None:
    assert fit.words("/a,b.fd", fit.BIOS) == ("-bios", "/a,b.fd")
    blockdev = "driver=raw,node-name=pvehooks-firmware,read-only=on,file.driver=file,file.filename=/a,,b.fd"
    assert fit.words("/a,b.fd", fit.PFLASH) == ("-blockdev", blockdev, "-machine", "pflash0=pvehooks-firmware")
