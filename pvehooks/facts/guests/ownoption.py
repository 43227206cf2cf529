"""Options that Proxmox VE has and we do not know, one for a guest's firmware image perhaps among them."""

from __future__ import annotations

import re

from pvehooks.formats import schema
from pvehooks.host import CommandTrouble, Host

_TIMEOUT = 20.0
# It was agreed on without a name; `efi-firmware` is that of the storages' content type.
_OPTION = re.compile(r"^\s*--?((?:efi-?|uefi-?|ovmf-?)?firmware[a-z0-9-]*)\b", re.MULTILINE)


_SCHEMA = "/usr/share/perl5/PVE/QemuServer.pm"
_LARGEST = 8 << 20
# $confdesc, a hash with four blanks before its keys, and what is added to it one by one.
_HASH = re.compile(rb"^my \$confdesc(?:_cloudinit)? = \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_KEY = re.compile(rb"^ {4}'?([a-z][a-z_-]*[0-9]*)'?\s*=>", re.MULTILINE)
_ADDED = re.compile(rb"^\s+\$confdesc(?:_cloudinit)?->\{['\"]?([a-z][a-z_-]*[0-9]*)(\$i)?['\"]?\}\s*=[^=~>]", re.MULTILINE)
_ANY_NUMBER = "0123456789"


class DeclaredOptions:
    """The options of a guest that this node's Proxmox VE knows: asked for one that we do not, it reads what PVE declares."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: tuple[frozenset[str], frozenset[str]] | None = None

    def __contains__(self, option: object) -> bool:
        if self._known is None:
            self._known = _declared(self._host)
        names, families = self._known
        family = str(option).rstrip(_ANY_NUMBER)
        return option in names or (family != option and family in families)


def _declared(host: Host) -> tuple[frozenset[str], frozenset[str]]:
    """The names of options, and those that have a number behind them; none where it cannot be read.

    Of options with a number that we know we know how far they go, too.
    """
    try:
        code = host.read(_SCHEMA, limit=_LARGEST)
    except OSError:
        return frozenset(), frozenset()
    names = {key.decode() for block in _HASH.findall(code) for key in _KEY.findall(block)}
    added = [(key.decode(), number) for key, number in _ADDED.findall(code)]
    families = frozenset(key for key, number in added if number and f"{key}0" not in schema.OPTIONS)
    return frozenset(names | {key for key, number in added if not number}), families


def name(host: Host) -> str:
    """The name of the option for a firmware image, '' where there is none or it is unknown: PVE is asked for what `qm set` takes."""
    if not host.is_node:
        return ""
    try:
        shown = host.run(["qm", "help", "set", "--verbose", "1"], timeout=_TIMEOUT)
    except CommandTrouble:
        return ""
    found = _OPTION.search(shown.stdout)
    return found[1] if found else ""
