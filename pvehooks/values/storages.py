"""Storages, as /etc/pve/storage.cfg defines them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class Storage(NamedTuple):
    """A storage: `nodes` are those it is restricted to, empty for all; `path` its directory, '' without one; `options` as written.

    `listed` is False for the `local` that PVE adds if the file does not name it.
    """

    name: str
    type: str
    nodes: frozenset[str]
    disabled: bool
    shared: bool
    path: str
    options: Mapping[str, str]
    listed: bool = True

    def serves(self, node: str) -> bool:
        """Whether the node may use it."""
        return not self.disabled and (not self.nodes or node in self.nodes)
