"""The node's bridges: /sys/class/net, and what the network's configuration and SDN would make.

Source: pve-common, Network.pm (read_bridge_mtu, tap_plug); pve-network, SDN/Zones.pm (tap_plug).
"""

from __future__ import annotations

import re

from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.reading import text_of, unread
from pvehooks.formats import sectionconfig
from pvehooks.host import Host
from pvehooks.values.base import Unread, cached_property
from pvehooks.values.starting import NoBridge

_CLASS = "/sys/class/net"
_VNETS = "/etc/pve/sdn/vnets.cfg"
_ZONES = "/etc/pve/sdn/zones.cfg"
# What PVE makes for running guests (pve-common, Network.pm), and what is never a bridge.
_GUESTS = re.compile(r"(?:tap|veth|fwbr|fwpr|fwln)\d+[ipo]\d+|lo|ovs-system|bonding_masters", re.ASCII)
_OF_VLAN = re.compile(r"(.+)v\d{1,4}", re.ASCII)
# DEVTYPE in uevent, as drivers set it (SET_NETDEV_DEVTYPE); Open vSwitch's bridges have none.
_KINDS = {"bond": "a bond", "vlan": "a VLAN", "wlan": "a wireless card", "vxlan": "a VXLAN", "wireguard": "a WireGuard tunnel"}


def read(host: Host, node: str) -> NodeBridges | Unread:
    """This node's; Unread where its interfaces cannot be listed, or not all are there (every node has a loopback interface)."""
    try:
        there = frozenset(host.names(_CLASS))
    except OSError as error:
        return unread(_CLASS, error)
    return NodeBridges(host, node, there) if "lo" in there else Unread(f"{_CLASS} does not list all interfaces")


class NodeBridges:
    """Looked at by name, when a rule asks (values.starting.Bridges): a node with many guests has thousands of interfaces."""

    def __init__(self, host: Host, node: str, there: frozenset[str]) -> None:
        self._host = host
        self._node = node
        self._there = there
        self._known: dict[str, NoBridge | None] = {}

    def lacks(self, name: str) -> NoBridge | None:
        """What is known of a name that is no bridge."""
        if name not in self._known:
            self._known[name] = self._look(name)
        return self._known[name]

    def hooks(self) -> bool:
        """Whether scripts run before starts."""
        from pvehooks.facts.node.paths import hooks_are_there

        return hooks_are_there(self._host)

    def names(self) -> tuple[str, ...]:
        """Those that a guest may be given."""
        return self._names

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self._there if self._is_free(name) and not self._instead(name)))

    def _is_free(self, name: str) -> bool:
        vlan = _OF_VLAN.fullmatch(name)
        return not _GUESTS.fullmatch(name) and not (vlan and vlan[1] in self._there)

    def _look(self, name: str) -> NoBridge | None:
        if name in self._there:
            instead = self._instead(name)
            return NoBridge(instead) if instead else None
        zone, here = self._vnet(name)
        return NoBridge("", self._file(name), zone, here)

    def _file(self, name: str) -> str:
        return self._config.file_of(name)

    @cached_property
    def _config(self) -> NetworkConfig:
        return NetworkConfig(self._host)

    def _instead(self, name: str) -> str:
        """What an interface is that is surely no bridge."""
        path = f"{_CLASS}/{name}"
        if self._host.is_dir(f"{path}/bridge"):
            return ""
        if self._host.is_dir(f"{path}/bonding"):
            return "a bond"
        uevent = text_of(self._host, f"{path}/uevent")
        match = re.search(r"^DEVTYPE=(\S+)$", uevent, re.MULTILINE)
        kind = _KINDS.get(match[1], "") if match else ""
        return kind or ("a network card" if self._host.exists(f"{path}/device") else "")

    def _vnet(self, name: str) -> tuple[str, bool]:
        """The zone of the VNet of this name, and whether it is for this node."""
        vnet = self._sections(_VNETS).get(name)
        zone = vnet.options.get("zone", "") if vnet else ""
        known = self._sections(_ZONES).get(zone)
        nodes = re.split(r"[,;\s]+", known.options.get("nodes", "")) if known else []
        return zone, not any(nodes) or self._node in nodes

    def _sections(self, path: str) -> dict[str, sectionconfig.Section]:
        try:
            raw = self._host.read(path)
        except OSError:
            return {}
        # Their sections are written as those of high availability are: TYPE: NAME, with any options.
        return {section.name: section for section in sectionconfig.parse_ha(raw).sections}


class SummarizedBridges(NodeBridges):
    """Another node's, as its summary lists them: all of them are known by name, and nothing else. Its scripts are taken to be those of this node."""

    def _instead(self, name: str) -> str:
        return ""

    def _file(self, name: str) -> str:
        return ""
