"""Noticing changes: pyinotify and pmxcfs' counters -> "these guests may have changed".

Watched are the node's own config directory (changes made here), Proxmox VE's index of tasks, and the directory of pmxcfs' database, which is written for
every change in the cluster, also for those of other nodes, of which /etc/pve itself gives no event. Then .version is read, and .vmlist
when its counter moved.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType

import pyinotify

from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.cluster import pmxcfs
from pvehooks.facts.node import tasks
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

DATABASE = "/var/lib/pve-cluster"
MAPPINGS = "/etc/pve/mapping"
TASKS = tasks.DIRECTORY
_FILES = pyinotify.IN_MOVED_TO | pyinotify.IN_MOVED_FROM | pyinotify.IN_CLOSE_WRITE | pyinotify.IN_DELETE
_SELF = pyinotify.IN_DELETE_SELF | pyinotify.IN_MOVE_SELF | pyinotify.IN_ONLYDIR
_DATABASE_FILES = pyinotify.IN_MODIFY | pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO
_LOST = pyinotify.IN_UNMOUNT | pyinotify.IN_IGNORED | pyinotify.IN_DELETE_SELF | pyinotify.IN_MOVE_SELF


class InotifyChanges(NamedTuple):
    """What inotify reported: VMIDs written here; whether database, mappings or index of tasks changed; whether events or watches were lost."""

    guests: frozenset[int] = frozenset()
    database_changed: bool = False
    mappings: bool = False
    tasks: bool = False
    overflow: bool = False
    lost: bool = False


class Watches(pyinotify.ProcessEvent):  # type: ignore[misc]
    """One inotify instance with its watches; watches that are made anew get a new one, so that nothing stale is left."""

    def __init__(self, host: Host, node: str) -> None:
        super().__init__()
        _quiet_pyinotify()
        self._host = host
        self._names: dict[str, set[str]] = {}
        self._overflow = self._lost = False
        self._manager = pyinotify.WatchManager()
        self._notifier = pyinotify.Notifier(self._manager, self, timeout=0)
        self._directory = node_facts.guest_dir(node)
        self._next: str | None = None
        self.troubles: list[str] = []
        self._roles: dict[int, str] = {}
        self._muted = False
        self._watch_guests()
        self._watch("database", DATABASE, _DATABASE_FILES)
        self._watch("mappings", MAPPINGS, _FILES | _SELF)
        self._watch("tasks", TASKS, _FILES)

    @property
    def watches_guests(self) -> bool:
        """Whether the node's config directory is watched."""
        return "guests" in self._roles.values()

    @property
    def watches_database(self) -> bool:
        """Whether the directory of pmxcfs' database is watched."""
        return self._muted or "database" in self._roles.values()

    def fileno(self) -> int:
        """The inotify descriptor, to be polled for reading."""
        return int(self._manager.get_fd())

    def close(self) -> None:
        """Gives back the inotify instance."""
        self._notifier.stop()

    def _watch(self, role: str, path: str, mask: int) -> bool:
        try:
            real = self._host.locate(path)
            if not os.path.isdir(real):
                return False
            added = self._manager.add_watch(real, mask, quiet=False)
        except (OSError, pyinotify.WatchManagerError) as error:
            self.troubles.append(f"{path}: {error}")
            return False
        self._roles.update(dict.fromkeys(added.values(), role))
        return True

    def mute_database(self) -> None:
        """The database's changes are not reported until unmute_database(): in a large cluster there are many, and one is enough."""
        for wd in [wd for wd, role in self._roles.items() if role == "database"]:
            self._manager.rm_watch(wd)
            del self._roles[wd]
            self._muted = True

    def unmute_database(self) -> None:
        """They are reported again; what has changed until now is to be read after this."""
        if self._muted:
            self._muted = not self._watch("database", DATABASE, _DATABASE_FILES)

    def _watch_guests(self) -> None:
        """The node's directory; while it does not exist, its nearest parent that does, for the name that is missing."""
        if self._watch("guests", self._directory, _FILES | _SELF):
            return
        path = self._directory
        while path not in ("", "/"):
            path, _, missing = path.rpartition("/")
            if self._host.is_dir(path or "/"):
                self._next = missing
                self._watch("parent", path or "/", pyinotify.IN_CREATE | pyinotify.IN_MOVED_TO | _SELF)
                return

    def process_IN_Q_OVERFLOW(self, event: pyinotify.Event) -> None:  # noqa: N802 - pyinotify's name
        """Notes that events were lost; such an event has neither wd nor name, and never comes to process_default."""
        self._overflow = True

    def process_default(self, event: pyinotify.Event) -> None:
        """Notes the event; called by pyinotify."""
        role = self._roles.get(event.wd, "")
        if event.mask & _LOST:
            self._lost = self._lost or role != ""
            return
        self._names.setdefault(role, set()).add(event.name)

    def read(self) -> InotifyChanges:
        """Reads all events that there are."""
        while self._notifier.check_events(timeout=0):
            self._notifier.read_events()
            self._notifier.process_events()
        names, self._names = self._names, {}
        overflow, self._overflow = self._overflow, False
        vmids = (node_facts.vmid_of(name) for name in names.get("guests", ()))
        return InotifyChanges(
            guests=frozenset(vmid for vmid in vmids if vmid is not None),
            database_changed=any(name.startswith("config.db") for name in names.get("database", ())),
            mappings="mappings" in names,
            tasks="index" in names.get("tasks", ()),
            overflow=overflow,
            lost=self._lost or self._next in names.get("parent", ()),
        )


