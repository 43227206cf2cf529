"""corosync.conf(5): the cluster's nodes, and the addresses of a node's links."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.host import Host

# PVE keeps the cluster's file, and copies it to where corosync reads it.
OF_CLUSTER = "/etc/pve/corosync.conf"
FILES = ("/etc/corosync/corosync.conf", OF_CLUSTER)
_COMMENT = r"(?m)^\s*#.*$"
_NODE = r"\bnode\s*\{([^{}]*)\}"
_OPTION = r"(?m)^\s*([a-z0-9_]+)\s*:\s*(\S+)"
_CLUSTER = r"(?m)^\s*cluster_name\s*:\s*(\S{1,64})"
_LINK = r"ring(\d+)_addr"


def _nodes(text: str) -> Iterator[dict[str, str]]:
    """The options of each node in the nodelist."""
    return (dict(re.findall(_OPTION, block)) for block in re.findall(_NODE, re.sub(_COMMENT, "", text)))


def node_names(host: Host) -> list[str]:
    """The names of the cluster's nodes, none where the cluster's file cannot be read."""
    try:
        text = host.read(OF_CLUSTER).decode("utf-8", "replace")
    except OSError:
        return []
    return [node["name"] for node in _nodes(text) if "name" in node]


def cluster_name(host: Host) -> str:
    """The name of the cluster, '' where there is none, or its file cannot be read."""
    try:
        text = host.read(OF_CLUSTER).decode("utf-8", "replace")
    except OSError:
        return ""
    found = re.search(_CLUSTER, re.sub(_COMMENT, "", text))
    return found[1] if found else ""


def links(host: Host, node: str) -> tuple[tuple[tuple[int, str], ...], tuple[str, ...]]:
    """(number, address) of each link of the node, host names looked up in /etc/hosts; and what could not be read."""
    for path in FILES:
        try:
            text = host.read_text(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return (), (f"whether it carries a corosync link ({path}: {error.strerror})",)
        for options in _nodes(text):
            if options.get("name") == node:
                links = ((match, value) for key, value in options.items() if (match := re.fullmatch(_LINK, key)))
                return tuple(sorted((int(match[1]), _looked_up(host, value)) for match, value in links)), ()
    return (), ()


def _looked_up(host: Host, address: str) -> str:
    """The address of a host's name; the name itself where /etc/hosts does not have it."""
    if ":" in address or not re.search(r"[A-Za-z]", address):
        return address
    try:
        lines = host.read_text("/etc/hosts").split("\n")
    except OSError:
        return address
    words = (line.partition("#")[0].split() for line in lines)
    return next((each[0] for each in words if address in each[1:]), address)
