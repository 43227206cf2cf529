"""Which processes have which device nodes open (proc_pid_fd(5)): one look at all of them, when it is first asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pvehooks.facts.reading import number_in, text_of
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

# Those that look at a device for a moment whenever it appears or changes.
_PASSING = frozenset(
    ("systemd-udevd", "(udev-worker)", "udevadm", "blkid", "smartd", "smartctl", "pvs", "vgs", "lvs", "lsblk", "nvidia-smi")
)
# What else opens a node only to look (zpool import, sgdisk, pvestatd's scans) has closed it by then, in seconds.
_LOOKS_AGAIN = (0.2, 0.8)
# What nearly every process, or each QEMU, has open, and what belongs to no device.
_COMMON = frozenset(
    ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "fuse", "kvm", "net/tun", "vhost-net", "vhost-vsock", "vfio/vfio")
)
_FOLDERS = ("pts/", "mqueue/", "hugepages/")
_DELETED = " (deleted)"
# Everybody may open these nodes, but usbfs does nothing for who may not write (the kernel's drivers/usb/core/devio.c, usbdev_do_ioctl).
_USB = "/dev/bus/usb/"
_OCTAL = re.compile(r"[0-7]{1,12}")
# How many open files of one owner are looked at, each process counting as some: any user can have millions. Root's are all looked at.
_BUDGET = 1 << 15
_PER_PROCESS = 8
# From here on users are mapped: of containers and other user namespaces (subuid(5)). They share one budget.
_MAPPED = 1 << 16
# The table of a mount namespace counts as well: this many bytes of it take as long as a file. Any user can have thousands of mounts.
_BYTES_A_FILE = 32
# How many processes of one owner are asked for their groups once the owner's files are beyond the budget.
_MOST_LEFT = 1 << 12
# How many processes that have a node open are looked at again.
_MOST_AGAIN = 64
# Where a device node can be looked at without asking anyone: a FUSE that hangs would keep us (the kernel's filesystems/fuse).
_SERVED_BY_THE_KERNEL = frozenset(("devtmpfs", "tmpfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs"))


class ProcessOwner(NamedTuple):
    """Whose a process is: its real user, its groups, and the VMID of its container (0 for none).

    The real user, since the user who starts a setuid program remains that; and not the owner of /proc/PID, which is root's for a process that
    may not be dumped (prctl(2)).
    """

    uid: int
    gids: frozenset[int] = frozenset()
    container: int = 0

    @property
    def trusted(self) -> bool:
        """Whether it is root's on the node itself."""
        return self.uid == 0 and not self.container

    @property
    def account(self) -> tuple[str, int]:
        """Who pays for its open files."""
        return ("container", self.container) if self.container else ("user", min(self.uid, _MAPPED))


