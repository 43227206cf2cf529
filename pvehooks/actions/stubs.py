"""The guard's hookscripts in the snippets directories: written from their names alone, updated, and kept while a config names them."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import partial

import pvehooks
from pvehooks.errors import NodeError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.cluster import pmxcfs
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.storage import storages
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import NamedTuple
from pvehooks.values.stubs import NAME, is_stub, name_for

LIBEXEC = "/usr/libexec/pvehooks"
LOCK = "/run/pvehooks/locks/stubs.lock"
MODE = 0o755
_LOCAL = "/var/lib/vz/snippets"
_LOCK_WAIT = 5.0
_LINE = re.compile(rb"^hookscript:[ \t]*(\S.*?)[ \t\r]*$", re.MULTILINE)


class Kept(NamedTuple):
    """The result of one check: the stubs that were written, what failed, and the guests (VMID, node) that name each hookscript."""

    made: tuple[str, ...]
    troubles: tuple[str, ...]
    named: Mapping[str, tuple[tuple[int, str], ...]]


def text() -> bytes:
    """The content of every stub, from the package or from this checkout. Raises NodeError."""
    here = Host()
    checkout = os.path.dirname(os.path.dirname(pvehooks.__file__))
    for path in (f"{checkout}/libexec/stub", f"{LIBEXEC}/stub"):
        try:
            return here.read(path)
        except OSError:
            continue
    raise NodeError(f"{LIBEXEC}/stub does not exist", hint="Reinstall the package: apt install --reinstall pvehooks")


def volid_for(host: Host, node: str, former: str) -> str:
    """The stub for a guest with this former hookscript ('' for none): on `local`, or the first usable storage.

    Raises stubs.UnfitName, NodeError.
    """
    name = name_for(former)
    usable = storages.local_snippets(host, node)
    if not usable:
        raise NodeError(
            "no storage of this node is safe for the guard's hookscript: none is a local directory that only root can write to",
            hint=f"See the directory of 'local': ls -ld /var/lib/vz {_LOCAL}",
        )
    known = storages.StorageSections(host).read()
    sections = {} if isinstance(known, Unread) else known
    # With a storage that other nodes do not have, guests would not start there.
    everywhere = [storage for storage, _ in usable if storage == "local" or not sections[storage].options.get("nodes")]
    return f"{(everywhere or [usable[0][0]])[0]}:snippets/{name}"


def make(host: Host, node: str, volid: str) -> bool:
    """Writes the stub if it is missing or differs; returns whether it was written. Raises NodeError."""
    directory = dict(storages.local_snippets(host, node)).get(volid.partition(":")[0])
    if directory is None:
        known = storages.StorageSections(host).hookscript(volid)
        if not known.trouble:
            return False
        raise NodeError(f"{volid} cannot be written: the storage is not a local directory that only root can write to ({known.trouble})")
    return _write(host, directory, volid.rpartition("/")[2])


def _write(host: Host, directory: str, name: str) -> bool:
    path = f"{directory}/{name}"
    content = text()
    if _is_good(host, path, content):
        return False
    try:
        with host.lock(LOCK, _LOCK_WAIT):
            if _is_good(host, path, content):
                return False
            # PVE does not start a guest whose hookscript is missing, and pmxcfs keeps the config that names it over a power cut.
            host.make_dir(directory, durable=True)
            host.replace(path, content, mode=MODE, durable=True, keep_mode=False)
    except BlockingIOError as error:
        raise NodeError(f"{path} cannot be written: another process holds {LOCK}") from error
    except OSError as error:
        hint, why = "", error.strerror
        if error.errno == errno.EROFS:
            hint = f"Create the directory: mkdir -p {directory} && systemctl restart pvehooks"
            if host.is_dir(directory):
                hint = (
                    "Allow the daemon to write there: mkdir -p /etc/systemd/system/pvehooks.service.d &&"
                    f" printf '[Service]\\nReadWritePaths={directory}\\n' >/etc/systemd/system/pvehooks.service.d/snippets.conf &&"
                    " systemctl daemon-reload && systemctl restart pvehooks"
                )
            else:
                why = f"there is no {directory} yet"
            if directory != _LOCAL and not storages.roots_alone(host, _LOCAL):
                hint = f"To use the storage 'local', let only root write to it: chmod go-w /var/lib/vz {_LOCAL}. Otherwise: {hint}"
        raise NodeError(f"{path} cannot be written: {why}", hint=hint) from error
    return True


def _is_good(host: Host, path: str, content: bytes) -> bool:
    try:
        owner, mode = host.owner_and_mode(path)
        return stat.S_IMODE(mode) == MODE and (owner == 0 or not host.is_node) and host.read(path) == content
    except OSError:
        return False


class Keeper:
    """Keeps all stubs on this node that any config or snapshot in the cluster names; rereads only configs that changed.

    `read` gives the bytes of a config by node and VMID, or the error that there were instead; without it they are read from the host.
    """

    def __init__(self, host: Host, node: str, read: Callable[[str, int], bytes | OSError] | None = None) -> None:
        self._host = host
        self._node = node
        self._read = read or partial(guest_facts.read_raw_or_error, host)
        self._version: pmxcfs.Version | None = None
        # The counters of all guests of the cluster, by VMID; a migration moves one as well.
        self._counters: dict[int, int] = {}
        # Of those that name any: the node, and the hookscripts that config and snapshots name.
        self._named: dict[int, tuple[str, frozenset[str]]] = {}

    def update(self) -> Kept:
        """Writes missing and outdated stubs; raises PmxcfsAway."""
        self._read_configs()
        named: dict[str, list[tuple[int, str]]] = {}
        for vmid, (node, volids) in sorted(self._named.items()):
            for volid in volids:
                named.setdefault(volid, []).append((vmid, node))
        made, troubles = [], []
        for volid in self._wanted(named):
            try:
                if make(self._host, self._node, volid):
                    made.append(volid)
            except NodeError as error:
                troubles.append(f"{error.message}. {error.hint}".rstrip(" ."))
        return Kept(tuple(made), tuple(dict.fromkeys(troubles)), {volid: tuple(users) for volid, users in named.items()})

    def _wanted(self, named: Mapping[str, object]) -> list[str]:
        """The plain stub, all that are named, and all existing ones: a backup may name them."""
        wanted = {volid for volid in named if is_stub(volid)}
        usable = storages.local_snippets(self._host, self._node)
        # A machine without the storage's directory is not a Proxmox VE node: it needs no stub until a config names one.
        if usable and self._host.is_dir(os.path.dirname(usable[0][1])):
            wanted.add(f"{usable[0][0]}:snippets/{NAME}")
        for storage, directory in usable:
            try:
                names = self._host.names(directory)
            except OSError:
                continue
            wanted.update(volid for name in names if is_stub(volid := f"{storage}:snippets/{name}"))
        return sorted(wanted)

    def _read_configs(self) -> None:
        if not self._host.is_node and not self._host.exists(f"{pmxcfs.PVE}/.vmlist"):
            listed = {
                vmid: (node, 0) for node in node_facts.node_names(self._host) for vmid in node_facts.guest_ids_or_none(self._host, node)
            }
        else:
            version = pmxcfs.version(self._host)
            if version == self._version:
                return
            if self._version is not None and version.start != self._version.start:
                # A restarted pmxcfs starts its counters again.
                self._counters.clear()
            listed = {vmid: (node, version) for vmid, node, version in pmxcfs.listed_in(pmxcfs.vmlist(self._host))}
            self._version = version
        for vmid in (self._counters.keys() | self._named.keys()) - listed.keys():
            self._counters.pop(vmid, None)
            self._named.pop(vmid, None)
        for vmid, (node, counter) in listed.items():
            if counter and self._counters.get(vmid) == counter:
                continue
            raw = self._read(node, vmid)
            if isinstance(raw, OSError):
                # It is read at the next check; until then its last known hookscripts count.
                self._counters[vmid] = 0
                self._version = None
                continue
            self._counters[vmid] = counter
            if volids := hookscripts_in(raw):
                self._named[vmid] = node, volids
            else:
                self._named.pop(vmid, None)


def hookscripts_in(raw: bytes) -> frozenset[str]:
    """All hookscripts that a config names, in its live part or in any snapshot."""
    return frozenset(match[1].decode("utf-8", "surrogateescape") for match in _LINE.finditer(raw))
