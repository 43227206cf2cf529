"""What a node's Proxmox VE declares."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple

Declared = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Of each option, mapping or type what it may have, with the values where they are listed."""


class PveSchema(NamedTuple):
    """What libexec/pve-schema read; empty where it could not."""

    options: frozenset[str]
    # Of options that are property strings, without their number.
    properties: Declared
    # Of the entries of mappings: pci, usb, dir.
    mappings: Declared
    cpu_models: frozenset[str]
    # By type.
    ha_rules: Declared
    ha_resources: Declared
    storages: frozenset[str]
    # NAME of [special:NAME] in a config.
    sections: frozenset[str]
    # The names of the parts that could not be read.
    unread: tuple[str, ...] = ()
