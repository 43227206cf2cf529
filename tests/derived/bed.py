"""A guest on a node, for views of their facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs
from pvehooks.host import Host
from pvehooks.values import Guest, Node
from tests.beds.tree import Content, make_fake_tree

CONFIGS = "etc/pve/nodes/pve1/qemu-server"


def guest_on_node(directory: Path, config: str, files: Mapping[str, Content] | None = None) -> tuple[Guest, Node]:
    """VM 100 with this config on pve1, whose other files are these."""
    host = Host(str(make_fake_tree(directory, {f"{CONFIGS}/100.conf": config, **(files or {})})))
    return configs.read(host, "pve1", 100, configs.surroundings(host, "pve1", None)), hardware.gather(host, "pve1")
