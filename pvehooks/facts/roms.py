"""The files that `romfile` of a hostpciN may name: /usr/share/kvm/FILE (qemu-server, PVE/QemuServer/PCI.pm, print_hostpci_devices)."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread

DIRECTORY = "/usr/share/kvm"
_DEEPEST = 3


def read(host: Host) -> frozenset[str] | Unread:
    """Their names, those in subdirectories as FOLDER/NAME; Unread where the directory cannot be listed."""
    try:
        return frozenset(_below(host, "", host.names(DIRECTORY), _DEEPEST))
    except OSError as error:
        return unread(DIRECTORY, error)


def _below(host: Host, folder: str, names: list[str], depth: int) -> Iterator[str]:
    for name in names:
        path = f"{DIRECTORY}/{folder}{name}"
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
