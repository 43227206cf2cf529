"""What a capture shows of people's own directories, /root and /home: that there is what VMs, mappings and storages name, and no more.

Firmware images, disks and shared directories lie there too. The configs that name them are in the capture, so that a path is nothing new.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from pvehooks.capture.record import Thing
from pvehooks.capture.redact import places, secrets

_STORAGES = "/etc/pve/storage.cfg"
_MAPPINGS = "/etc/pve/mapping/"
_PATH = re.compile(r"/(?:root|home)/[^\s,;=\"'\\]+")


class NamedInHomes:
    """The paths in people's own directories that configs and links of a node name."""

    def __init__(self, things: Mapping[str, Thing]) -> None:
        self._things = things
        self._named = {path for place, thing in things.items() if _names_paths(place) for path in _paths(thing)}
        self._storages = tuple(f"{path}/" for path in _paths(things.get(_STORAGES)))
        links = {place: target for place, target in self._links() if secrets.is_in_home(target)}
        while new := {target for place, target in links.items() if self.is_shown(place)} - self._named:
            self._named |= new

    def _links(self) -> Iterator[tuple[str, str]]:
        """The links with what they point to; what a process has open counts as no name."""
        for place, thing in self._things.items():
            if thing.kind == "link" and not place.startswith("/proc/"):
                yield place, posixpath.normpath(posixpath.join(posixpath.dirname(place), thing.text))

    def is_of_storage(self, path: str) -> bool:
        """Whether it lies on a storage of Proxmox VE: that is treated as one elsewhere is."""
        return path.startswith(self._storages)

    def is_shown(self, path: str) -> bool:
        """Whether a capture shows that something is at the path: everywhere but in homes, and there where it is named."""
        if not secrets.is_in_home(path) or path in self._named or self.is_of_storage(path):
            return True
        return self._things[path].kind == "dir" and any(each.startswith(f"{path}/") for each in self._named)


def _names_paths(place: str) -> bool:
    return places.is_guest(place) or place == _STORAGES or place.startswith(_MAPPINGS)


def _paths(thing: Thing | None) -> Iterator[str]:
    content = thing.content if thing is not None else None
    yield from (path.rstrip("/") for path in _PATH.findall((content or b"").decode("utf-8", "surrogateescape")))
