"""Files of guests' shared memory, /dev/shm/pve-shm-NAME (qemu-server, PVE/QemuServer.pm, config_to_command)."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread

DIRECTORY = "/dev/shm"  # noqa: S108  PVE's place
_PREFIX = "pve-shm-"


def read(host: Host) -> Mapping[str, int] | Unread:
    """How many bytes the files have, by the name that `ivshmem` gives them; one that goes meanwhile is left out."""
    try:
        names = host.names(DIRECTORY)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return unread(DIRECTORY, error)
    found = {}
    for name in names:
        if name.startswith(_PREFIX):
            try:
                found[name.removeprefix(_PREFIX)] = host.size(f"{DIRECTORY}/{name}")
            except OSError:
                continue
    return found
