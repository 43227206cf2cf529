"""A private mount namespace in which /etc/pve, /run and /var/lib belong to the tests alone.

The process enters it itself (no second process, no re-execution): mounts made afterwards are seen by it and its
children only, and the kernel takes all of them away with the last of these. Nothing is left on the machine.

`/usr/bin/python3 -m tests.beds.namespace COMMAND...` runs a command in such a namespace.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

CLONE_NEWNS = 0x00020000  # linux/sched.h
MS_RDONLY = 1  # linux/mount.h
MS_REMOUNT = 1 << 5
MS_BIND = 1 << 12
MS_REC = 1 << 14
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

SCRATCH = Path("/run/pvehooks-beds")
OVERLAID = ("/etc", "/var/lib")
"""Trees that keep showing the machine's files, with every write going to memory."""

MOUNTPOINT = "/etc/pve"
"""Stays a directory of the overlay: a starting pmxcfs unmounts what it finds on it."""

FUSE_CONNECTIONS = SCRATCH / "fuse"
"""Where the kernel's view of all FUSE is mounted, once somebody asks for it."""

EMPTY_DIRECTORIES = (
    MOUNTPOINT,
    "/etc/pvehooks",
    "/run/lock",
    "/run/log/journal",
    "/run/qemu-server",
    "/run/pvehooks",
    "/run/systemd/journal",
    "/var/lib/pve-cluster",
    "/var/lib/pvehooks",
    "/var/lib/vz/snippets",
)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {kind} on {target}")


def make_read_only(directory: Path, *writable: Path) -> None:
    """Make a directory read-only for this process and its children, but for the directories below it in `writable`."""
    for each in (directory, *writable):
        mount(str(each), str(each), "none", MS_BIND)
    mount("none", str(directory), "none", MS_REMOUNT | MS_BIND | MS_RDONLY)
    if Path.cwd().is_relative_to(directory):
        os.chdir(Path.cwd())  # the present one is below the mount


def _mounts_on(target: str | Path) -> list[tuple[str, str]]:
    """The device number and the type of what is mounted there, the topmost last; no file system is asked."""
    # proc_pid_mountinfo(5): the mount point is the fifth field, with blanks escaped; the type follows the hyphen.
    place = str(target).replace("\\", "\\134").replace(" ", "\\040")
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [(before.split()[2], after.split()[0]) for before, after in mounts if before.split()[4] == place]


def detach(target: str | Path) -> None:
    """Take away what is mounted there, whoever uses it (umount --lazy)."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def empty(directory: str | Path) -> None:
    """Delete what is in a directory, if there is one, without following links; what cannot be deleted stays."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def detach_fuse(target: str | Path) -> None:
    """Take a FUSE away at once, whoever uses it and even when its server is dead; none there is no error."""
    mounts = _mounts_on(target)
    if mounts and mounts[-1][1] == "fuse":
        _libc.umount2(os.fsencode(target), MNT_DETACH)


def fuse_connection(target: str | Path) -> Path:
    """What the kernel shows of a mounted FUSE (its filesystems/fuse): `waiting` is the number of requests not yet answered."""
    if not _mounts_on(FUSE_CONNECTIONS):
        FUSE_CONNECTIONS.mkdir(exist_ok=True)
        mount("fusectl", str(FUSE_CONNECTIONS), "fusectl")
    return FUSE_CONNECTIONS / _mounts_on(target)[-1][0].partition(":")[2]


def is_private() -> bool:
    """Whether this process is in such a namespace."""
    return SCRATCH.is_dir()


def enter_private_namespace(directories: Iterable[str] = EMPTY_DIRECTORIES) -> None:
    """Give this process (and those it starts) mounts of its own; call it before any thread is started.

    /run becomes an empty tmpfs (so journald, locks and sockets of the machine are out of reach), /etc and /var/lib
    are overlaid, and each of `directories` is an empty tmpfs or directory. A second call changes nothing, nor does
    one in a process started by one that has called it.
    """
    if is_private():
        return
    if os.geteuid() != 0:
        raise PermissionError("the test beds mount file systems: run the tests as root")
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("tmpfs", "/run", "tmpfs", options="mode=0755")
    for lower in OVERLAID:
        layer = SCRATCH / lower.strip("/").replace("/", "-")
        for part in ("upper", "work"):
            (layer / part).mkdir(parents=True)
        mount("overlay", lower, "overlay", options=f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work")
    for directory in directories:
        Path(directory).mkdir(parents=True, exist_ok=True)
        if not directory.startswith("/run/") and directory != MOUNTPOINT:
            mount("tmpfs", directory, "tmpfs", options="mode=0755")


def main(argv: list[str]) -> NoReturn:
    """Run a command in a namespace of its own."""
    if not argv:
        sys.exit("usage: python3 -m tests.beds.namespace COMMAND [ARGUMENT...]")
    enter_private_namespace()
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
