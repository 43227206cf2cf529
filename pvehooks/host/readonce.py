"""A host whose files are read once, whoever asks: for facts that belong together."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from pvehooks.host import Host

_Question = TypeVar("_Question", bound=Callable[..., Any])
# Of these a node may have thousands: processes, and configs of guests.
_MANY = re.compile(r"/proc/\d|/etc/pve/nodes/[^/]+/(?:qemu-server|lxc)/\d", re.ASCII)
# Bytes of a file that are kept at most.
_KEPT = 1 << 20


class _Content(NamedTuple):
    content: bytes
    limit: int

    @property
    def is_whole(self) -> bool:
        return len(self.content) <= self.limit


def _once(ask: _Question) -> _Question:
    """The question to the host, with its first answer for a path kept; an error is an answer, too."""

    @wraps(ask)
    def answer(host: ReadOnce, path: str, *more: object, **named: object) -> object:
        if _MANY.match(path):
            return ask(host, path, *more, **named)
        key = (ask, path, more, *named.items())
        if key not in host.answers:
            try:
                host.answers[key] = ask(host, path, *more, **named)
            except OSError as error:
                host.answers[key] = error
        known = host.answers[key]
        if isinstance(known, OSError):
            raise OSError(known.errno, known.strerror, known.filename)
        return known

    return cast(_Question, answer)


class ReadOnce(Host):
    """The node, or a tree, as it is when each question is first asked. Made anew for each round of questions."""

    def __init__(self, root: str = "/") -> None:
        super().__init__(root)
        self.answers: dict[object, object] = {}

    names = _once(Host.names)
    folders = _once(Host.folders)
    exists = _once(Host.exists)
    is_dir = _once(Host.is_dir)
    modified = _once(Host.modified)
    size = _once(Host.size)
    link_name = _once(Host.link_name)
    link_text = _once(Host.link_text)
    owner_and_mode = _once(Host.owner_and_mode)
    attributes = _once(Host.attributes)
    real = _once(Host.real)

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """The file's bytes, at most `limit` + 1 of them. It is read again only where fewer were asked for before, or where it is large."""
        known = self.answers.get(path)
        if isinstance(known, OSError):
            raise OSError(known.errno, known.strerror, known.filename)
        if isinstance(known, _Content) and (limit <= known.limit or known.is_whole):
            return known.content[: limit + 1]
        try:
            content = super().read(path, limit)
        except OSError as error:
            self.answers[path] = error
            raise
        if len(content) <= _KEPT and not _MANY.match(path):
            self.answers[path] = _Content(content, limit)
        return content


def read_once(host: Host) -> Host:
    """The host for a round of questions. One that answers not from the files themselves, as that of a capture does, stays as it is."""
    return ReadOnce(host.root) if type(host) is Host else host
