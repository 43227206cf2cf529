"""A real FUSE file system that stands in for pmxcfs (what is mounted at /etc/pve), and the class that drives it.

Kept to pve-cluster 9.1.6 in what a program can see: names, modes, refusals, counters, the database whose -wal file
is the doorbell, and what stops, kills, restarts and the loss of quorum look like.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .driver import Pmxcfs

__all__ = ["Pmxcfs"]


def __getattr__(name: str) -> "Any":
    """The driver is imported by tests only: the file system is started some hundred times, and has no use for it."""
    if name == "Pmxcfs":
        from .driver import Pmxcfs

        return Pmxcfs
    raise AttributeError(name)
