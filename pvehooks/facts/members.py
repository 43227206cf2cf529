"""The cluster's nodes: which have the package, and which guests start by themselves."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from pvehooks.errors import PmxcfsAway
from pvehooks.facts import pmxcfs
from pvehooks.facts.node import NODES, node_names
from pvehooks.host import Host
from pvehooks.values import Guest

COROSYNC_CONF = "/etc/pve/corosync.conf"
HA_RESOURCES = "/etc/pve/ha/resources.cfg"
_NODE = re.compile(r"^\s*node\s*\{([^}]*)\}", re.MULTILINE)
_NAME = re.compile(r"^\s*name\s*:\s*(\S+)", re.MULTILINE)
_HA_VM = re.compile(r"^vm:\s*([1-9][0-9]{2,8})\s*$", re.MULTILINE | re.ASCII)


class Members(NamedTuple):
    """The nodes of the cluster, this one among them, and those of them that do not have the package."""

    nodes: tuple[str, ...]
    lacking: tuple[str, ...]


def presence_path(node: str) -> str:
    """The file by which a node says that it has the package: {"version": "1.2.3"}."""
    return f"{NODES}/{node}/pvehooks.json"


def members(host: Host, node: str) -> Members:
    """The members and who lacks the package; a node alone lacks nothing, whatever it says. Raises PmxcfsAway."""
    there = _by_corosync(host) or pmxcfs.member_names(host)
    nodes = tuple(sorted({*there, node}))
    return Members(nodes, tuple(name for name in nodes if name != node and not has_package(host, name)))


def names(host: Host, node: str) -> tuple[str, ...]:
    """The members, this node among them; where nothing lists them, the nodes that have a directory."""
    try:
        there = _by_corosync(host) or pmxcfs.member_names(host)
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
    except (OSError, ValueError):
        return ""
    version = content.get("version") if isinstance(content, dict) else None
    return (version or "unknown") if isinstance(version, str) else ""


def _by_corosync(host: Host) -> list[str]:
    """The names in corosync.conf(5)'s nodelist; .members shows them only once corosync has answered."""
    try:
        text = host.read(COROSYNC_CONF).decode("utf-8", "replace")
    except OSError:
        return []
    return [name[1] for each in _NODE.finditer(text) if (name := _NAME.search(each[1]))]


def ha_guests(host: Host) -> frozenset[int]:
    """The VMs that high availability cares for."""
    try:
        text = host.read(HA_RESOURCES).decode("utf-8", "replace")
    except OSError:
        return frozenset()
    return frozenset(int(match[1]) for match in _HA_VM.finditer(text))


def starts_by_itself(guest: Guest, by_ha: frozenset[int]) -> bool:
    """Whether the guest starts when the node does: onboot, or by high availability."""
    return guest.vmid in by_ha or bool(guest.options.get("onboot"))
