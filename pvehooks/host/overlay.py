"""A host of which some files hold something else, and some paths are gone: the node as it will be after its next boot."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Mapping

from pvehooks.host import Host

# What lays other contents over a host of that kind.
_CLASSES: dict[type[Host], type[Host]] = {}


class OverlaidHost(Host):
    """What a host, that of a node, a tree or a capture, says with other contents; see overlaid()."""

    contents: Mapping[str, bytes]
    gone: tuple[str, ...]

    def _check_there(self, path: str) -> None:
        if self._is_gone(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _is_gone(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self.gone)

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        self._check_there(path)
        known = self.contents.get(path)
        return super().read(path, limit) if known is None else known[: limit + 1]

    def names(self, path: str) -> list[str]:
        self._check_there(path)
        return [name for name in super().names(path) if not self._is_gone(f"{path.rstrip('/')}/{name}")]

    def exists(self, path: str) -> bool:
        return not self._is_gone(path) and super().exists(path)

    def is_dir(self, path: str) -> bool:
        return not self._is_gone(path) and super().is_dir(path)


def overlaid(host: Host, contents: Mapping[str, bytes], gone: tuple[str, ...]) -> Host:
    """The host with these contents at these paths, and without what is at or below the paths that are gone."""
    view = copy.copy(host)
    if isinstance(view, OverlaidHost):
        view.contents, view.gone = {**view.contents, **contents}, (*view.gone, *gone)
        return view
    kind = type(host)
    view.__class__ = _CLASSES.setdefault(kind, type(OverlaidHost.__name__, (OverlaidHost, kind), {}))
    assert isinstance(view, OverlaidHost)
    view.contents, view.gone = contents, gone
    return view
