"""Which Proxmox VE the node has."""

from __future__ import annotations

import re

from pvehooks.facts.reading import text_of
from pvehooks.host import Host

# pve-manager's own; what `pveversion` prints.
PATH = "/usr/share/perl5/PVE/pvecfg.pm"
_VERSION = re.compile(r"\bsub version\s*\{\s*return '([0-9A-Za-z.+~-]{1,40})'")


def pve(host: Host) -> str:
    """The version of pve-manager ("8.4.1"), '' where it is not known."""
    found = _VERSION.search(text_of(host, PATH))
    return found[1] if found else ""
