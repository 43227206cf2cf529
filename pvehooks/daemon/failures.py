"""Starts of this node's guests that failed: noticed in Proxmox VE's index of tasks, reported once with the cause, and closed by a start that works.

The daemon's sandbox has no kernel log: the task's own log decides.
"""

from __future__ import annotations

import json

from pvehooks.causes import registry
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs
from pvehooks.facts.node import tasks as task_facts
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.values import Unread
from pvehooks.values.guests import guest_label
from pvehooks.values.tasks import Task
from pvehooks.wording import printable

PATH = "/run/pvehooks/failed-starts.json"
_LIMIT = 1 << 20
# What a look reports at most: an index that was filled by something else is no reason to fill the journal.
_MOST = 100


class FailedStartReporter:
    """What was seen of the index, and for which guests a failure was reported that no start has closed."""

    def __init__(self, host: Host, node: str, log: Log) -> None:
        self._host = host
        self._node = node
        self._log = log
        self._seen: frozenset[str] | None = None
        self._mark: tuple[float, int] | None = None
        self._open = self._load()

    def report_ended_starts(self) -> None:
        """Reports the starts that ended since the last look; the first look reports nothing: what ended before it is not news."""
        try:
            self._look()
        except Exception as bug:  # noqa: BLE001 - a bug in our view of the tasks must not end the care for the guests; it is reported
            self._log.bug(bug, "bug while looking at the tasks")

    def _look(self) -> None:
        mark = self._index()
        if self._seen is not None and mark == self._mark:
            return
        self._mark = mark
        ended = task_facts.ended(self._host)
        if isinstance(ended, Unread):
            return
        starts = [task for task in ended if task_facts.is_start(task)]
        before, self._seen = self._seen, frozenset(task.upid for task in starts)
        if before is None:
            return
        known = dict(self._open)
        for task in [task for task in starts if task.upid not in before][-_MOST:]:
            self._report(task)
        if known != self._open:
            self._forget_others()
            self._store()

    def _forget_others(self) -> None:
        """A guest that is not here any more has no start that could work again."""
        try:
            here = frozenset(node_facts.guest_ids(self._host, self._node))
        except OSError:
            return
        self._open = {vmid: upid for vmid, upid in self._open.items() if vmid in here}

    def _report(self, task: Task) -> None:
        vmid = int(task.id)
        if task.interrupted:
            return
        if task.failed:
            self._open[vmid] = task.upid
            found = registry.diagnose(task_facts.failed_start(self._host, task, with_kernel=False))
            cause = found[0].cause.id if found else ""
            message = f"{self._label(vmid)}: its start failed: {registry.sentence(found, task)}. See: pvehooks why {vmid}"
            self._log.event("start-failed", printable(message), vmid=vmid, cause=cause, upid=printable(task.upid))
        elif self._open.pop(vmid, None):
            self._log.event("start-works-again", f"{self._label(vmid)}: it was started", vmid=vmid, upid=printable(task.upid))

    def _index(self) -> tuple[float, int] | None:
        """What is another where PVE has written the index."""
        try:
            return self._host.modified(task_facts.INDEX), self._host.size(task_facts.INDEX)
        except OSError:
            return None

    def _label(self, vmid: int) -> str:
        raw = configs.read_raw_or_error(self._host, self._node, vmid)
        name = "" if isinstance(raw, OSError) else str(guestconfig.parse(raw).main.get("name", ""))
        return guest_label(vmid, name)

    def _load(self) -> dict[int, str]:
        try:
            stored = json.loads(self._host.read(PATH, limit=_LIMIT))
            return {int(vmid): str(upid) for vmid, upid in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
            return {}

    def _store(self) -> None:
        try:
            self._host.make_dir(PATH.rpartition("/")[0])
            self._host.replace(PATH, json.dumps(self._open).encode(), mode=0o600)
        except OSError:
            # Without it a start that works after a restart of the daemon is not reported.
            return
