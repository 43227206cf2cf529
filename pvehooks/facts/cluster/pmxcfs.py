"""What pmxcfs reports of itself and of the cluster's guests: .version, .vmlist and .members under /etc/pve.

Each file is opened anew for each look and closed at once: an open descriptor would never see new contents, and would
keep pmxcfs from being restarted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pvehooks.errors import PmxcfsAway
from pvehooks.host import CommandTrouble, Host
from pvehooks.values.base import NamedTuple

PVE = "/etc/pve"


class Version(NamedTuple):
    """.version: `start` changes with every start of pmxcfs, `guests` with every change of a guest's config."""

    start: int
    guests: int
    cluster: int


class ListedGuest(NamedTuple):
    """A guest in .vmlist: its node and the counter that moves with every change of its config."""

    node: str
    version: int


def _json(host: Host, name: str) -> Mapping[str, object]:
    try:
        content = json.loads(host.read_made(f"{PVE}/{name}", limit=8 << 20))
    except OSError as error:
        raise PmxcfsAway(f"{PVE}/{name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PmxcfsAway(f"{PVE}/{name} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise PmxcfsAway(f"{PVE}/{name} is not what pmxcfs writes")
    return content


def _number(content: Mapping[str, object], key: str) -> int:
    value = content.get(key)
    return value if isinstance(value, int) else 0


def version(host: Host) -> Version:
    """The counters of .version; raises PmxcfsAway."""
    content = _json(host, ".version")
    return Version(_number(content, "starttime"), _number(content, "vmlist"), _number(content, "clinfo"))


def guests(host: Host) -> dict[int, ListedGuest]:
    """All VMs of the cluster by .vmlist (no containers); raises PmxcfsAway."""
    ids = _json(host, ".vmlist").get("ids")
    found = {}
    for vmid, entry in ids.items() if isinstance(ids, dict) else ():
        if vmid.isdecimal() and len(vmid) < 10 and isinstance(entry, dict) and entry.get("type") == "qemu":
            found[int(vmid)] = ListedGuest(str(entry.get("node", "")), _number(entry, "version"))
    return found


def member_names(host: Host) -> list[str]:
    """The names of the cluster's nodes by .members, none for a node alone, nor in a tree without it; raises PmxcfsAway."""
    if not host.is_node and not host.exists(f"{PVE}/.members"):
        return []
    nodes = _json(host, ".members").get("nodelist")
    return list(nodes) if isinstance(nodes, dict) else []


def online(host: Host) -> dict[str, bool]:
    """Whether pmxcfs sees them, by node; none for a node alone, nor in a tree without .members. Raises PmxcfsAway."""
    if not host.is_node and not host.exists(f"{PVE}/.members"):
        return {}
    nodes = _json(host, ".members").get("nodelist")
    listed = nodes.items() if isinstance(nodes, dict) else ()
    return {name: bool(entry.get("online")) for name, entry in listed if isinstance(entry, dict)}


def quorate(host: Host) -> bool:
    """Whether writes are possible: a single node always is; raises PmxcfsAway."""
    cluster = _json(host, ".members").get("cluster")
    return not isinstance(cluster, dict) or bool(cluster.get("quorate"))


# -- where it does not answer -----------------------------------------------------------------------------------------

# States of a process that a signal or a debugger has stopped (proc_pid_stat(5)).
_STOPPED = ("T", "t")


def answers(host: Host, seconds: float) -> bool:
    """Whether pmxcfs answers within so many seconds, be it with an error. A process of its own asks, and nothing has to wait for that."""
    try:
        host.spawn(["cat", f"{PVE}/.version"], timeout=seconds)
    except CommandTrouble:
        return False
    return True


def hanging(host: Host) -> tuple[str, str]:
    """Why a pmxcfs hangs that does not answer, as far as its process shows that, and what to type."""
    found = _process(host)
    if found is None:
        return "/etc/pve does not answer, and no process of pmxcfs is there", f"Start it again: {_RESTART}"
    pid, state = found
    if state in _STOPPED:
        return f"its process {pid} is stopped (by SIGSTOP or a debugger)", f"Let it go on: kill -CONT {pid}"
    waits = ", in the kernel: a disk or a file system below /var/lib/pve-cluster may be why" if state == "D" else ""
    return f"its process {pid} is there, but does not answer{waits}", f"See: journalctl -u pve-cluster -n 50; restart it: {_RESTART}"


_RESTART = "systemctl restart pve-cluster"


def _process(host: Host) -> tuple[int, str] | None:
    """The process of pmxcfs: its number, and its state as in /proc/PID/stat."""
    for name in host.names("/proc"):
        if not name.isdecimal():
            continue
        try:
            if host.read_text(f"/proc/{name}/comm") == "pmxcfs":
                return int(name), host.read_text(f"/proc/{name}/stat").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
    return None
