"""Which block devices are PVs of a volume group that one of PVE's storages on this node uses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.reading import optional_of
from pvehooks.facts.uses.blockdevices import Block, BlockTree
from pvehooks.formats import propertystring, sectionconfig
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import NamedTuple, cached_property

_STORAGES = "/etc/pve/storage.cfg"
_ONLINE = "/run/lvm/pvs_online"
_BACKUPS = "/etc/lvm/backup"
_ID = re.compile(r'^\s*id = "([0-9A-Za-z-]{38})"', re.MULTILINE)


class _Backup(NamedTuple):
    """LVM's copy of a group's metadata, written at each change (vgcfgbackup(8)): the group's UUID and its PVs', without dashes."""

    group: str
    volumes: frozenset[str]


class VolumeGroups:
    """The volume groups of the node that storages name."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.node = node
        self._backups: dict[str, _Backup | None] = {}

    @cached_property
    def storages(self) -> Mapping[str, str] | Unread:
        """The first storage that uses a group, by the group's name; disabled storages and those of other nodes do not."""
        raw = optional_of(self.host, _STORAGES)
        if isinstance(raw, Unread):
            return raw
        found: dict[str, str] = {}
        for section in sectionconfig.parse_storages(raw).sections:
            options = section.options
            nodes = re.split(r"[\s,;]+", options.get("nodes", self.node))
            if section.type in ("lvm", "lvmthin") and self.node in nodes and not propertystring.boolean(options.get("disable", "0")):
                found.setdefault(options.get("vgname", ""), section.name)
        found.pop("", None)
        return found

    def of(self, block: Block, tree: BlockTree, label: Mapping[str, str] | None) -> tuple[str, str] | None:
        """The group that a PV belongs to and the storage that uses it, None for all other devices.

        A group of the same name that is another one, a guest's for example, does not count: where LVM's backup of the group
        names its PVs, the device has to be among them, or to carry an LV of that very group.
        """
        storages = self.storages
        if isinstance(storages, Unread) or not storages:
            return None
        pv = _plain((label or {}).get("ID_FS_UUID", "")) if (label or {}).get("ID_FS_TYPE") == "LVM2_member" else ""
        above = [each for each in tree.standing_on(block.name) if each.maker == "LVM"]
        online = self._online.get(block.number, ("", ""))
        pv = pv or online[1]
        for group, storage in storages.items():
            backup = self._backup(group)
            if backup and pv in backup.volumes:
                return group, storage
            # A volume on which others of its own group stand (a thin pool, a cache) is no PV of it.
            named = [each for each in above if each.volume[0] == group != block.volume[0]]
            own = any(each.uuid[4:36] == backup.group for each in named) if backup else bool(named)
            if own or (group == online[0] and not (backup and pv)):
                return group, storage
        return None

    @cached_property
    def _online(self) -> Mapping[str, tuple[str, str]]:
        """The group and the PV's UUID by 'major:minor', as LVM's activation at boot left them (lvm2, lib/device/online.c)."""
        try:
            names = self.host.names(_ONLINE)
        except OSError:
            return {}
        found = {}
        for name in names:
            try:
                lines = self.host.read_text(f"{_ONLINE}/{name}").rstrip("\0").split("\n")
            except OSError:
                continue
            group = next((line[3:] for line in lines if line.startswith("vg:")), "")
            found[lines[0]] = group, name
        return found

    def _backup(self, group: str) -> _Backup | None:
        if group not in self._backups:
            self._backups[group] = self._read_backup(group)
        return self._backups[group]

    def _read_backup(self, group: str) -> _Backup | None:
        try:
            text = self.host.read_text(f"{_BACKUPS}/{group}")
        except (OSError, ValueError):
            return None
        before, _, after = text.partition("physical_volumes {")
        ids = _ID.findall(before), _ID.findall(after.partition("logical_volumes {")[0])
        return _Backup(_plain(ids[0][0]), frozenset(map(_plain, ids[1]))) if ids[0] and ids[1] else None


def _plain(uuid: str) -> str:
    return uuid.replace("-", "")
