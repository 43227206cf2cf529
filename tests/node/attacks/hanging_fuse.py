"""A FUSE file system that hangs: hanging_fuse.py DIRECTORY NAME [CONTAINER]. It has one file, which a process has open when all stops.

As root with the VMID of a privileged container: in its control group. Everyone but root on the node does it in namespaces of its own. It
claims to lie on a disk of the node.
"""

import ctypes
import errno
import os
import signal
import stat
import sys
import time

from fusepy import FUSE, FuseOSError, Operations

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


class OneFile(Operations):  # type: ignore[misc]
    """A directory with one empty file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def getattr(self, path: str, fh: object = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == f"/{self._name}":
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": 0}
        raise FuseOSError(errno.ENOENT)


def check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEWNS | (CLONE_NEWUSER if uid else 0)))
    if uid:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    check(libc.mount(b"none", b"/", b"none", MS_REC | MS_PRIVATE, None))


def main(place: str, name: str, container: str = "") -> None:
    if container:
        group = f"/sys/fs/cgroup/lxc/{container}/attack"
        os.makedirs(group, exist_ok=True)
        with open(f"{group}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    if container or os.getuid():
        enter_namespaces()
        if not os.getuid():
            os.makedirs(os.path.dirname(place), exist_ok=True)
        check(libc.mount(b"tmpfs", os.path.dirname(place).encode(), b"tmpfs", 0, None))
    os.makedirs(place, exist_ok=True)
    server = os.fork()
    if not server:
        FUSE(OneFile(name), place, foreground=True, nothreads=True, fsname="/dev/nvme0n1p1", subtype="attack")
        os._exit(1)
    deadline = time.monotonic() + 120
    while not os.path.exists(f"{place}/{name}"):
        assert time.monotonic() < deadline, "no FUSE file system"
        time.sleep(0.05)
    os.open(f"{place}/{name}", os.O_RDONLY)
    # The kernel remembers what was asked for a second.
    time.sleep(1.5)
    os.kill(server, signal.SIGSTOP)
    os.waitid(os.P_PID, server, os.WSTOPPED)
    print("ready", flush=True)
    time.sleep(3600)


main(*sys.argv[1:])
