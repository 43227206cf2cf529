"""A guest on a node, for views of their facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.values import Guest, Node
from pvehooks.values.pci import VfMacs, VfSource
from tests.beds.tree import Content, make_fake_tree

CONFIGS = "etc/pve/nodes/pve1/qemu-server"


def guest_on_node(directory: Path, config: str, files: Mapping[str, Content] | None = None) -> tuple[Guest, Node]:
    """VM 100 with this config on pve1, whose other files are these."""
    host = Host(str(make_fake_tree(directory, {f"{CONFIGS}/100.conf": config, **(files or {})})))
    return configs.read(host, "pve1", 100, configs.gather_context(host, "pve1", baseline.read(host, "pve1"))), hardware.gather(host, "pve1")


class Support:
    """What is known of VFs on a node."""

    def __init__(self, *sources: VfSource, unbuilt: tuple[str, ...] = (), module: str = "", interface: str = "") -> None:
        self.sources = sources
        self.unbuilt = unbuilt
        self.release = "6.14.11-1-pve"
        self._module = module
        self._interface = interface
        self.known = VfMacs(0, {}, {})

    def module(self, address: str) -> str:
        return self._module

    def interface(self, address: str) -> str:
        return self._interface

    def macs(self, address: str) -> VfMacs:
        return self.known