def _quiet_pyinotify() -> None:
    """pyinotify's logger has a handler of its own on standard error."""
    logger = logging.getLogger("pyinotify")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False


class CounterChanges(NamedTuple):
    """What the counters say since the last poll."""

    # Guests of this node whose config may have changed, by VMID.
    touched: frozenset[int] = frozenset()
    # Guests that are not on this node any more, by VMID.
    gone: frozenset[int] = frozenset()
    # Whether pmxcfs was restarted, so that all may have changed.
    restarted: bool = False
    # Whether membership or quorum may have changed.
    cluster: bool = False
    # The guests that were on another node at the last poll: that node, by VMID.
    came: Mapping[int, str] = MappingProxyType({})


class PmxcfsCounters:
    """pmxcfs' counters as last seen; in a tree without them, the files' own marks."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self._node = node
        self._version: pmxcfs.Version | None = None
        self._marks: dict[int, object] = {}
        # .vmlist as last read, and its lines about guests of this node.
        self._listed = b""
        self._own: tuple[bytes, ...] = ()
        self._elsewhere: dict[int, str] | None = {}

    def guests(self) -> frozenset[int]:
        """The VMIDs of this node as last seen."""
        return frozenset(self._marks)

    def count(self) -> int:
        """How many there are."""
        return len(self._marks)

    @property
    def elsewhere(self) -> Mapping[int, str]:
        """The nodes of all other guests by VMID, as last seen; another mapping after each change. Raises PmxcfsAway."""
        if self._elsewhere is None:
            self._elsewhere = {vmid: node for vmid, node, _ in pmxcfs.listed_in(self._listed) if node != self._node}
        return self._elsewhere

    def poll(self) -> CounterChanges:
        """Compares with the last poll, for *different*, never for *greater*; raises PmxcfsAway."""
        before = self._version
        if not self._host.is_node and not self._host.exists(f"{pmxcfs.PVE}/.version"):
            return self._compare(self._files(), CounterChanges())
        now = pmxcfs.version(self._host)
        seen = CounterChanges(
            restarted=before is not None and now.start != before.start, cluster=before is None or now.cluster != before.cluster
        )
        if before is not None and not seen.restarted and now.guests == before.guests:
            self._version = now
            return seen
        raw = pmxcfs.vmlist(self._host)
        own = pmxcfs.lines_of(raw, self._node)
        if own and own == self._own and not seen.restarted:
            # Only guests of other nodes have changed: in a large cluster that is nearly always so.
            self._version, self._listed, self._elsewhere = now, raw, None
            return seen
        marks = {vmid: version for vmid, node, version in pmxcfs.listed_in(raw) if node == self._node}
        if before is not None and (new := marks.keys() - self._marks.keys()):
            elsewhere = self.elsewhere
            seen = seen._replace(came={vmid: elsewhere[vmid] for vmid in new & elsewhere.keys()})
        self._version, self._listed, self._own, self._elsewhere = now, raw, own, None
        return self._compare(marks, seen)

    def _compare(self, marks: dict[int, object] | dict[int, int], seen: CounterChanges) -> CounterChanges:
        before, self._marks = self._marks, dict(marks)
        if seen.restarted:
            return seen._replace(touched=frozenset(marks), gone=frozenset(before.keys() - marks.keys()))
        touched = frozenset(vmid for vmid, mark in marks.items() if before.get(vmid) != mark)
        return seen._replace(touched=touched, gone=frozenset(before.keys() - marks.keys()))

    def _files(self) -> dict[int, object]:
        marks: dict[int, object] = {}
        try:
            vmids = node_facts.guest_ids(self._host, self._node)
        except FileNotFoundError:
            return marks
        except OSError as error:
            raise PmxcfsAway(f"{node_facts.guest_dir(self._node)}: {error.strerror}") from error
        for vmid in vmids:
            try:
                state = os.stat(self._host.locate(node_facts.config_path(self._node, vmid)))
            except OSError as error:
                marks[vmid] = error.errno
            else:
                marks[vmid] = (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)
        return marks
