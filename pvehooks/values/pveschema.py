"""What a node's Proxmox VE declares."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple

Declared = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Of each option, mapping or type what it may have, with the values where they are listed."""

NEWEST_MACHINE = (11, 2)
"""The machine version of the last QEMU of which it is known which older ones it has: that of Proxmox VE 9."""


class Machines(NamedTuple):
    """The machine versions of a node."""

    # QEMU's: "pc-q35-9.2"; none of a kind of which there is no list.
    names: frozenset[str]
    # The newest revision that Proxmox VE has of a version, by "9.2"; None where that was not read.
    revisions: Mapping[str, int] | None


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
    # By version of a machine ("9.2") the number of PVE's newest revision of it, as in pc-q35-9.2+pve1.
    machine_revisions: Mapping[str, int]
    # The names of the parts that could not be read.
    unread: tuple[str, ...] = ()
