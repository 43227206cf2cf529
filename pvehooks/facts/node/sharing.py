"""What guests share with the node and each other: directories (virtiofs) and memory (ivshmem).

Source: pve-guest-common, PVE/Mapping/Dir.pm; qemu-server, PVE/QemuServer.pm, config_to_command.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping

from pvehooks.facts.reading import optional_of, unread
from pvehooks.facts.storage import storages
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.sharing import DirectoryMapping

DIRECTORY_MAPPINGS = "/etc/pve/mapping/directory.cfg"
# What systemd's ProtectHome= and PrivateTmp= hide.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
# Where PVE looks for it (qemu-server, Virtiofs.pm).
VIRTIOFSD = "/usr/libexec/virtiofsd"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  PVE's place
_PREFIX = "pve-shm-"


def directories(host: Host, node: str) -> Mapping[str, DirectoryMapping] | Unread:
    """The mappings by name, those without an entry for this node among them; the file is optional."""
    mounts = storages.mounted(host)
    return _read(host, node, lambda path: _trouble(host, path, mounts))


def directories_elsewhere(host: Host, node: str) -> Mapping[str, DirectoryMapping] | Unread:
    """The same for another node: what is at the paths there is not known."""
    return _read(host, node, lambda _: Unread(f"it is a directory of {node}, ask there"))


def virtiofsd(host: Host) -> bool:
    """Whether virtiofsd is installed."""
    try:
        return stat.S_ISREG(host.owner_and_mode(VIRTIOFSD)[1])
    except OSError:
        return False


def _read(host: Host, node: str, look: Callable[[str], str | Unread]) -> Mapping[str, DirectoryMapping] | Unread:
    raw = optional_of(host, DIRECTORY_MAPPINGS)
    if isinstance(raw, Unread):
        return raw
    from pvehooks.facts.cluster import mappings
    from pvehooks.formats import sectionconfig

    found = {}
    for section in sectionconfig.parse_mapping(raw, "dir", mappings.declared(host, "dir")).sections:
        paths = tuple(each["path"] for each in section.maps if each.get("node") == node)
        nodes = frozenset(each["node"] for each in section.maps)
        found[section.name] = DirectoryMapping(section.name, paths, nodes, look(paths[0]) if paths else "")
    return found


def _trouble(host: Host, path: str, mounts: Mapping[str, str]) -> str | Unread:
    """What PVE would say against the path; a server that is away would hold us up, so network file systems are not asked."""
    try:
        if storages.local_path(host, path, mounts) is None:
            return ""
        _, mode = host.owner_and_mode(path)
    except (FileNotFoundError, NotADirectoryError):
        hidden = any(path == each or path.startswith(f"{each}/") for each in _HIDDEN) and not _sees_all(host)
        return Unread(f"the daemon is kept away from {path}") if hidden else "does not exist"
    except OSError as error:
        return unread(path, error)
    return "" if stat.S_ISDIR(mode) else "is not a directory"


def _sees_all(host: Host) -> bool:
    """Whether we see the file systems that PVE sees: the daemon has a mount namespace of its own (mount_namespaces(7))."""
    try:
        return not host.is_node or host.link_text("/proc/self/ns/mnt") == host.link_text("/proc/1/ns/mnt")
    except OSError:
        return False


# -- memory --------------------------------------------------------------------------------------------------------------


def memory_files(host: Host) -> Mapping[str, int] | Unread:
    """How many bytes the files /dev/shm/pve-shm-NAME have, by the name that `ivshmem` gives them; one that goes meanwhile is left out."""
    try:
        names = host.names(_SHARED_MEMORY)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return unread(_SHARED_MEMORY, error)
    found = {}
    for name in names:
        if name.startswith(_PREFIX):
            try:
                found[name.removeprefix(_PREFIX)] = host.size(f"{_SHARED_MEMORY}/{name}")
            except OSError:
                continue
    return found
