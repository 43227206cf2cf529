"""Tasks of Proxmox VE: what the node was asked to do, how that ended, and what was logged meanwhile."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple


class Task(NamedTuple):
    """A task that has ended (pve-common, PVE/UPID.pm)."""

    # Its whole UPID: the name of its log.
    upid: str
    node: str
    # What it did: qmstart, vzdump, ...
    type: str
    # What it did that with: of a VM its VMID.
    id: str
    # Who asked: root@pam.
    user: str
    # Epoch seconds.
    started: int
    ended: int
    # "OK", "WARNINGS: 1", "unexpected status", or the words after "TASK ERROR: ".
    status: str

    @property
    def failed(self) -> bool:
        """Whether it ended with an error (PVE::UPID::status_is_error)."""
        return self.status != "OK" and not self.status.startswith("WARNINGS: ")

    @property
    def interrupted(self) -> bool:
        """Whether a person, or a shutdown of the node, ended it."""
        return self.status in ("received interrupt", "unexpected status") or "interrupted by signal" in self.status


class LogLine(NamedTuple):
    """A line of a log: which one (`task`, `kernel`; `index` has what is left of a log that is gone), its number from 1 (0 where it is not known), its text."""

    source: str
    number: int
    text: str


class FailedStart(NamedTuple):
    """A start that failed, with what was logged. `unread` says which logs could not be read, and why."""

    task: Task
    vmid: int
    lines: tuple[LogLine, ...]
    unread: tuple[str, ...] = ()
