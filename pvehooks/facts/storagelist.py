"""The cluster's storages: /etc/pve/storage.cfg (pve-storage, PVE/Storage.pm, PVE/Storage/Plugin.pm)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.storages import Storages, base_of
from pvehooks.formats import propertystring
from pvehooks.formats.sectionconfig import Section
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.storages import Storage

_WITH_PATH = ("dir", "btrfs", "nfs", "cifs", "cephfs", "glusterfs")
# Those that all nodes see, whatever the file says (`shared` in each plugin's plugindata).
_SHARED = ("nfs", "cifs", "cephfs", "glusterfs", "iscsi", "iscsidirect", "rbd", "zfs", "pbs", "esxi")


def read(host: Host) -> Mapping[str, Storage] | Unread:
    """The storages by name, disabled ones among them; `local` is always there."""
    found = Storages(host).read()
    return found if isinstance(found, Unread) else {name: _storage(section) for name, section in found.items()}


def _storage(section: Section) -> Storage:
    options = section.options
    nodes = frozenset(name for name in re.split(r"[,;\s\0]+", options.get("nodes", "")) if name)
    shared = section.type in _SHARED or propertystring.boolean(options.get("shared", "0")) == 1
    path = base_of(section) if section.type in _WITH_PATH else ""
    disabled = propertystring.boolean(options.get("disable", "0")) == 1
    return Storage(section.name, section.type, nodes, disabled, shared, path, options, section.line > 0)
