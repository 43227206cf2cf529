"""Ceph's OSDs on this node: the devices they keep their data on, and whether they run."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.reading import names_in, text_of
from pvehooks.facts.uses.blockdevices import as_written_and_resolved
from pvehooks.host import Host
from pvehooks.values.base import cached_property

_OSDS = "/var/lib/ceph/osd"
# BlueStore's data, database and write-ahead log (Ceph's documentation, "BlueStore configuration reference").
_PARTS = ("block", "block.db", "block.wal")
# The units that activate OSDs at boot, by id and UUID (ceph-volume, systemd/systemctl.py). It names the logical volume osd-block-UUID by the
# same UUID where it makes it of a disk; one that was there keeps its name, and those for the database and the log have UUIDs of their own
# (objectstore/lvmbluestore.py): all have the tag ceph.osd_id, which LVM's backup of the group shows.
_WANTED = "/etc/systemd/system/multi-user.target.wants"
_BACKUPS = "/etc/lvm/backup"
_OPENED = re.compile(r"\s*([A-Za-z0-9+_.][A-Za-z0-9+_.-]*) \{")
_TAG = re.compile(r'"ceph\.osd_id=([0-9]{1,9})"')
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
                found.update(dict.fromkeys(as_written_and_resolved(self.host, target), number))
        return found

    @cached_property
    def activated(self) -> Mapping[str, str]:
        """The ids of OSDs that this node activates at boot, by their UUIDs: until then nothing links to their devices."""
        try:
            matches = (_UNIT.fullmatch(name) for name in self.host.names(_WANTED))
            return {match[2]: match[1] for match in matches if match}
        except OSError:
            return {}

    @cached_property
    def tagged(self) -> Mapping[tuple[str, str], str]:
        """The ids of OSDs by the group and the name of their logical volumes."""
        found = {}
        for group in names_in(self.host, _BACKUPS):
            text = text_of(self.host, f"{_BACKUPS}/{group}")
            name = ""
            for line in text.split("\n") if "ceph.osd_id=" in text else ():
                opened = _OPENED.match(line)
                name = opened[1] if opened else name
                tag = _TAG.search(line) if line.lstrip().startswith("tags = [") else None
                if tag:
                    found[group, name] = tag[1]
        return found

    def __bool__(self) -> bool:
        """Whether the node has any."""
        return bool(self.devices or self.activated or self.tagged)

    def by_volume(self, group: str, name: str) -> str:
        """The id of the OSD that the logical volume belongs to, '' for none."""
        by_name = (number for uuid, number in self.activated.items() if name.startswith("osd-") and name.endswith(f"-{uuid}"))
        return next(by_name, self.tagged.get((group, name), ""))

    def runs(self, number: str) -> bool:
        """Whether a ceph-osd process serves the OSD."""
        if not self._live and self:
            self._live = dict.fromkeys((*self.devices.values(), *self.activated.values(), *self.tagged.values()), False)
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
