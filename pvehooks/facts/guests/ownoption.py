"""Options that Proxmox VE has and we do not know, one for a guest's firmware image perhaps among them."""

from __future__ import annotations

import re
from functools import cached_property

from pvehooks.facts.node import pveschema
from pvehooks.formats import schema as tables
from pvehooks.formats.reader import DeclaredByNode
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import Unread
from pvehooks.values.pveschema import PveSchema

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


class DeclaredOptions(DeclaredByNode):
    """What this node's Proxmox VE knows of guests' configs: asked for what our tables do not have, it reads what PVE declares."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: tuple[frozenset[str], frozenset[str]] | None = None

    def __contains__(self, option: object) -> bool:
        if self._known is None:
            self._known = _declared(self._host)
        names, families = self._known
        family = str(option).rstrip(_ANY_NUMBER)
        return option in names or (family != option and family in families)

    def has(self, option: str, name: str, value: str) -> bool:
        schema = self._schema
        if schema is None or isinstance(schema, Unread):
            return False
        values = schema.properties.get(option.rstrip(_ANY_NUMBER), {}).get(name)
        if values is None:
            return False
        # Of a property that we know, PVE's other checks are those of our tables.
        return value in values or (not values and name not in tables.PROPERTY_STRINGS[tables.OPTIONS[option].format])

    def has_section(self, name: str) -> bool:
        schema = self._schema
        return schema is not None and not isinstance(schema, Unread) and name in schema.sections

    @cached_property
    def _schema(self) -> PveSchema | Unread | None:
        return pveschema.read(self._host)


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
    families = frozenset(key for key, number in added if number and f"{key}0" not in tables.OPTIONS)
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
