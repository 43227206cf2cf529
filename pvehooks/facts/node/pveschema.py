"""What this node's Proxmox VE declares, as libexec/pve-schema read it last, and what of that is newer than our tables."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping

from pvehooks.formats import schema as tables
from pvehooks.formats.checks import Property
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.pveschema import NEWEST_MACHINE, Declared, PveSchema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = "/var/lib/pvehooks/pve-schema.json"
VERSION = 1
_MACHINE = re.compile(r"-(\d{1,4})\.(\d{1,4})", re.ASCII)
READER = "/usr/libexec/pvehooks/pve-schema"
_LIMIT = 4 << 20
# A file of each package that declares something: qemu-server, libpve-guest-common-perl, pve-ha-manager, libpve-storage-perl, pve-qemu-kvm.
SOURCES = (
    "/usr/share/perl5/PVE/QemuServer.pm",
    "/usr/share/perl5/PVE/Mapping/PCI.pm",
    "/usr/share/perl5/PVE/HA/Resources.pm",
    "/usr/share/perl5/PVE/Storage.pm",
    "/usr/share/kvm/cpu-models-x86_64.json",
)

# Keys and values of drives that Proxmox VE 8 has, and 9 no longer.
_OLDER = frozenset(("cyls", "heads", "secs", "trans", "cow"))

Marks = Mapping[str, list[float]]
"""Of each source that is there when it was changed and its size: another one once its package was updated."""


def marks(host: Host) -> Marks:
    """Those of the packages that are installed now; none where there is no Proxmox VE."""
    found = {}
    for path in SOURCES:
        try:
            found[path] = [round(host.modified(path), 3), float(host.size(path))]
        except OSError:
            continue
    return found if SOURCES[0] in found else {}


def recorded_marks(host: Host) -> Marks:
    """Those of the packages whose declarations were recorded; none where nothing was."""
    document = _document(host)
    found = document.get("marks") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def read(host: Host) -> PveSchema | Unread | None:
    """What was recorded; None where nothing was, as in most trees and before the daemon has run."""
    document = _document(host)
    if document is None or isinstance(document, Unread):
        return document
    declared = document.get("schema")
    return _schema(declared) if isinstance(declared, dict) else Unread(f"{PATH} holds no declarations")


def has_in_mapping(host: Host, kind: str, name: str) -> bool:
    """Whether entries of mappings ("pci", "usb", "dir") may have something that our tables do not have."""
    found = read(host)
    return isinstance(found, PveSchema) and name in found.mappings.get(kind, {}).keys() - tables.PROPERTY_STRINGS[f"{kind}-map"].keys()


def machine_revisions(host: Host) -> Mapping[str, int] | None:
    """The newest revision of each machine version that the installed Proxmox VE has one of; None where that was not read of it."""
    found = read(host)
    known = isinstance(found, PveSchema) and found.machine_revisions and marks(host) == recorded_marks(host)
    return found.machine_revisions if known and isinstance(found, PveSchema) else None


def newer(host: Host) -> tuple[str, ...] | Unread | None:
    """What this node's Proxmox VE has and our tables do not, in words; None where there is none, as in most trees."""
    found = read(host)
    if isinstance(found, Unread):
        return found
    now = marks(host)
    if now and now != recorded_marks(host):
        return Unread(f"pvehooks.service has not read yet what the installed version declares; it does so with {READER}")
    if found is None:
        return None
    if found.unread:
        return Unread(f"of what Proxmox VE declares these could not be read: {', '.join(found.unread)}; {READER} shows why")
    return (*_newer(found), *_newer_machines(host))


def document_of(answer: Mapping[str, Any], of: Marks) -> dict[str, object]:
    """What is recorded: the answer of pve-schema, and which packages it is about."""
    return {"version": VERSION, "marks": of, "schema": answer}


def _document(host: Host) -> dict[str, Any] | Unread | None:
    try:
        document = json.loads(host.read(PATH, limit=_LIMIT))
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unread(f"{PATH}: {error.strerror}")
    except (ValueError, RecursionError):
        return Unread(f"{PATH} is damaged")
    return document if isinstance(document, dict) and document.get("version") == VERSION else Unread(f"{PATH} is of another version")


