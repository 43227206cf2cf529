"""The tasks of this node and their logs: /var/log/pve/tasks.

`index` and `index.1` have a line for each task that has ended, `active` has the running ones and the last 25 that have ended (pve-common,
PVE/RESTEnvironment.pm, active_workers; PVE/INotify.pm, read_active_workers); X/UPID is the log, X the last digit of the start time
(PVE/UPID.pm). What stands in a log was written by programs that a tenant feeds: it is bounded here, and made printable where it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import content_of
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import Unread
from pvehooks.values.tasks import FailedStart, LogLine, Task

DIRECTORY = "/var/log/pve/tasks"
INDEX = f"{DIRECTORY}/index"
STARTS = ("qmstart", "qmresume")

# PVE renames `index` when it has 50,000 bytes.
_INDEX_LIMIT = 1 << 20
_LOG_LIMIT = 1 << 18
_LONGEST = 2000
_UPID = (
    r"UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:([0-9A-Fa-f]{8}):([^:\s/]+):([^:\s/]*):([^:\s/]+):"
)
_ENDED = re.compile(rf"^({_UPID}) (?:1 )?([0-9A-Fa-f]{{8}}) (.+)$", re.ASCII)
_WHOLE_UPID = re.compile(_UPID, re.ASCII)
# The kernel may log why before PVE's task begins to wait, and just after it has ended.
_BEFORE, _AFTER = 2, 3
_JOURNAL_SECONDS = 20.0
_MOST_KERNEL_LINES = 2000


def ended(host: Host) -> tuple[Task, ...] | Unread:
    """The tasks that have ended, the latest last; a line that is cut short is left out."""
    found: dict[str, Task] = {}
    trouble: Unread | None = None
    for name in ("index.1", "index", "active"):
        raw = content_of(host, f"{DIRECTORY}/{name}", _INDEX_LIMIT)
        if isinstance(raw, Unread):
            # PVE makes each of them when it first needs it.
            trouble = raw if host.exists(f"{DIRECTORY}/{name}") else trouble
            continue
        for line in raw.decode(errors="replace").split("\n"):
            task = _task(line)
            if task is not None:
                found[task.upid] = task
    if not found and trouble is not None:
        return trouble
    return tuple(sorted(found.values(), key=lambda task: (task.ended, task.started)))


def _task(line: str) -> Task | None:
    match = _ENDED.match(line)
    if match is None:
        return None
    upid, node, started, kind, name, user, end, status = match.groups()
    return Task(upid, node, kind, name, user, int(started, 16), int(end, 16), status[:_LONGEST])


def is_upid(text: str) -> bool:
    """Whether it is the id of a task."""
    return _WHOLE_UPID.fullmatch(text) is not None


def last_start(tasks: tuple[Task, ...], vmid: int = 0) -> Task | None:
    """The last start of the VM, of any VM without one, that ended by itself; None where there is none."""
    starts = (task for task in reversed(tasks) if task.type in STARTS and task.id.isdecimal() and not task.interrupted)
    return next((task for task in starts if not vmid or int(task.id) == vmid), None)


def failed_start(host: Host, task: Task) -> FailedStart:
    """What was logged about a start that failed."""
    lines: list[LogLine] = []
    unread = []
    for source, reader in (("task", _task_log), ("kernel", _kernel_log)):
        found = reader(host, task)
        if isinstance(found, Unread):
            unread.append(found.why)
        else:
            lines += [LogLine(source, number, text[:_LONGEST]) for number, text in enumerate(found, 1) if text.strip()]
    return FailedStart(task, int(task.id) if task.id.isdecimal() else 0, tuple(lines), tuple(unread))


def _task_log(host: Host, task: Task) -> list[str] | Unread:
    """The log's lines; of a long one the first and the last, where the cause and the end are."""
    path = f"{DIRECTORY}/{task.upid.split(':')[4][-1].upper()}/{task.upid}"
    raw = content_of(host, path, _LOG_LIMIT)
    if isinstance(raw, Unread):
        return raw
    return raw.decode(errors="surrogateescape").split("\n")


def _kernel_log(host: Host, task: Task) -> list[str] | Unread:
    """What the kernel logged meanwhile. A tree has no journal that can be asked."""
    if not host.can_run:
        return Unread("the kernel's log is not part of what is looked at")
    window = (f"--since=@{task.started - _BEFORE}", f"--until=@{task.ended + _AFTER}")
    asked = ["journalctl", "--dmesg", "--quiet", "--output=cat", "--no-pager", f"--lines={_MOST_KERNEL_LINES}", *window]
    try:
        done = host.run(asked, timeout=_JOURNAL_SECONDS)
    except CommandTrouble as error:
        return Unread(f"the kernel's log: {error}")
    if done.status:
        return Unread(f"the kernel's log: {done.stderr.strip() or f'journalctl ended with {done.status}'}")
    return done.stdout.split("\n")


def starts_that_failed(tasks: tuple[Task, ...]) -> Iterator[Task]:
    """The last start of each VM where that failed, the latest first."""
    seen: set[str] = set()
    for task in reversed(tasks):
        if task.type in STARTS and not task.interrupted and task.id not in seen:
            seen.add(task.id)
            if task.failed:
                yield task
