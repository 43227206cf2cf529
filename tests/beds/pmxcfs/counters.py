"""The counters pmxcfs shows in .version and .vmlist (pve-cluster: pmxcfs/status.c)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import NamedTuple

COUNTED_FILES = (
    "corosync.conf corosync.conf.new storage.cfg user.cfg domains.cfg notifications.cfg priv/notifications.cfg "
    "priv/shadow.cfg priv/acme/plugins.cfg priv/tfa.cfg priv/token.cfg priv/wg-keys.cfg datacenter.cfg vzdump.cron "
    "vzdump.conf jobs.cfg ha/crm_commands ha/manager_status ha/resources.cfg ha/rules.cfg ha/groups.cfg ha/fence.cfg "
    "status.cfg replication.cfg ceph.conf sdn/vnets.cfg sdn/zones.cfg sdn/controllers.cfg sdn/subnets.cfg "
    "sdn/ipams.cfg sdn/mac-cache.json sdn/pve-ipam-state.json sdn/dns.cfg sdn/fabrics.cfg sdn/route-maps.cfg "
    "sdn/prefix-lists.cfg sdn/.running-config virtual-guest/cpu-models.conf virtual-guest/profiles.cfg "
    "firewall/cluster.fw mapping/directory.cfg mapping/pci.cfg mapping/usb.cfg"
).split()
"""The files that have a counter of their own, as pve-cluster 9.1.6 lists them."""

GUEST_CONFIG = re.compile(r"nodes/([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)/(qemu-server|lxc|openvz)/([1-9]\d*)\.conf")
MAX_VMID = 0xFFFFFFFF
GUEST_TYPES = {"qemu-server": "qemu", "lxc": "lxc", "openvz": "openvz"}


class Place(NamedTuple):
    """Where a guest's config lies: on which node, and as what."""

    node: str
    type: str


def guest_place(path: str) -> tuple[int, Place] | None:
    """The VMID and place that a path stands for, or None where it is no guest config (a `.tmp.PID` is none)."""
    match = GUEST_CONFIG.fullmatch(path)
    if match is None or int(match[3]) > MAX_VMID:
        return None
    return int(match[3]), Place(match[1], GUEST_TYPES[match[2]])


class Counters:
    """One node's counters. They say that something is different, never that it is newer."""

    def __init__(self, starttime: int) -> None:
        self.starttime = starttime
        self.clinfo = 0
        self.vmlist = 0
        self.files = dict.fromkeys(COUNTED_FILES, 0)
        self.guests: dict[int, tuple[Place, int]] = {}
        self._last_guest_version = 0

    def restart_numbering(self, paths: Collection[str]) -> None:
        """What a load or a resync of the database does: every file counts as changed, every guest gets a new number."""
        for name in self.files:
            self.files[name] += 1
        if "nodes" in paths:
            self.vmlist += 1
        self.guests = {}
        for path in paths:
            found = guest_place(path)
            if found is not None:
                self._number(*found)

    def _number(self, vmid: int, place: Place) -> None:
        self._last_guest_version += 1
        self.guests[vmid] = (place, self._last_guest_version)

    def is_elsewhere(self, vmid: int, place: Place) -> bool:
        """Whether the cluster has this VMID already, on another node or as another type."""
        known = self.guests.get(vmid)
        return known is not None and known[0] != place

    def guest_changed(self, vmid: int, place: Place) -> None:
        """A guest config was created, written, truncated or renamed into place."""
        self.vmlist += 1
        self._number(vmid, place)

    def guest_gone(self, vmid: int) -> None:
        """A guest config was deleted or renamed away."""
        self.vmlist += 1
        self.guests.pop(vmid, None)

    def file_changed(self, path: str) -> None:
        """Any path was changed; only the well-known ones count."""
        if path in self.files:
            self.files[path] += 1

    def version_text(self, node: str) -> str:
        """What .version holds."""
        numbers = {"starttime": self.starttime, "clinfo": self.clinfo, "vmlist": self.vmlist, **self.files}
        lines = [f'"{name}": {number},\n' for name, number in numbers.items()]
        return "{\n" + "".join(lines) + f'"kvstore": {{\n"{node}": {{\n}}\n}}\n}}\n'

    def vmlist_text(self) -> str:
        """What .vmlist holds; without guests it has no `ids` at all."""
        if not self.guests:
            return f'{{\n"version": {self.vmlist}\n\n}}\n'
        ids = ",\n".join(
            f'"{vmid}": {{ "node": "{place.node}", "type": "{place.type}", "version": {version} }}'
            for vmid, (place, version) in self.guests.items()
        )
        return f'{{\n"version": {self.vmlist},\n"ids": {{\n{ids}}}\n\n}}\n'

    def members_text(self, node: str, cluster: dict[str, bool], quorate: bool) -> str:
        """What .members holds: `cluster` maps the nodes to whether they are online, and is empty on a single node."""
        if not cluster:
            return f'{{\n"nodename": "{node}",\n"version": {self.clinfo}\n}}\n'
        about = {"name": "beds", "version": len(cluster), "nodes": len(cluster), "quorate": int(quorate)}
        nodes = ",\n".join(
            f'  "{name}": {{ "id": {number}, "online": {int(online)}, "ip": "192.0.2.{number}"}}'
            for number, (name, online) in enumerate(sorted(cluster.items()), start=1)
        )
        return f'{{\n"nodename": "{node}",\n"version": {self.clinfo},\n"cluster": {json.dumps(about)},\n"nodelist": {{\n{nodes}\n  }}\n}}\n'
