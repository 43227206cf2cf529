"""The tasks of this node and their logs: /var/log/pve/tasks.

`index` and `index.1` have a line for each task that has ended, `active` has the running ones and some that have ended (pve-common,
PVE/RESTEnvironment.pm, active_workers; PVE/INotify.pm, read_active_workers); X/UPID is the log, X the last digit of the start time
(PVE/UPID.pm). What stands in a log was written by programs that a tenant feeds: it is bounded here, and made printable where it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pvehooks.facts.reading import unread
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import Unread
from pvehooks.values.tasks import FailedStart, LogLine, Task
from pvehooks.wording import bounded

DIRECTORY = "/var/log/pve/tasks"
INDEX = f"{DIRECTORY}/index"
STARTS = ("qmstart", "qmresume")

# PVE renames `index` when it has 50,000 bytes.
_INDEX_LIMIT = 1 << 20
# Of a log the end is read: what stopped a start is among its last lines.
_LOG_LIMIT = 1 << 17
_MOST_LINES = 500
# Of a long line both ends stay: QEMU's command line, which PVE quotes, stands before why it failed.
_LONGEST = 1000
_UPID = (
    r"UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}:([0-9A-Fa-f]{8}):([^:\s/]+):([^:\s/]*):([^:\s/]+):"
)
_ENDED = re.compile(rf"^({_UPID}) (?:1 )?([0-9A-Fa-f]{{8}}) (.+)$", re.ASCII)
_WHOLE_UPID = re.compile(_UPID, re.ASCII)
# The kernel may log why before PVE's task begins to wait, and just after it has ended.
_BEFORE, _AFTER = 2, 3
_JOURNAL_SECONDS = 20.0


def ended(host: Host) -> tuple[Task, ...] | Unread:
    """The tasks that have ended, the latest last; a line that is cut short is left out.

    PVE moves lines from `active` to `index`, and renames that to `index.1`: read in this order, none is missed while it does.
    """
    found: dict[str, Task] = {}
    trouble: Unread | None = None
    for name in ("active", "index", "index.1"):
        path = f"{DIRECTORY}/{name}"
        try:
            begin, raw = host.read_end(path, _INDEX_LIMIT)
        except FileNotFoundError:
            # PVE makes each of them when it first needs it.
            continue
        except OSError as error:
            trouble = unread(path, error)
            continue
        for line in raw.decode(errors="surrogateescape").split("\n")[1 if begin else 0 :]:
            task = _task(line)
            if task is not None:
                found.setdefault(task.upid, task)
    if not found and trouble is not None:
        return trouble
    return tuple(sorted(found.values(), key=lambda task: (task.ended, task.started)))


def _task(line: str) -> Task | None:
    match = _ENDED.match(line)
    if match is None:
        return None
    upid, node, started, kind, name, user, end, status = match.groups()
    return Task(upid, node, kind, name, user, int(started, 16), int(end, 16), bounded(status, _LONGEST))


def holds(path: str) -> bool:
    """Whether the path is of a list or a log of tasks."""
    return path.startswith(f"{DIRECTORY}/")


def is_index(path: str) -> bool:
    """Whether it is one of the files that list tasks."""
    return path in (f"{DIRECTORY}/active", INDEX, f"{INDEX}.1")


def is_start_line(line: bytes) -> bool:
    """Whether a line of those is about a start of a VM that has ended."""
    task = _task(line.decode(errors="surrogateescape").rstrip("\n"))
    return task is not None and is_start(task)


def status_at(line: str) -> int:
    """How many characters from the end of such a line what the task ended with begins; 0 for another line."""
    match = _ENDED.match(line)
    return len(match[8]) if match else 0


def with_upids(text: str, put: Callable[[str], str]) -> str:
    """The text, in which `put` gives what stands for the node and the user of each UPID."""

    def one(match: re.Match[str]) -> str:
        parts = match[0].split(":")
        parts[1], parts[7] = put(parts[1]), put(parts[7])
        return ":".join(parts)

    return _WHOLE_UPID.sub(one, text)


def is_upid(text: str) -> bool:
    """Whether it is the id of a task."""
    return _WHOLE_UPID.fullmatch(text) is not None


def is_start(task: Task) -> bool:
    """Whether it started a VM, or was to."""
    return task.type in STARTS and task.id.isdecimal()


def last_start(tasks: tuple[Task, ...], vmid: int = 0) -> Task | None:
    """The last start of the VM, of any VM without one, that was not interrupted; None where there is none."""
    starts = (task for task in reversed(tasks) if is_start(task) and not task.interrupted)
    return next((task for task in starts if not vmid or int(task.id) == vmid), None)


def failed_start(host: Host, task: Task, with_kernel: bool = True) -> FailedStart:
    """What was logged about a start that failed."""
    lines: list[LogLine] = []
    troubles = []
    for source, reader in (("task", _task_log), ("kernel", _kernel_log))[: 2 if with_kernel else 1]:
        found = reader(host, task)
        if isinstance(found, Unread):
            troubles.append(found.why)
        else:
            lines += [LogLine(source, number, bounded(text, _LONGEST)) for number, text in found if text.strip()]
    if not lines and task.status:
        # What is left of a task whose log is gone.
        lines.append(LogLine("index", 0, f"TASK ERROR: {task.status}"))
    return FailedStart(task, int(task.id) if is_start(task) else 0, tuple(lines), tuple(troubles))


def log_path(task: Task) -> str:
    """Where the task's log lies."""
    return f"{DIRECTORY}/{task.upid.split(':')[4][-1].upper()}/{task.upid}"


def _task_log(host: Host, task: Task) -> list[tuple[int, str]] | Unread:
    """The log's last lines with their numbers; 0 where the log is so long that its beginning was not read."""
    path = log_path(task)
    try:
        begin, raw = host.read_end(path, _LOG_LIMIT)
        # A capture holds the end alone.
        is_cut = host.size(path) > _LOG_LIMIT or begin > 0
    except OSError as error:
        return unread(path, error)
    texts = raw.decode(errors="surrogateescape").split("\n")
    numbered = [(0, text) for text in texts[1:]] if is_cut else list(enumerate(texts, 1))
    return numbered[-_MOST_LINES:]


def _kernel_log(host: Host, task: Task) -> list[tuple[int, str]] | Unread:
    """What the kernel logged meanwhile. A tree has no journal that can be asked."""
    if not host.can_run:
        return Unread("the kernel's log is not part of what is looked at")
    window = (f"--since=@{task.started - _BEFORE}", f"--until=@{task.ended + _AFTER}")
    asked = ["journalctl", "--dmesg", "--quiet", "--output=cat", "--no-pager", f"--lines={_MOST_LINES}", *window]
    try:
        done = host.run(asked, timeout=_JOURNAL_SECONDS)
    except CommandTrouble as error:
        return Unread(f"the kernel's log: {error}")
    if done.status:
        return Unread(f"the kernel's log: {done.stderr.strip() or f'journalctl ended with {done.status}'}")
    return list(enumerate(done.stdout.split("\n"), 1))[-_MOST_LINES:]


def starts_that_failed(tasks: tuple[Task, ...]) -> Iterator[Task]:
    """The last start of each VM where that failed, the latest first."""
    seen: set[str] = set()
    for task in reversed(tasks):
        if is_start(task) and not task.interrupted and task.id not in seen:
            seen.add(task.id)
            if task.failed:
                yield task
