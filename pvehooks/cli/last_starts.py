"""The VMs of this node whose last start failed, a line each: for what is asked about other things."""

from __future__ import annotations

import time
from collections.abc import Collection

from pvehooks import wording
from pvehooks.causes import registry
from pvehooks.cli.view import View
from pvehooks.errors import PvehooksError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.node import tasks as task_facts
from pvehooks.values import Unread
from pvehooks.values.base import NamedTuple
from pvehooks.values.guests import guest_label
from pvehooks.values.tasks import Task

_MOST = 5


class LastStart(NamedTuple):
    """A VM's last start, which failed. `sentence` is the cause, from the task's log alone."""

    vmid: int
    label: str
    task: Task
    cause: str
    sentence: str

    @property
    def line(self) -> str:
        """All of it for people."""
        return f"{self.label}: its last start failed on {when(self.task.ended)}: {self.sentence}. More: pvehooks why {self.vmid}"

    def as_json(self) -> dict[str, object]:
        """All of it for programs."""
        return {"vmid": self.vmid, "upid": self.task.upid, "ended": self.task.ended, "cause": self.cause or None}


def when(seconds: int) -> str:
    """A time of a task, as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def label_of(seen: View, vmid: int) -> str:
    """The VM as it is called in messages; without its name where it has none, or is not here any more."""
    try:
        return seen.guest(vmid).label
    except PvehooksError:
        return guest_label(vmid)


def lines(seen: View, vmids: Collection[int] = ()) -> list[str]:
    """A line for each, the latest first; of many the first ones, and how many more there are."""
    found = failed(seen, vmids)
    shown = [each.line for each in found[:_MOST]]
    if len(found) > _MOST:
        shown.append(f"{wording.counted(len(found) - _MOST, 'VM')} more whose last start failed: pvehooks why")
    return shown


def failed(seen: View, vmids: Collection[int] = ()) -> list[LastStart]:
    """Those of the VMs that are here, of all without a choice; none where the tasks cannot be read, or the node is another."""
    if node_facts.is_another(seen.host, seen.node):
        return []
    tasks = task_facts.ended(seen.host)
    if isinstance(tasks, Unread):
        return []
    wanted = set(vmids or node_facts.guest_ids_or_none(seen.host, seen.node))
    found = []
    for task in task_facts.starts_that_failed(tasks):
        vmid = int(task.id)
        if vmid in wanted:
            causes = registry.diagnose(task_facts.failed_start(seen.host, task, with_kernel=False))
            cause = causes[0].cause.id if causes else ""
            found.append(LastStart(vmid, label_of(seen, vmid), task, cause, registry.sentence(causes, task)))
    return found
