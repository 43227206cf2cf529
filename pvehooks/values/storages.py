"""Storages, as /etc/pve/storage.cfg defines them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class Storage(NamedTuple):
    """A storage."""

    name: str
    type: str
    # Those that it is restricted to, empty for all.
    nodes: frozenset[str]
    disabled: bool
    shared: bool
    # Its directory, '' without one.
    path: str
    # As written.
    options: Mapping[str, str]
    # False for the `local` that PVE adds if the file does not name it.
    listed: bool = True

    def serves(self, node: str) -> bool:
        """Whether the node may use it."""
        return not self.disabled and (not self.nodes or node in self.nodes)
