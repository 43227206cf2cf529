"""The cluster's nodes, and which of them have the package."""

from __future__ import annotations

import json

from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import corosync, pmxcfs
from pvehooks.facts.cluster.nodes import NODES, node_names
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple


class Members(NamedTuple):
    """The nodes of the cluster, this one among them, and those of them that do not have the package."""

    nodes: tuple[str, ...]
    without_package: tuple[str, ...]


def presence_path(node: str) -> str:
    """The file by which a node says that it has the package: {"version": "1.2.3"}."""
    return f"{NODES}/{node}/pvehooks.json"


def members(host: Host, node: str) -> Members:
    """The members and who lacks the package; a node alone lacks nothing, whatever it says. Raises PmxcfsAway."""
    # .members shows them only once corosync has answered.
    there = corosync.node_names(host) or pmxcfs.member_names(host)
    nodes = tuple(sorted({*there, node}))
    return Members(nodes, tuple(name for name in nodes if name != node and not has_package(host, name)))


def names(host: Host, node: str) -> tuple[str, ...]:
    """The members, this node among them; where nothing lists them, the nodes that have a directory."""
    try:
        there = corosync.node_names(host) or pmxcfs.member_names(host)
    except PmxcfsAway:
        there = []
    return tuple(sorted({*(there or node_names(host)), node}))


def has_package(host: Host, node: str) -> bool:
    """Whether the node says that it has the package."""
    return version_of(host, node) != ""


def version_of(host: Host, node: str) -> str:
    """Which version of the package the node says that it has, '' for none."""
    try:
        content = json.loads(host.read(presence_path(node), limit=1 << 12))
    except (OSError, ValueError, RecursionError):
        return ""
    version = content.get("version") if isinstance(content, dict) else None
    return (version or "unknown") if isinstance(version, str) else ""
