"""The version of the node's QEMU: of the package pve-qemu-kvm in /var/lib/dpkg/status (a running guest may still have an older one)."""

from __future__ import annotations

import re

from pvehooks.facts.reading import content_of
from pvehooks.host import Host
from pvehooks.values import Unread

_STATUS = "/var/lib/dpkg/status"
_LIMIT = 64 << 20


def read(host: Host) -> tuple[int, int] | Unread:
    """Major and minor, which is also the newest machine version that it has."""
    status = content_of(host, _STATUS, _LIMIT)
    if isinstance(status, Unread):
        return status
    section = re.search(rb"^Package: pve-qemu-kvm\n(?:.+\n)*", status, re.MULTILINE)
    version = re.search(rb"^Version: (?:\d+:)?(\d+)\.(\d+)", section[0], re.MULTILINE) if section else None
    if version is None:
        return Unread("the package pve-qemu-kvm is not installed")
    return int(version[1]), int(version[2])
