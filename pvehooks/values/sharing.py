"""Directories (virtiofs) and memory (ivshmem) that guests share with the node and with each other."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple, Unread


class DirectoryMapping(NamedTuple):
    """A mapping of /etc/pve/mapping/directory.cfg: its paths for this node, and all nodes it has entries for.

    `trouble` is what is wrong with the first of the paths ('' if nothing): it does not exist, or is no directory. Network file
    systems are not checked. For another node it is Unread.
    """

    name: str
    paths: tuple[str, ...]
    nodes: frozenset[str]
    trouble: str | Unread


class MemoryShare(NamedTuple):
    """A guest's ivshmem: how many MiB of the file it asks for."""

    vmid: int
    label: str
    size: int
    running: bool
