"""Backups of raw configs, saved before a change: named by VMID and digest, the last 20 of each guest are kept.

Of guests that no node has any more the last 1000 in all: a tenant who makes and destroys guests fills no disk.
"""

from __future__ import annotations

import contextlib
import os
import re

from pvehooks.errors import ActionFailed, PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple, sha1

DIRECTORY = "/var/lib/pvehooks/backups"
KEPT = 20
KEPT_OF_GONE = 1000
# How many more there may be, so that not each change looks for the oldest.
_SLACK = 100
_NAME = re.compile(r"([1-9][0-9]{2,8})-([0-9a-f]{40})\.conf", re.ASCII)


class Backup(NamedTuple):
    """A saved config."""

    vmid: int
    # The SHA-1 of its bytes.
    digest: str
    # Epoch seconds.
    when: float
    path: str
    # Whether the file did not exist before.
    fresh: bool = False


def save(host: Host, vmid: int, raw: bytes) -> Backup:
    """Saves the bytes; the caller must call finish(). Raises ActionFailed if they cannot be written or do not read back."""
    digest = sha1(raw).hex()
    path = f"{DIRECTORY}/{vmid}-{digest}.conf"
    fresh = not host.exists(path)
    try:
        host.make_dir(DIRECTORY, mode=0o700, durable=True)
        host.replace(path, raw, mode=0o600, durable=True)
        if host.read(path, limit=len(raw)) != raw:
            raise OSError("it does not read back as written")
    except OSError as error:
        raise ActionFailed(
            f"its config could not be backed up to {path}: {error.strerror or error}",
            hint="Nothing was changed; make sure that /var/lib/pvehooks can be written",
        ) from error
    return Backup(vmid, digest, host.now(), path, fresh)


def save_file(host: Host, name: str, raw: bytes) -> str:
    """Saves the bytes of a file of the cluster's before it is changed, and returns the copy's path; the last KEPT stay. Raises ActionFailed."""
    path = f"{DIRECTORY}/{name}-{sha1(raw).hex()}"
    try:
        host.make_dir(DIRECTORY, mode=0o700, durable=True)
        host.replace(path, raw, mode=0o600, durable=True)
        kept = [f"{DIRECTORY}/{each}" for each in host.names(DIRECTORY) if each.startswith(f"{name}-") and not path.endswith(each)]
        for old in sorted(kept, key=host.modified, reverse=True)[KEPT - 1 :]:
            host.remove(old)
    except OSError as error:
        hint = "Nothing was changed; make sure that /var/lib/pvehooks can be written"
        raise ActionFailed(f"{name} could not be backed up to {path}: {error.strerror}", hint) from error
    return path


def finish(host: Host, backup: Backup, used: bool) -> None:
    """Completes `save`: removes the backup if the config was not changed (not `used`), else the oldest ones beyond KEPT."""
    if used:
        _prune(host, backup)
    elif backup.fresh:
        with contextlib.suppress(OSError):
            host.remove(backup.path)


def of_guest(host: Host, vmid: int) -> list[Backup]:
    """The guest's backups, the newest first. Raises PermissionError without the permission to read them."""
    try:
        names = host.names(DIRECTORY)
    except PermissionError:
        raise
    except OSError:
        return []
    found = []
    for name in names:
        match = _NAME.fullmatch(name)
        if match and int(match[1]) == vmid:
            path = f"{DIRECTORY}/{name}"
            try:
                when = os.stat(host.locate(path)).st_mtime
            except OSError:
                continue
            found.append(Backup(vmid, match[2], when, path))
    return sorted(found, key=lambda backup: backup.when, reverse=True)


def find(host: Host, vmid: int, digest: str) -> Backup | None:
    """The newest backup whose digest begins with these digits."""
    return next((backup for backup in of_guest(host, vmid) if backup.digest.startswith(digest)), None)


def _prune(host: Host, newest: Backup) -> None:
    # The clock may have gone back since the others were made.
    others = [each for each in of_guest(host, newest.vmid) if each.path != newest.path]
    for old in others[KEPT - 1 :]:
        host.remove(old.path)
    _prune_of_gone(host, newest.vmid)


def _prune_of_gone(host: Host, vmid: int) -> None:
    """Removes the oldest backups of guests that no node has any more beyond KEPT_OF_GONE; `vmid` is there."""
    try:
        names = host.names(DIRECTORY)
        if len(names) <= KEPT_OF_GONE + _SLACK:
            return
        there = pmxcfs.guests(host)
        of_gone = [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) not in there and int(match[1]) != vmid]
        if len(of_gone) > KEPT_OF_GONE + _SLACK:
            for name in sorted(of_gone, key=lambda name: host.modified(f"{DIRECTORY}/{name}"))[:-KEPT_OF_GONE]:
                host.remove(f"{DIRECTORY}/{name}")
    except (OSError, PmxcfsAway):
        # The next change does it.
        return
