"""A host whose files are read once, whatever asks: for facts that belong together."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from functools import wraps

from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _Question = TypeVar("_Question", bound=Callable[..., Any])
# Of processes a node may have thousands, as of guests.
_PROCESS = re.compile(r"/proc/\d", re.ASCII)
_CONFIG = re.compile(r"/etc/pve/nodes/[^/]+/(?:qemu-server|lxc)/\d", re.ASCII)
# What reads once what a host of that kind reads.
_CLASSES: dict[type[Host], type[Host]] = {}
# So many directories deep lies what is read of a node.
_DEEPEST = 32
# Bytes of a file that are kept at most.
_LARGEST = 1 << 16


class _Content(NamedTuple):
    content: bytes
    # With which it was read.
    limit: int


def _cached(ask: _Question) -> _Question:
    """The question to a host, with its first answer for a path kept; an error is an answer, too."""
    name = ask.__name__

    @wraps(ask)
    def answer(host: CachingHost, path: str, *more: object, **named: object) -> object:
        key = (name, path, more, *named.items())
        known = host.answers.get(key)
        if known is None:
            try:
                known = getattr(super(CachingHost, host), name)(path, *more, **named)
            except OSError as error:
                known = error
            host.keep(path, key, known)
        if isinstance(known, OSError):
            raise OSError(known.errno, known.strerror, known.filename)
        return known

    return answer  # type: ignore[return-value]


class CachingHost(Host):
    """What a host, that of a node, a tree or a capture, says when each question is first asked; see read_once()."""

    answers: dict[object, object]
    keeps_configs: bool
    # Of a tree: the real paths of directories.
    places: dict[str, str]

    names = _cached(Host.names)
    folders = _cached(Host.folders)
    exists = _cached(Host.exists)
    is_dir = _cached(Host.is_dir)
    modified = _cached(Host.modified)
    size = _cached(Host.size)
    link_name = _cached(Host.link_name)
    link_text = _cached(Host.link_text)
    owner_and_mode = _cached(Host.owner_and_mode)
    attributes = _cached(Host.attributes)
    real = _cached(Host.real)

    def locate(self, path: str, follow: bool = True) -> str:
        """As Host.locate; in a tree the links on the way to a directory are resolved once."""
        directory, _, name = path.rpartition("/")
        if self.is_node or not directory or name in ("", ".", "..") or not name.isascii() or "\0" in name:
            return super().locate(path, follow)
        place = self.places.get(directory)
        if place is None:
            try:
                # By what is known of the directory above it; not so for a path of any length, which a config may hold.
                shallow = directory.count("/") < _DEEPEST
                place = self.places[directory] = self.locate(directory) if shallow else super().locate(directory)
            except OSError:
                # The error names what was asked for.
                return super().locate(path, follow)
        located = f"{place}/{name}"
        return super().locate(path) if follow and os.path.islink(located) else located

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The file's bytes, at most `limit` + 1 of them. It is read again only where fewer were asked for before, or where it is large."""
        known = self.answers.get(path)
        if isinstance(known, OSError):
            raise OSError(known.errno, known.strerror, known.filename)
        if isinstance(known, _Content) and (limit <= known.limit or len(known.content) <= known.limit):
            return known.content[: limit + 1]
        try:
            content = super().read(path, limit)
        except OSError as error:
            self.keep(path, path, error)
            raise
        if len(content) <= _LARGEST:
            self.keep(path, path, _Content(content, limit))
        return content

    def keep(self, path: str, key: object, answer: object) -> None:
        """Keeps the answer, unless there are too many of the kind."""
        if not _PROCESS.match(path) and (self.keeps_configs or not _CONFIG.match(path)):
            self.answers[key] = answer


def read_once(host: Host, configs: bool = False) -> Host:
    """The host for one round of questions. With `configs` those of guests are kept as well, which takes a kilobyte for each."""
    view = copy.copy(host)
    kind = type(host)
    view.__class__ = _CLASSES.setdefault(kind, type(CachingHost.__name__, (CachingHost, kind), {}))
    assert isinstance(view, CachingHost)
    view.answers, view.keeps_configs, view.places = {}, configs, {}
    return view
