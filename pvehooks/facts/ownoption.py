"""Whether Proxmox VE has an option of its own for a guest's firmware image by now: it is asked for what `qm set` takes."""

from __future__ import annotations

import re

from pvehooks.host import CommandTrouble, Host

_TIMEOUT = 20.0
# It was agreed on without a name; `efi-firmware` is that of the storages' content type.
_OPTION = re.compile(r"^\s*--?((?:efi-?|uefi-?|ovmf-?)?firmware[a-z0-9-]*)\b", re.MULTILINE)


def name(host: Host) -> str:
    """The option's name, '' where there is none or it cannot be told."""
    if not host.is_node:
        return ""
    try:
        told = host.run(["qm", "help", "set", "--verbose", "1"], timeout=_TIMEOUT)
    except CommandTrouble:
        return ""
    found = _OPTION.search(told.stdout)
    return found[1] if found else ""
