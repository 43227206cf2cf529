"""What pmxcfs reports of itself and of the cluster's guests: .version, .vmlist and .members under /etc/pve.

Each file is opened anew for each look and closed at once: an open descriptor would never see new contents, and would
keep pmxcfs from being restarted.
"""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Iterator, Mapping

from pvehooks.errors import PmxcfsAway
from pvehooks.host import CommandTrouble, Host
from pvehooks.values.base import NamedTuple

PVE = "/etc/pve"
_LIMIT = 8 << 20
# As pmxcfs writes a guest (pve-cluster, status.c, cfs_create_vmlist_msg).
_LISTED = re.compile(rb'"([1-9]\d{0,8})": \{ "node": "([A-Za-z0-9-]+)", "type": "([a-z]+)", "version": (\d{1,18}) \}')


class Version(NamedTuple):
    """.version: `start` changes with every start of pmxcfs, `guests` with every change of a guest's config."""

    start: int
    guests: int
    cluster: int


class ListedGuest(NamedTuple):
    """A guest in .vmlist: its node and the counter that moves with every change of its config."""

    node: str
    version: int


def _read(host: Host, name: str) -> bytes:
    try:
        return host.read_made(f"{PVE}/{name}", limit=_LIMIT)
    except OSError as error:
        raise PmxcfsAway(f"{PVE}/{name}: {error.strerror}") from error


def _json(host: Host, name: str) -> Mapping[str, object]:
    return _object(_read(host, name), name)


def _object(raw: bytes, name: str) -> Mapping[str, object]:
    try:
        content = json.loads(raw)
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
    return {vmid: ListedGuest(node, version) for vmid, node, version in listed_in(vmlist(host))}


def vmlist(host: Host) -> bytes:
    """.vmlist as it is, 60 bytes a guest; raises PmxcfsAway."""
    return _read(host, ".vmlist")


def lines_of(raw: bytes, node: str) -> tuple[bytes, ...]:
    """The lines of .vmlist about guests of a node, none where they are not as pmxcfs writes them, a line a guest.

    This takes a tenth of the time of listed_in(): with it a node of a large cluster sees whether guests of its own have changed.
    """
    if not _is_whole(raw):
        return ()
    mark = f'"node": "{node}",'.encode()
    lines = [line for line in raw.split(b"\n") if mark in line]
    return tuple(lines) if all(b'"version": ' in line for line in lines) else ()


def _is_whole(raw: bytes) -> bool:
    """Whether the list has its end: that of a guest, of all guests and of the object."""
    return b"".join(raw[-32:].split()).endswith(b"}}}")


def listed_in(raw: bytes) -> Iterator[tuple[int, str, int]]:
    """All VMs that .vmlist lists: VMID, node and counter; raises PmxcfsAway."""
    # With tens of thousands of guests JSON takes four times as long.
    if _is_whole(raw) and raw.count(b'"node":') == len(_LISTED.findall(raw)):
        for match in _LISTED.finditer(raw):
            if match[3] == b"qemu":
                yield int(match[1]), sys.intern(match[2].decode()), int(match[4])
        return
    ids = _object(raw, ".vmlist").get("ids")
    for vmid, entry in ids.items() if isinstance(ids, dict) else ():
        if vmid.isdecimal() and len(vmid) < 10 and isinstance(entry, dict) and entry.get("type") == "qemu":
            yield int(vmid), str(entry.get("node", "")), _number(entry, "version")


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


def is_dead(host: Host) -> bool:
    """Whether /etc/pve is the mount of a pmxcfs that has ended; of one that hangs this must not be asked.

    The kernel answers stat(2) for a second more, with what it remembers; a list of names it has to ask for.
    """
    try:
        host.names(PVE)
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


def hanging(host: Host) -> tuple[str, str]:
    """Why a pmxcfs hangs that does not answer, as far as its process shows that, and what to type."""
    found = _process(host)
    if found is None:
        return "/etc/pve does not answer, and no process of pmxcfs is there", f"Start it again: {RESTART}"
    pid, state = found
    if state in _STOPPED:
        return f"its process {pid} is stopped (by SIGSTOP or a debugger)", f"Let it go on: kill -CONT {pid}"
    waits = ", in the kernel: a disk or a file system below /var/lib/pve-cluster may be why" if state == "D" else ""
    return f"its process {pid} is there, but does not answer{waits}", f"See: journalctl -u pve-cluster -n 50; restart it: {RESTART}"


RESTART = "systemctl restart pve-cluster"


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
