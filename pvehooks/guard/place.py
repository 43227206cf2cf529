"""The node that starts the guest, and the node whose directory holds its config meanwhile."""

from __future__ import annotations

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.host import Host


class StartPlace(NamedTuple):
    """The node that starts the guest, the one whose directory has its config, and whether it is the target of a migration."""

    node: str
    owner: str
    migrated: bool
    trouble: str = ""


def find(host: Host, vmid: int, source: str) -> StartPlace:
    """The place of a start; `source` is PVE_MIGRATED_FROM, the node that a live migration comes from, or ''.

    Raises errors.PvehooksError in a tree that is not of a node.
    """
    here = node_facts.node_name(host)
    if not source:
        return StartPlace(here, _owner(host, vmid, here), False)
    # pve-node of PVE's JSONSchema.pm: a label of a host name.
    if len(source) > 63 or not source.replace("-", "x").isalnum() or not source.isascii() or source[0] == "-" or source[-1] == "-":
        return StartPlace(
            here, _owner(host, vmid, here), False, f"PVE_MIGRATED_FROM is no node's name ('{source[:80]}'): {here} is looked at"
        )
    return StartPlace(here, _owner(host, vmid, source, here), True)


def _owner(host: Host, vmid: int, *nodes: str) -> str:
    """The first of these nodes that has the config, else any that does, else the first."""
    there = (node for node in nodes if host.exists(node_facts.config_path(node, vmid)))
    return next(there, "") or node_facts.owner(host, vmid) or nodes[0]
