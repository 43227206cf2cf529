"""The UEFI firmware images that are installed (qemu-server, PVE/QemuServer/OVMF.pm, $EDK2_FW_BASE)."""

from __future__ import annotations

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread

DIRECTORY = "/usr/share/pve-edk2-firmware"


def read(host: Host) -> frozenset[str] | Unread:
    """Their file names; Unread where the directory cannot be listed."""
    try:
        return frozenset(name for name in host.names(DIRECTORY) if host.exists(f"{DIRECTORY}/{name}"))
    except OSError as error:
        return unread(DIRECTORY, error)
