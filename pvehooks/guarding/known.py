"""Whether a start that could not be examined is the one that is known: its hostpci lines, its devices, and their groups' members.

It stands on next to nothing of the rest, because the rest has failed.
"""

from __future__ import annotations

import json
import re

from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pvehooks.host import Host

_LINE = re.compile(r"(hostpci[0-9]+):\s*(\S.*?)\s*")
_UUID = re.compile(r"^smbios1:.*\buuid=([0-9a-fA-F-]+)", re.MULTILINE)
_CTIME = re.compile(r"^meta:.*\bctime=([0-9]{1,11})\b", re.MULTILINE)
_NODES = "/etc/pve/nodes"
_MAPPING = re.compile(r"(?:^|,)mapping=([^,]+)")
_MAPPINGS = "/etc/pve/mapping/pci.cfg"
_DEVICES = "/sys/bus/pci/devices"


class Look(NamedTuple):
    """What there is to go by: the live part of the config, its record ({} if none), the node that starts the guest.

    `real` is a start that is neither for a backup nor the target of a migration.
    """

    config: str
    record: Mapping[str, Any]
    node: str
    real: bool

    @property
    def allowance(self) -> str:
        """Who allowed the next start, and why; '' if nobody did."""
        word = self.record.get("allowance")
        return f"{word.get('by')} allowed it: {word.get('reason')}" if isinstance(word, dict) else ""


def look(host: Host, vmid: int, source: str) -> Look:
    """Reads it; `source` is the node that a live migration comes from, or ''. Raises OSError for a config that cannot be read."""
    nodes = host.names(_NODES)
    try:
        node = host.link_name("/etc/pve/local")
    except OSError:
        node = nodes[0] if nodes else ""
    owners = [name for name in (source, node, *nodes) if name in nodes]
    paths = [f"{_NODES}/{name}/qemu-server/{vmid}.conf" for name in owners or [node]]
    path = next(filter(host.exists, paths), paths[0])
    # At this time PVE has applied what was pending: the live part, before the first section, is what starts.
    config = re.split(r"^\[", host.read(path).decode("utf-8", "replace"), maxsplit=1, flags=re.MULTILINE)[0]
    real = not source and not re.search(r"^lock:\s*backup\s*$", config, re.MULTILINE)
    return Look(config, _record(host, vmid, config), node, real)


def _record(host: Host, vmid: int, config: str) -> Mapping[str, Any]:
    """The record of this guest, not of another one that had its VMID (records.Identity)."""
    try:
        record: dict[str, Any] = json.loads(host.read(f"/etc/pve/pvehooks/guests/{vmid}.json"))
        pairs = [(record["uuid"], identity(config)[0]), (record["ctime"], identity(config)[1])]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    known = [(str(ours).lower(), str(theirs).lower()) for ours, theirs in pairs if None not in (ours, theirs)]
    same = all(ours == theirs for ours, theirs in known) if known else all(ours is theirs is None for ours, theirs in pairs)
    return record if same else {}


def identity(config: str) -> tuple[str | None, int | None]:
    """What tells the guest: its uuid and the time of its making."""
    uuid, ctime = _UUID.search(config), _CTIME.search(config)
    return (uuid[1] if uuid else None, int(ctime[1]) if ctime else None)


def trouble(host: Host, seen: Look) -> str:
    """Why the start is not the known one, in words; '' if it is. Raises OSError for a mapping that cannot be read."""
    try:
        hostpci = {match[1]: match[2] for match in map(_LINE.fullmatch, seen.config.splitlines()) if match}
        if not hostpci:
            # A guest with a firmware image takes nothing from the host.
            return ""
        accepted = seen.record.get("accepted", {}).get(seen.node)
        if not accepted:
            return "no start of it was accepted before"
        if hostpci != accepted["hostpci"]:
            return "its hostpci lines are not those of its last accepted start"
        return _other_mapping(host, hostpci, accepted, seen.node) or _other_device(host, accepted) or _other_members(host, accepted)
    except (KeyError, TypeError, AttributeError):
        return "what is noted of its last accepted start cannot be understood"


def _other_mapping(host: Host, hostpci: Mapping[str, str], accepted: Mapping[str, Any], node: str) -> str:
    """What a mapping names may have changed under the same line."""
    names = [match[1] for line in hostpci.values() if (match := _MAPPING.search(line))]
    if not names:
        return ""
    from pvehooks.formats.sectionconfig import parse_mapping

    sections = {section.name: section for section in parse_mapping(host.read(_MAPPINGS)).sections}
    for name in names:
        entries = sections[name].maps if name in sections else ()
        for address in (path for entry in entries if entry.get("node") == node for path in entry.get("path", "").split(";")):
            whole = address if "." in address else f"{address}."
            if not any(known.startswith(whole) for known in accepted["devices"]):
                return f"the mapping '{name}' names {address}, which was not among its devices at its last accepted start"
    return ""


def _other_device(host: Host, accepted: Mapping[str, Any]) -> str:
    for address, device in sorted(accepted["devices"].items()):
        try:
            now = ":".join(host.read_text(f"{_DEVICES}/{address}/{part}").removeprefix("0x") for part in ("vendor", "device"))
        except OSError:
            return f"{address} is not on the bus"
        if device.get("id", now) != now:
            return f"{address} is another device than at its last accepted start"
    return ""


def _other_members(host: Host, accepted: Mapping[str, Any]) -> str:
    """What differs in the groups of the devices that are taken with their groups; PVE never takes a bridge."""
    members = set(accepted["members"])
    for address in sorted(members):
        try:
            there = host.names(f"{_DEVICES}/{address}/iommu_group/devices")
        except OSError:
            return f"{address} has no IOMMU group"
        new = [name for name in there if name not in members and not host.is_dir(f"{_DEVICES}/{name}/pci_bus")]
        if new:
            return f"{new[0]} shares an IOMMU group with {address} now"
    return ""
