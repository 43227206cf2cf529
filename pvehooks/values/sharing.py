"""Directories (virtiofs) and memory (ivshmem) that guests share with the node and with each other."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple, Unread


class DirectoryMapping(NamedTuple):
    """A mapping of /etc/pve/mapping/directory.cfg."""

    name: str
    # For this node.
    paths: tuple[str, ...]
    # All that it has entries for.
    nodes: frozenset[str]
    # What is wrong with the first of the paths: it does not exist, or is no directory; '' if nothing. Network file systems are not checked.
    # Unread for another node.
    trouble: str | Unread


class MemoryShare(NamedTuple):
    """A guest's ivshmem."""

    vmid: int
    label: str
    # How much of the file it asks for, in MiB.
    size: int
    running: bool
