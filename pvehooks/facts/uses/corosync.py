"""The addresses of this node's corosync links (corosync.conf(5), nodelist)."""

from __future__ import annotations

import re

from pvehooks.host import Host

# Corosync reads the second; PVE copies the first, the cluster's, there.
FILES = ("/etc/corosync/corosync.conf", "/etc/pve/corosync.conf")
_NODE = r"\bnode\s*\{([^{}]*)\}"
_OPTION = r"(?m)^\s*([a-z0-9_]+)\s*:\s*(\S+)"
_RING = r"ring(\d+)_addr"


def links(host: Host, node: str) -> tuple[tuple[tuple[int, str], ...], tuple[str, ...]]:
    """(number, address) of each link of the node, host names looked up in /etc/hosts; and what could not be read."""
    for path in FILES:
        try:
            text = re.sub(r"^\s*#.*$", "", host.read_text(path), flags=re.MULTILINE)
        except FileNotFoundError:
            continue
        except OSError as error:
            return (), (f"whether it carries a corosync link ({path}: {error.strerror})",)
        for block in re.findall(_NODE, text):
            options = dict(re.findall(_OPTION, block))
            if options.get("name") == node:
                rings = ((match, value) for key, value in options.items() if (match := re.fullmatch(_RING, key)))
                return tuple(sorted((int(match[1]), _looked_up(host, value)) for match, value in rings)), ()
    return (), ()


def _looked_up(host: Host, address: str) -> str:
    """The address of a host's name; the name itself where /etc/hosts does not have it."""
    if ":" in address or not re.search(r"[A-Za-z]", address):
        return address
    try:
        lines = host.read_text("/etc/hosts").splitlines()
    except OSError:
        return address
    words = (line.partition("#")[0].split() for line in lines)
    return next((each[0] for each in words if address in each[1:]), address)
