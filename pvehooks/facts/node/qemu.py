"""QEMU as the node has it: its version, the firmware and ROMs that are installed with it, and what virtio-gl asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pvehooks.facts.node import packages
from pvehooks.facts.reading import content_of, unread
from pvehooks.host import Host
from pvehooks.values import Unread

# qemu-server, PVE/QemuServer/OVMF.pm, $EDK2_FW_BASE.
_FIRMWARE = "/usr/share/pve-edk2-firmware"
_ROMS = "/usr/share/kvm"
_MACHINES = tuple(f"{_ROMS}/machine-versions-{arch}.json" for arch in ("x86_64", "aarch64"))
_DEEPEST = 3
_ROM_LIMIT = 1 << 20
_LIBRARIES = {"libgl1": "libGL.so.1", "libegl1": "libEGL.so.1"}
_LIBRARY_PATHS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
_RENDER_NODES = "/dev/dri"


def version(host: Host) -> tuple[int, int] | Unread:
    """Major and minor of the package pve-qemu-kvm, which is also the newest machine version; a running guest may still have an older QEMU."""
    known = packages.version(host, "pve-qemu-kvm")
    if isinstance(known, Unread):
        return known
    match = re.match(r"(\d+)\.(\d+)", known)
    return (int(match[1]), int(match[2])) if match else Unread(f"the version {known} of pve-qemu-kvm is none of QEMU's")


def machines(host: Host) -> frozenset[str] | Unread:
    """The machine versions that QEMU has ("pc-q35-9.2"), as its package lists them; none for an architecture without a list.

    Source: pve-qemu, debian/parse-machines.pl, which is run on `-machine help`; pve-qemu-kvm 5.2 and newer have it, for aarch64 10.1.2-6 and newer.
    """
    found: set[str] = set()
    for path in _MACHINES:
        raw = content_of(host, path)
        try:
            found |= {str(each["id"]) for each in json.loads(raw)} if not isinstance(raw, Unread) else set()
        except (ValueError, TypeError, KeyError, RecursionError):
            return Unread(f"{path} is damaged")
    return frozenset(found)


def firmware(host: Host) -> frozenset[str] | Unread:
    """The file names of the UEFI firmware that is installed; Unread where the directory cannot be listed."""
    try:
        return frozenset(name for name in host.names(_FIRMWARE) if host.exists(f"{_FIRMWARE}/{name}"))
    except OSError as error:
        return unread(_FIRMWARE, error)


def roms(host: Host) -> frozenset[str] | Unread:
    """The files that `romfile` of a hostpciN may name, those in subdirectories as FOLDER/NAME.

    Source: qemu-server, PVE/QemuServer/PCI.pm, print_hostpci_devices.
    """
    try:
        return frozenset(_below(host, "", host.names(_ROMS), _DEEPEST))
    except OSError as error:
        return unread(_ROMS, error)


class FilesOfRoms:
    """What is in the files that `romfile` may name (values.pci.RomFiles)."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def content(self, name: str) -> bytes | Unread:
        """The first bytes of a file, as many as an option ROM can have before its image begins."""
        return content_of(self._host, f"{_ROMS}/{name}", _ROM_LIMIT)


def _below(host: Host, folder: str, names: list[str], depth: int) -> Iterator[str]:
    for name in names:
        path = f"{_ROMS}/{folder}{name}"
        if not host.is_dir(path):
            # A link that leads nowhere is no file.
            if host.exists(path):
                yield folder + name
        elif depth:
            try:
                inner = host.names(path)
            except OSError:
                continue
            yield from _below(host, f"{folder}{name}/", inner, depth - 1)


def lacks_for_gl(host: Host) -> tuple[str, ...] | Unread:
    """What the display type virtio-gl lacks: packages that are not installed, and "render node" where no graphics card has one.

    Source: qemu-server, PVE/QemuServer.pm, print_vga_device.
    """
    packages = [name for name, library in _LIBRARIES.items() if not any(host.exists(f"{place}/{library}") for place in _LIBRARY_PATHS)]
    try:
        nodes = host.names(_RENDER_NODES)
    except FileNotFoundError:
        nodes = []
    except OSError as error:
        return unread(_RENDER_NODES, error)
    return (*packages, *(() if any(name.startswith("renderD") for name in nodes) else ("render node",)))
