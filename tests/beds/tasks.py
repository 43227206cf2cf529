"""Tasks as Proxmox VE writes them (pve-common, PVE/RESTEnvironment.pm, active_workers; PVE/UPID.pm): the log, `active`, `index` and its rotation."""

from __future__ import annotations

import os
import time
from pathlib import Path

MAX_INDEX = 50_000
MAX_FINISHED = 25
STARTED = 1_733_000_000


def upid(vmid: int | str, started: int = STARTED, kind: str = "qmstart", user: str = "root@pam", node: str = "pve1") -> str:
    """The id of a task."""
    return f"UPID:{node}:0000A1B2:00C0FFEE:{started:08X}:{kind}:{vmid}:{user}:"


class TaskLog:
    """/var/log/pve/tasks of a node, or of a tree."""

    def __init__(self, root: str | Path = "/") -> None:
        self.directory = Path(root) / "var/log/pve/tasks"
        self.directory.mkdir(parents=True, exist_ok=True)
        self._active: dict[str, str] = {}

    def path(self, upid: str) -> Path:
        """Where the task's log lies."""
        return self.directory / upid.split(":")[4][-1] / upid

    def begin(self, vmid: int | str, started: int | None = None, kind: str = "qmstart", user: str = "root@pam") -> str:
        """A task begins; returns its UPID."""
        task = upid(vmid, int(time.time()) if started is None else started, kind, user)
        self._active[task] = "0"
        self._write_active()
        return task

    def end(self, task: str, log: str, ended: int | None = None) -> str:
        """It ends with such a log, of which the last line gives the status; returns the UPID."""
        last = log.rstrip("\n").rpartition("\n")[2]
        status = "OK" if last == "TASK OK" else last.removeprefix("TASK ERROR: ").removeprefix("TASK ")
        if not last.startswith("TASK "):
            status = "unexpected status"
        path = self.path(task)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(log.encode("utf-8", "surrogateescape"))
        when = int(task.split(":")[4], 16) + 2 if ended is None else ended
        index = self.directory / "index"
        with index.open("ab") as file:
            file.write(f"{task} {when:08X} {status}\n".encode("utf-8", "surrogateescape"))
        if index.stat().st_size > MAX_INDEX:
            index.rename(self.directory / "index.1")
        self._active[task] = f"1 {when:08X} {status}"
        self._write_active()
        return task

    def failed(self, vmid: int | str, log: str, started: int = STARTED, kind: str = "qmstart") -> str:
        """A task that ended in the past."""
        return self.end(self.begin(vmid, started, kind), log)

    def _write_active(self) -> None:
        lines = [f"{task} {state}\n" for task, state in self._active.items()]
        new = self.directory / "active.tmp"
        new.write_bytes("".join(lines[-MAX_FINISHED:]).encode("utf-8", "surrogateescape"))
        os.replace(new, self.directory / "active")
