"""Ceph's OSDs on this node: the devices they keep their data on, and whether they run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

from pvehooks.facts.uses.blockdevices import both
from pvehooks.host import Host

_OSDS = "/var/lib/ceph/osd"
# BlueStore's data, database and write-ahead log (Ceph's documentation, "BlueStore configuration reference").
_PARTS = ("block", "block.db", "block.wal")
# The units that activate OSDs at boot, by id and UUID; ceph-volume names the logical volume by the same UUID (its devices/lvm/prepare.py).
_WANTED = "/etc/systemd/system/multi-user.target.wants"
_UNIT = re.compile(r"ceph-volume@lvm-([0-9]{1,9})-([0-9a-f]{8}-[0-9a-f-]{27})\.service")


class Osds:
    """The OSDs of this node, read once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._live: dict[str, bool] = {}

    @cached_property
    def devices(self) -> Mapping[str, str]:
        """The ids of OSDs by the paths of their devices."""
        try:
            names = self.host.names(_OSDS)
        except OSError:
            return {}
        found = {}
        for name in names:
            number = name.rpartition("-")[2]
            for part in _PARTS if number.isdecimal() else ():
                try:
                    target = self.host.link_text(f"{_OSDS}/{name}/{part}")
                except OSError:
                    continue
                found.update(dict.fromkeys(both(self.host, target), number))
        return found

    @cached_property
    def activated(self) -> Mapping[str, str]:
        """The ids of OSDs that this node activates at boot, by their UUIDs: until then nothing links to their devices."""
        try:
            matches = (_UNIT.fullmatch(name) for name in self.host.names(_WANTED))
            return {match[2]: match[1] for match in matches if match}
        except OSError:
            return {}

    @property
    def some(self) -> bool:
        """Whether the node has any."""
        return bool(self.devices or self.activated)

    def by_volume(self, name: str) -> str:
        """The id of the OSD whose logical volume has this name, '' for none."""
        return next((number for uuid, number in self.activated.items() if name.startswith("osd-") and name.endswith(f"-{uuid}")), "")

    def runs(self, number: str) -> bool:
        """Whether a ceph-osd process serves the OSD."""
        if not self._live and self.some:
            self._live = dict.fromkeys((*self.devices.values(), *self.activated.values()), False)
            for pid in self._pids():
                for word in self._words(pid):
                    self._live[word] = True
        return self._live.get(number, False)

    def _pids(self) -> list[str]:
        try:
            return [name for name in self.host.names("/proc") if name.isdecimal()]
        except OSError:
            return []

    def _words(self, pid: str) -> list[str]:
        """The arguments of a ceph-osd, those that follow `--id=` without it; none of another process."""
        try:
            if self.host.read(f"/proc/{pid}/comm").strip() != b"ceph-osd":
                return []
            words = self.host.read(f"/proc/{pid}/cmdline").decode("utf-8", "replace").split("\0")
        except OSError:
            return []
        named = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--id", "-i")]
        return [*named, *(word[5:] for word in words if word.startswith("--id="))]
