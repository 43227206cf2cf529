"""Which boot loader this node uses (the administrator's manual, "Host Bootloader")."""

from __future__ import annotations

from pvehooks.facts.boot import firmware
from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Loader

BOOT_UUIDS = "/etc/kernel/proxmox-boot-uuids"
_BY_UUID = "/dev/disk/by-uuid"
# systemd's boot loader interface (https://systemd.io/BOOT_LOADER_INTERFACE/).
_LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def read(host: Host) -> Loader | Unread:
    """The boot loader that started the running kernel, for all that can be seen of it."""
    try:
        uuids = tuple(line.split()[0] for line in host.read_text(BOOT_UUIDS).split("\n") if line.split())
    except FileNotFoundError:
        uuids = ()
    except OSError as error:
        return unread(BOOT_UUIDS, error)
    # The kernel makes this directory on every machine (its drivers/base/firmware.c).
    if not host.is_dir("/sys/firmware"):
        return Unread("/sys/firmware is not there")
    uefi = host.is_dir(firmware.EFI)
    kind, why = _kind(host, uefi, bool(uuids))
    return Loader(kind, bool(uuids), uefi, why, uuids, _missing(host, uuids))


def _kind(host: Host, uefi: bool, managed: bool) -> tuple[str, str]:
    """What it is, and how that was seen: the surest sign first."""
    if not uefi:
        return "grub", "the firmware is a legacy BIOS"
    told = firmware.variable(host, "LoaderInfo", _LOADER)
    name = told.decode("utf-16-le", "replace").rstrip("\0") if told else ""
    if name.startswith(("systemd-boot", "GRUB")):
        return ("grub" if name.startswith("GRUB") else "systemd-boot"), f"it calls itself {name.split(chr(0))[0]}"
    words = _running(host)
    # GRUB names the kernel; systemd-boot passes the initrd's path on the ESP, with backslashes (systemd's boot.c).
    if any(word.startswith("BOOT_IMAGE=") for word in words):
        return "grub", "the kernel command line has BOOT_IMAGE"
    if any(word.startswith("initrd=\\") for word in words):
        return "systemd-boot", "the kernel command line has initrd=\\"
    if firmware.secure_boot(host):
        return "grub", "Secure Boot is on, and only GRUB is signed for it"
    path = _boot_entry(host)
    if "systemd-boot" in path:
        return "systemd-boot", "the firmware's boot entry names systemd-boot"
    if "grub" in path or "shim" in path:
        return "grub", f"the firmware's boot entry names {'shim' if 'shim' in path else 'GRUB'}"
    if managed and any(word.startswith("root=ZFS=") for word in words):
        return "systemd-boot", "UEFI without Secure Boot, and the root file system is ZFS"
    if not managed and host.exists("/boot/grub/grub.cfg"):
        return "grub", "there is a /boot/grub/grub.cfg, and proxmox-boot-tool keeps no ESPs"
    return "", "nothing tells"


def _running(host: Host) -> list[str]:
    try:
        return host.read_text("/proc/cmdline").split()
    except OSError:
        return []


def _boot_entry(host: Host) -> str:
    """The device path of the entry that the firmware booted, as text in lower case; '' where it is not known (`efibootmgr -v`)."""
    current = firmware.variable(host, "BootCurrent", firmware.GLOBAL)
    if current is None or len(current) < 2:
        return ""
    entry = firmware.variable(host, f"Boot{int.from_bytes(current[:2], 'little'):04X}", firmware.GLOBAL)
    return (entry or b"").replace(b"\0", b"").decode("ascii", "replace").lower()


def _missing(host: Host, uuids: tuple[str, ...]) -> tuple[str, ...]:
    """The ESPs without a partition; none where udev's links are not there, as in trees."""
    try:
        there = {name.upper() for name in host.names(_BY_UUID)}
    except OSError:
        return ()
    return tuple(uuid for uuid in uuids if uuid.upper() not in there) if there else ()
