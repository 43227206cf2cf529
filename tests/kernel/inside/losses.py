"""What the host has, and whether it still has it: mounts, open logical volumes, ports of bridges.

What is not a whole read past the page cache does not count: /proc/mounts lists file systems whose disk is gone.
"""

from __future__ import annotations

import mmap
import os
import subprocess

PROBE = ".bed-probe"
"""Each file system of a disk has a file of this name in its top, of at least a page."""


def readable(path: str) -> bool:
    """Whether a page of it can be read from the disk."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return False
        try:
            return os.readv(handle, [page]) == mmap.PAGESIZE
        except OSError:
            return False
        finally:
            os.close(handle)


def mounts() -> list[str]:
    """Where file systems of disks are mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return sorted({row[4] for row in rows if os.path.exists(f"/sys/dev/block/{row[2]}")})


def open_volumes() -> list[str]:
    """The logical volumes (device mapper) that something has open."""
    command = ["dmsetup", "info", "--columns", "--noheadings", "--separator=:", "-o", "name,open"]
    rows = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    return sorted(name for name, _, count in (row.partition(":") for row in rows) if int(count or 0))


def ports() -> list[str]:
    """Network interfaces that are ports of bridges."""
    return sorted(name for name in os.listdir("/sys/class/net") if os.path.exists(f"/sys/class/net/{name}/brport"))


class Possessions:
    """What the host has now and can use."""

    def __init__(self) -> None:
        self.mounts = [path for path in mounts() if readable(f"{path}/{PROBE}")]
        self.volumes = [name for name in open_volumes() if readable(f"/dev/mapper/{name}")]
        self.ports = ports()

    def lost(self) -> dict[str, list[str]]:
        """What of it is gone or dead; kinds without a loss are left out. It starts no program: their disk may be gone."""
        now = ports()
        lost = {
            "mount": [path for path in self.mounts if not readable(f"{path}/{PROBE}")],
            "volume": [name for name in self.volumes if not readable(f"/dev/mapper/{name}")],
            "port": [name for name in self.ports if name not in now],
        }
        return {kind: names for kind, names in lost.items() if names}

    def all(self) -> dict[str, list[str]]:
        """All of it, by kind."""
        return {"mount": self.mounts, "volume": self.volumes, "port": self.ports}
