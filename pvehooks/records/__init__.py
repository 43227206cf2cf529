"""What we remember, in pmxcfs itself so that all nodes have it: of each guest, and which guests were there first.

Our files below /etc/pve are written only when they change, and never into an /etc/pve that pmxcfs does not serve.
"""

from __future__ import annotations

import errno
import json
import os

from pvehooks.errors import PmxcfsAway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pvehooks.host import Host

PVE = "/etc/pve"
# A time that every calendar function accepts (the year 6325).
MAX_NUMBER = 1 << 37

# The errors of a stopped, killed or starting pmxcfs.
_AWAY = frozenset({errno.ENOENT, errno.ENOTCONN, errno.ECONNABORTED, errno.EIO})


def read(host: Host, path: str, limit: int) -> bytes | None:
    """The file's bytes (at most limit + 1), None if it does not exist. Raises PmxcfsAway."""
    try:
        return host.read(path, limit=limit)
    except FileNotFoundError as error:
        _must_be_mounted(host, error)
        return None
    except OSError as error:
        raise _away(path, error) from error


def names(host: Host, directory: str) -> list[str]:
    """The sorted names in the directory, none if it does not exist. Raises PmxcfsAway."""
    try:
        return host.names(directory)
    except FileNotFoundError as error:
        _must_be_mounted(host, error)
        return []
    except OSError as error:
        raise _away(directory, error) from error


def write(host: Host, path: str, content: bytes, limit: int) -> bool:
    """Replaces the file if its content differs; returns whether it did. Raises PmxcfsAway."""
    if read(host, path, limit) == content:
        return False
    try:
        try:
            host.replace(path, content)
        except FileNotFoundError as error:
            _must_be_mounted(host, error)
            host.make_dir(os.path.dirname(path))
            host.replace(path, content)
    except OSError as error:
        raise _away(path, error, writing=True) from error
    return True


def remove(host: Host, path: str) -> None:
    """Removes the file if it exists. Raises PmxcfsAway."""
    try:
        host.remove(path)
    except OSError as error:
        raise _away(path, error, writing=True) from error


def remove_unfinished(host: Host, directory: str, is_ours: Callable[[str], bool]) -> None:
    """Removes what writes left in the directory whose process was killed on this node: NAME.tmp.PID, where NAME `is_ours`. Raises PmxcfsAway."""
    for name in names(host, directory):
        target, _, pid = name.rpartition(".tmp.")
        if target and pid.isdecimal() and is_ours(target) and not host.exists(f"/proc/{pid}"):
            remove(host, f"{directory}/{name}")


def load_object(content: bytes) -> dict[str, object] | None:
    """These bytes as a JSON object, None if they are not one."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _must_be_mounted(host: Host, error: OSError) -> None:
    """Raises PmxcfsAway if pmxcfs is not mounted: it leaves an empty /etc/pve, and a file there would prevent the next mount."""
    if not host.is_dir(f"{PVE}/nodes"):
        raise _away(PVE, error) from error


def _away(path: str, error: OSError, writing: bool = False) -> PmxcfsAway:
    words = error.strerror or str(error)
    if error.errno in _AWAY:
        return PmxcfsAway(f"{path}: pmxcfs is not running ({words})", hint="systemctl status pve-cluster")
    if writing and error.errno == errno.EACCES:
        return PmxcfsAway(f"{path}: no quorum, or not root ({words})", hint="pvecm status")
    return PmxcfsAway(f"{path}: cannot be {'written' if writing else 'read'} ({words})")
