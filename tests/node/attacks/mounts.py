"""As many mounts as a user without rights may make in namespaces of its own, with processes that see them.

Their sources are called as disks of the node are, and their places lie below /dev.
"""

import ctypes
import os
import signal

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE, MS_BIND = 1 << 14, 1 << 18, 1 << 12
NAMESPACES, PROCESSES, MOUNTS = 8, 50, 8000
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    uid, gid = os.getuid(), os.getgid()
    for _ in range(NAMESPACES):
        ours, theirs = os.pipe()
        if not os.fork():
            check(libc.unshare(CLONE_NEWNS | CLONE_NEWUSER))
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
            check(libc.mount(b"none", b"/", b"none", MS_REC | MS_PRIVATE, None))
            check(libc.mount(b"/dev/nvme0n1p1", b"/dev/shm", b"tmpfs", 0, None))
            os.makedirs("/dev/shm/place")
            for _ in range(MOUNTS):
                check(libc.mount(b"/dev/nvme0n1p1", b"/dev/shm/place", b"tmpfs", 0, b"size=4k"))
            for _ in range(PROCESSES):
                if not os.fork():
                    break
            os.open("/dev/shm/place", os.O_RDONLY)
            os.write(theirs, b"1")
            signal.pause()
        os.close(theirs)
        assert os.read(ours, 1), "no mounts"
    print("ready", flush=True)
    signal.pause()


main()
