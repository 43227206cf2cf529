"""Packages that are installed."""

from __future__ import annotations

import re

from pvehooks.facts.reading import content_of
from pvehooks.host import Host
from pvehooks.values.base import Unread

_STATUS = "/var/lib/dpkg/status"
_LIMIT = 64 << 20


def version(host: Host, package: str) -> str | Unread:
    """The version of a package, without its epoch."""
    status = content_of(host, _STATUS, _LIMIT)
    if isinstance(status, Unread):
        return status
    section = re.search(rb"^Package: %s\n(?:.+\n)*" % re.escape(package.encode()), status, re.MULTILINE)
    found = re.search(rb"^Version: (?:\d+:)?(\S+)", section[0], re.MULTILINE) if section else None
    return Unread(f"the package {package} is not installed") if found is None else found[1].decode("ascii", "replace")