def _schema(declared: Mapping[str, Any]) -> PveSchema:
    troubles = declared.get("troubles")
    return PveSchema(
        _names(declared.get("options")),
        _declared(declared.get("properties")),
        _declared(declared.get("mappings")),
        _names(declared.get("cpu_models")),
        _declared(declared.get("ha_rules")),
        _declared(declared.get("ha_resources")),
        _names(declared.get("storages")),
        _names(declared.get("sections")),
        _numbers(declared.get("machine_revisions")),
        tuple(sorted(troubles)) if isinstance(troubles, dict) else (),
    )


def _names(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def _numbers(value: object) -> dict[str, int]:
    return {str(name): number for name, number in value.items() if isinstance(number, int)} if isinstance(value, dict) else {}


def _declared(value: object) -> Declared:
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, parts in value.items() if isinstance(value, dict) else ():
        for part, values in parts.items() if isinstance(parts, dict) else ():
            found.setdefault(str(name), {})[str(part)] = tuple(map(str, values)) if isinstance(values, list) else ()
    return found


# -- compared with our tables -------------------------------------------------------------------------------------------


def _newer(schema: PveSchema) -> Iterator[str]:
    yield from _listed("option", schema.options - tables.OPTIONS.keys())
    formats = {option.rstrip("0123456789"): declared.format for option, declared in tables.OPTIONS.items()}
    ours = {family: _of_table(tables.PROPERTY_STRINGS[form]) for family, form in formats.items() if form in tables.PROPERTY_STRINGS}
    # The flags that a VM's own `cpu` may have are listed apart.
    ours["cpu"]["flags"] = tables.VM_CPU_FLAGS
    yield from _compared("{}", schema.properties, ours)
    mappings = {name: _of_table(tables.PROPERTY_STRINGS[f"{name}-map"]) for name in ("pci", "usb", "dir")}
    yield from _compared("{} mappings", schema.mappings, mappings)
    yield from _listed("CPU model", schema.cpu_models - tables.CPU_MODELS)
    revisions = schema.machine_revisions.items()
    yield from _listed(
        "machine version", [f"{name}+pve{number}" for name, number in revisions if number > tables.MACHINE_REVISIONS.get(name, 0)]
    )
    yield from _listed("type", schema.ha_rules.keys() - tables.HA_RULES.keys(), " of HA rules")
    yield from _compared("HA rules of the type {}", schema.ha_rules, tables.HA_RULES)
    yield from _compared("HA resources ({})", schema.ha_resources, tables.HA_RESOURCES)
    yield from _listed("storage type", schema.storages - tables.STORAGE_TYPES)
    yield from _listed("section", frozenset(f"[special:{name}]" for name in schema.sections.difference(tables.SPECIAL_SECTIONS)))


def _newer_machines(host: Host) -> Iterator[str]:
    """The versions of machines of a QEMU of which it is not known which older ones it has."""
    from pvehooks.facts.node import qemu

    names = qemu.machines(host)
    found = () if isinstance(names, Unread) else (match for match in map(_MACHINE.search, names) if match)
    versions = {(int(match[1]), int(match[2])) for match in found}
    yield from _listed("machine version", [f"{major}.{minor}" for major, minor in versions if (major, minor) > NEWEST_MACHINE])


def _of_table(properties: Mapping[str, Property]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(declared.enum) for name, declared in properties.items()}


def _listed(what: str, names: Collection[str], end: str = "") -> Iterator[str]:
    if names:
        yield f"the {what}{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}{end}"


def _compared(where: str, theirs: Declared, ours: Declared) -> Iterator[str]:
    """What is newer of what both have; `where` has a place for its name."""
    for name in sorted(theirs.keys() & ours.keys()):
        known, there = ours[name], where.format(name)
        yield from _listed("key", theirs[name].keys() - known.keys() - _OLDER, f" of {there}")
        for part, values in sorted(theirs[name].items()):
            if known.get(part):
                yield from _listed("value", set(values).difference(known[part], _OLDER), f" for {part} of {there}")
