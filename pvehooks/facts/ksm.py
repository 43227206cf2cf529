"""Kernel samepage merging, and who the guests belong to, as far as pools tell (/etc/pve/user.cfg, pve-access-control's AccessControl.pm)."""

from __future__ import annotations

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Ksm

_KSM = "/sys/kernel/mm/ksm"
_USERS = "/etc/pve/user.cfg"


def read(host: Host) -> Ksm | Unread:
    """Its state now; a kernel without it never merges."""
    try:
        runs = host.read_text(f"{_KSM}/run") == "1"
        shared = host.read_text(f"{_KSM}/pages_sharing")
    except FileNotFoundError:
        return Ksm(False, 0, {}) if host.is_dir("/sys/kernel/mm") else Unread("/sys/kernel/mm is not there")
    except OSError as error:
        return unread(error.filename, error)
    try:
        return Ksm(runs, int(shared) if shared.isdecimal() and len(shared) < 20 else 0, _pools(host))
    except OSError as error:
        return unread(_USERS, error)


def _pools(host: Host) -> dict[int, str]:
    """The pool of each guest, by lines "pool:NAME:COMMENT:VMIDS:STORAGES:"."""
    try:
        text = host.read(_USERS).decode("utf-8", "replace")
    except FileNotFoundError:
        return {}
    pools = {}
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] == "pool" and len(fields) > 3:
            pools.update({int(vmid): fields[1] for vmid in fields[3].replace(" ", "").split(",") if vmid.isdecimal() and len(vmid) < 10})
    return pools