class OpenFiles:
    """The device nodes that processes have open.

    `unread` says why it is not known of some processes, '' if it is known of all; only after the first question. Of users with more open
    files than are looked at it says so only where they may open the node that was asked for. While it is `postponed` no process has
    anything open, and `asked` says whether that mattered.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.unread = ""
        self.postponed = False
        self.asked = False
        self._beyond: set[ProcessOwner] = set()
        self._holders: dict[str | tuple[int, int], list[str]] | None = None
        # The nodes that were looked at again already.
        self._stay: set[str | tuple[int, int]] = set()
        # By the names of mount namespace and root directory, which a table shows the mounts of.
        self._tables: dict[tuple[str, str], Mapping[str, str]] = {}

    def pids(self, path: str) -> tuple[str, ...]:
        """The process ids of those that have the node open, udev's own left out."""
        if self.postponed:
            self.asked = True
            return ()
        if self._holders is None:
            self._holders = self._look()
        number = self.host.device_number(path) if self.host.is_node else None
        key: str | tuple[int, int] = path if number is None else number
        found = self._staying(key)
        for pause in _LOOKS_AGAIN if found and self.host.is_node and key not in self._stay else ():
            self.host.sleep(pause)
            again = [pid for pid in found[:_MOST_AGAIN] if self._still_has(pid, key)]
            self._holders[key] = [*again, *found[_MOST_AGAIN:]]
            found = self._staying(key)
        self._stay.add(key)
        self._note_beyond(path)
        return found

    def _still_has(self, pid: str, key: str | tuple[int, int]) -> bool:
        owner = self._owner(pid)
        most = 0 if owner.trusted else _BUDGET
        keys, size = self._nodes(pid, owner, most)
        return key in keys or 0 < most < size

    def _note_beyond(self, path: str) -> None:
        """Notes if a user whose open files were not all looked at may open the node."""
        if not self._beyond:
            return
        try:
            mode, uid, gid, _ = self.host.attributes(path)
        except OSError:
            return
        if path.startswith(_USB):
            mode &= ~0o444
        for owner in sorted(self._beyond):
            mine = mode & 0o600 if owner.uid == uid else mode & 0o060 if gid in owner.gids else mode & 0o006
            if mine or self.host.has_acl(path):
                self.unread = f"whether user {owner.uid} has {path} open (more than {_BUDGET} files of that user are open)"

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
        match = re.search(r":/lxc/([1-9][0-9]{2,8})(?:-[0-9]+)?(?:/|$)", self._cgroup(pid), re.MULTILINE)
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
        spent: dict[tuple[str, int], int] = {}
        left_out: dict[tuple[str, int], int] = {}
        for pid in self._processes():
            if pid in leave_out:
                continue
            owner = self._owner(pid)
            left = _BUDGET - spent.get(owner.account, 0)
            size = 0
            if owner.trusted or left > 0:
                keys, size = self._nodes(pid, owner, 0 if owner.trusted else left)
                spent[owner.account] = spent.get(owner.account, 0) + size + _PER_PROCESS
                for key in keys:
                    holders.setdefault(key, []).append(pid)
            if not owner.trusted and (left <= 0 or size > left) and left_out.get(owner.account, 0) < _MOST_LEFT:
                left_out[owner.account] = left_out.get(owner.account, 0) + 1
                self._leave(pid, owner)
        return holders

    def _leave(self, pid: str, owner: ProcessOwner) -> None:
        """Notes a process that was not, or not wholly, looked at. What a container may open is in its config."""
        if not self.container(pid):
            self._beyond.add(owner._replace(gids=self._status(pid)[1]))

    def _owner(self, pid: str) -> ProcessOwner:
        """Whose it is; in a tree all is root's. The owner of its directory is enough for those that are not root's."""
        if not self.host.is_node:
            return ProcessOwner(0)
        try:
            uid = self.host.owner_and_mode(f"/proc/{pid}")[0]
        except OSError:
            return ProcessOwner(0)
        return ProcessOwner(uid) if uid else ProcessOwner(self._status(pid)[0], container=self.container(pid))

    def _status(self, pid: str) -> tuple[int, frozenset[int]]:
        """The real user and all groups of a process (proc_pid_status(5))."""
        fields = dict.fromkeys(("Uid", "Gid", "Groups"), "")
        for line in text_of(self.host, f"/proc/{pid}/status").split("\n"):
            key, colon, value = line.partition(":\t")
            if colon and key in fields:
                fields[key] = value
        uid = number_in(fields["Uid"].partition("\t")[0]) or 0
        return uid, frozenset(int(word) for word in (*fields["Gid"].split(), *fields["Groups"].split()) if number_in(word) is not None)

    def _processes(self) -> list[str]:
        try:
            return sorted((name for name in self.host.names("/proc") if name.isdecimal()), key=int)
        except OSError as error:
            self.unread = f"which processes have its device nodes open (/proc: {error.strerror})"
            return []

    def _nodes(self, pid: str, owner: ProcessOwner, most: int) -> tuple[set[str | tuple[int, int]], int]:
        """The device nodes that a process has open, and how many files were looked at for that: more than `most`, if not all were.

        0 for `most` is without a limit.
        """
        directory = f"/proc/{pid}/fd"
        try:
            links = self.host.link_texts(directory, most)
        except PermissionError:
            self.unread = "which processes have its device nodes open (the open files of others can only be seen by root)"
            return set(), 0
        except OSError:
            return set(), 0
        files, tables = self._device_files(pid, owner, links, most - len(links))
        return {key for file in files if (key := self._key(pid, file)) is not None}, len(links) + tables

    def _key(self, pid: str, file: tuple[str, str]) -> str | tuple[int, int] | None:
        """What a node is known by. Without a number it is no device: any user can have a file of that name in a /dev of their own."""
        target, name = file
        return self.host.device_number(f"/proc/{pid}/fd/{name}") if self.host.is_node else target.removesuffix(_DELETED)

    def _device_files(self, pid: str, owner: ProcessOwner, links: dict[str, str], most: int) -> tuple[list[tuple[str, str]], int]:
        """(path, descriptor) of what may be a device node that a process has open, and how many files the look at its mounts counts for.

        Each path comes once: descriptors are duplicated by the thousand.
        """
        kinds: Mapping[str, str] | None = None
        size = 0
        found: dict[str, str] = {}
        for name, target in links.items():
            if target in found or not target.startswith("/dev/") or target[5:] in _COMMON or target[5:].startswith(_FOLDERS):
                continue
            mount, flags = self._opened(pid, name)
            if flags & os.O_PATH or (target.startswith(_USB) and not flags & (os.O_WRONLY | os.O_RDWR)):
                continue
            if self.host.is_node and not owner.trusted:
                if kinds is None:
                    kinds, size = self._mounted(pid, most)
                if kinds.get(mount, "") not in _SERVED_BY_THE_KERNEL:
                    continue
            found[target] = name
        return list(found.items()), size

    def is_block(self, pid: str, number: tuple[int, int] | None) -> bool:
        """Whether what a process has open under this number is a block device: character devices have the same numbers."""
        if not self.host.is_node:
            return True
        try:
            links = self.host.link_texts(f"/proc/{pid}/fd", _BUDGET)
        except OSError:
            return True
        files, _ = self._device_files(pid, self._owner(pid), links, _BUDGET)
        return number in {self.host.device_number(f"/proc/{pid}/fd/{name}", only_block=True) for _, name in files}

    def _mounted(self, pid: str, most: int) -> tuple[Mapping[str, str], int]:
        """The kinds of file systems that a process sees, by the numbers of their mounts (proc_pid_mountinfo(5)), and the files it counts for.

        What comes after `most` is not read, and counts as one more.
        """
        if most <= 0:
            return {}, 0
        try:
            seen = self.host.link_text(f"/proc/{pid}/ns/mnt"), self.host.link_text(f"/proc/{pid}/root")
            if seen in self._tables:
                return self._tables[seen], 0
            raw = self.host.read(f"/proc/{pid}/mountinfo", limit=most * _BYTES_A_FILE)
        except OSError:
            return {}, 0
        rows = (line.partition(" - ") for line in raw.decode("utf-8", "surrogateescape").split("\n"))
        table = {before.partition(" ")[0]: after.partition(" ")[0] for before, _, after in rows}
        if len(raw) <= most * _BYTES_A_FILE:
            self._tables[seen] = table
        return table, -(-len(raw) // _BYTES_A_FILE)

    def _opened(self, pid: str, name: str) -> tuple[str, int]:
        """The mount that an open file lies on, and its flags of open(2) (proc_pid_fdinfo(5)); asking that asks no file system."""
        fields = {"mnt_id": "", "flags": ""}
        for line in text_of(self.host, f"/proc/{pid}/fdinfo/{name}").split("\n"):
            key, colon, value = line.partition(":")
            if colon and key in fields:
                fields[key] = value.strip()
        octal = fields["flags"]
        return fields["mnt_id"], int(octal, 8) if _OCTAL.fullmatch(octal) else os.O_RDWR

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
