"""Which block devices belong to imported ZFS pools: the pools' GUIDs, and what udev read from the devices' labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import cached_property

_POOLS = "/proc/spl/kstat/zfs"
_CACHE = "/etc/zfs/zpool.cache"


class Pools:
    """The imported pools, read once."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def imported(self) -> Mapping[str, str] | Unread:
        """Their GUIDs as decimal numbers, by name; '' where OpenZFS does not show them (before 2.2, module/zfs/spa_stats.c).

        `zpool import` makes one named $import for a moment while it looks for pools.
        """
        try:
            names = self.host.names(_POOLS)
        except FileNotFoundError:
            return {}
        except OSError as error:
            return unread(_POOLS, error)
        return {name: self._guid(name) for name in names if not name.startswith("$") and self.host.is_dir(f"{_POOLS}/{name}")}

    def _guid(self, name: str) -> str:
        try:
            guid = self.host.read_text(f"{_POOLS}/{name}/guid")
        except OSError:
            return ""
        return guid if guid.isdecimal() else ""

    def __bool__(self) -> bool:
        """Whether there is any, or may be."""
        return isinstance(self.imported, Unread) or bool(self.imported)

    def of(self, label: Mapping[str, str]) -> str | Unread:
        """Words for the imported pool that a device with these properties of udev's belongs to, '' for none.

        A pool of the same name and another GUID is another pool, a guest's for example. Where a pool's GUID is not known, its
        name has to do. The labels of spares and cache devices have no pool's GUID.
        """
        pools = self.imported
        if label.get("ID_FS_TYPE") != "zfs_member" or pools == {}:
            return ""
        if isinstance(pools, Unread):
            return pools
        guid, name = label.get("ID_FS_UUID", ""), label.get("ID_FS_LABEL", "")
        if not guid and not name:
            return self._spare(label.get("ID_FS_UUID_SUB", ""))
        for pool, known in pools.items():
            if guid and guid == known:
                return f"the imported ZFS pool {pool}"
        if name in pools and not (guid and pools[name]):
            return f"the imported ZFS pool {name}, as its name says"
        return ""

    def holds(self, paths: Iterable[str]) -> bool:
        """Whether the cache of imported pools names the device: udev's entry may be older than the label, or have none of it."""
        return any(len(name).to_bytes(4, "big") + name + bytes(-len(name) % 4) in self._cache for name in map(os.fsencode, paths))

    @cached_property
    def _cache(self) -> bytes:
        try:
            return self.host.read(_CACHE, limit=16 << 20)
        except OSError:
            return b""

    def _spare(self, guid: str) -> str | Unread:
        """Spares and cache devices are known by their own GUIDs, which the cache of pools holds (an XDR nvlist, big endian)."""
        words = "whether an imported ZFS pool has it as spare or cache is unknown"
        try:
            cache = self.host.read(_CACHE, limit=16 << 20)
        except OSError:
            return Unread(words)
        if not (guid.isascii() and guid.isdecimal() and len(guid) <= 20) or int(guid) >= 1 << 64:
            return Unread(words)
        return "an imported ZFS pool, as spare or cache" if int(guid).to_bytes(8, "big") in cache else Unread(words)
