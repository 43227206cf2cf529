"""Which processes have which device nodes open (proc_pid_fd(5)): one look at all of them, when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.host import Host

# Those that look at a device for a moment whenever it appears or changes.
_PASSING = frozenset(
    ("systemd-udevd", "(udev-worker)", "udevadm", "blkid", "smartd", "smartctl", "pvs", "vgs", "lvs", "lsblk", "nvidia-smi")
)
# What else opens a node only to look (zpool import, sgdisk, pvestatd's scans) has closed it by then, in seconds.
_LOOKS_AGAIN = (0.2, 0.8)
# What nearly every process has open.
_COMMON = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/fuse"))
_DELETED = " (deleted)"


class OpenFiles:
    """The device nodes that processes have open.

    `unread` says why it is not known of some processes, '' if it is known of all; only after the first question.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.unread = ""
        self._holders: dict[str | tuple[int, int], list[str]] | None = None
        # The nodes that were looked at again already.
        self._stay: set[str | tuple[int, int]] = set()

    def pids(self, path: str) -> tuple[str, ...]:
        """The process ids of those that have the node open, udev's own left out."""
        if self._holders is None:
            self._holders = self._look()
        number = self.host.device_number(path) if self.host.is_node else None
        key: str | tuple[int, int] = path if number is None else number
        found = self._staying(key)
        for pause in _LOOKS_AGAIN if found and self.host.is_node and key not in self._stay else ():
            self.host.sleep(pause)
            self._holders = self._look()
            found = tuple(pid for pid in self._staying(key) if pid in found)
        self._stay.add(key)
        return found

    def _staying(self, key: str | tuple[int, int]) -> tuple[str, ...]:
        holders = (self._holders or {}).get(key, ())
        return tuple(pid for pid in holders if self.name(pid) not in _PASSING)

    def of(self, path: str) -> tuple[str, ...]:
        """How messages call the processes that have the device node open."""
        return tuple(map(self.words, self.pids(path)))

    def words(self, pid: str) -> str:
        """How messages call a process: "smartd (pid 812)"."""
        return f"{self.name(pid) or 'a process'} (pid {pid})"

    def container(self, pid: str) -> int:
        """The VMID of the container that a process runs in, 0 for none (pve-container, PVE/LXC.pm: lxc.cgroup.dir.container)."""
        match = re.search(r":/lxc/([1-9][0-9]{2,8})(?:/|$)", self._cgroup(pid), re.MULTILINE)
        return int(match[1]) if match else 0

    def service(self, pid: str) -> str:
        """The unit of the node that a process is part of, '' for none."""
        match = re.search(r":/system\.slice/(?:[^/\n]+\.slice/)*([\w.@:\\-]+\.service)$", self._cgroup(pid), re.MULTILINE | re.ASCII)
        return match[1] if match else ""

    def _cgroup(self, pid: str) -> str:
        try:
            return self.host.read_text(f"/proc/{pid}/cgroup")
        except OSError:
            return ""

    def name(self, pid: str) -> str:
        """The name of a process' program, as the kernel shortens it; '' when it is gone."""
        try:
            return self.host.read_text(f"/proc/{pid}/comm")
        except OSError:
            return ""

    def _look(self) -> dict[str | tuple[int, int], list[str]]:
        """Process ids by node: by its number on this node (a container may call it otherwise), by its name in a tree."""
        holders: dict[str | tuple[int, int], list[str]] = {}
        leave_out = self._self_and_parents()
        for pid in self._processes():
            if pid in leave_out:
                continue
            for key in self._nodes(pid):
                holders.setdefault(key, []).append(pid)
        return holders

    def _processes(self) -> list[str]:
        try:
            return sorted((name for name in self.host.names("/proc") if name.isdecimal()), key=int)
        except OSError as error:
            self.unread = f"which processes have its device nodes open (/proc: {error.strerror})"
            return []

    def _nodes(self, pid: str) -> set[str | tuple[int, int]]:
        directory = f"/proc/{pid}/fd"
        try:
            links = self.host.link_texts(directory)
        except PermissionError:
            self.unread = "which processes have its device nodes open (the open files of others can only be seen by root)"
            return set()
        except OSError:
            return set()
        return set(self._keys(directory, links))

    def _keys(self, directory: str, links: dict[str, str]) -> Iterator[str | tuple[int, int]]:
        for name, target in links.items():
            if target.startswith("/dev/") and target not in _COMMON and not target.startswith("/dev/pts/"):
                number = self.host.device_number(f"{directory}/{name}") if self.host.is_node else None
                yield target.removesuffix(_DELETED) if number is None else number

    def _self_and_parents(self) -> set[str]:
        found: set[str] = set()
        pid = "self" if self.host.is_node else ""
        while pid and len(found) < 64:
            try:
                before, _, after = self.host.read_text(f"/proc/{pid}/stat").rpartition(")")
            except OSError:
                break
            found.add(before.partition(" ")[0])
            pid = after.split()[1] if len(after.split()) > 1 else ""
            if pid in ("0", "1") or pid in found:
                break
        return found
