"""PVE's section configs, as PVE::SectionConfig (pve-common) reads them: mappings, custom CPU models, storages, high availability.

A section is a header line and indented lines `key value`; it ends at an empty line, and only there. Nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pvehooks.formats import checks
from pvehooks.formats.checks import Property, flag, string
from pvehooks.formats.propertystring import Newer, PropertyError, checker, parse_format, quoted
from pvehooks.formats.schema import PROPERTY_STRINGS
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


class Section(NamedTuple):
    """A section."""

    name: str
    type: str
    # Of its header, from 1.
    line: int
    # Texts as written, a flag without a value is "1".
    options: Mapping[str, str]
    # The `map` lines of a mapping, taken apart: node, path, id, iommugroup, subsystem-id, description.
    maps: tuple[Mapping[str, str], ...]


class Problem(NamedTuple):
    """A line that PVE does not accept, and why, as a phrase for messages."""

    line: int
    reason: str


class SectionConfig(NamedTuple):
    """The sections that PVE finds, in the order of the file (of several with one name, the last), and what it leaves out."""

    sections: tuple[Section, ...]
    problems: tuple[Problem, ...]


class _Kind(NamedTuple):
    """How one file is read."""

    # Has the groups type and name.
    header: re.Pattern[str]
    # The type where the header has none.
    type: str
    accepts_name: Callable[[str], bool]
    properties: Mapping[str, Property] | None
    """None: any option is taken as it is."""
    map_format: str = ""
    required: tuple[str, ...] = ()


_TYPED_HEADER = re.compile(r"(\S+):\s*(\S+)\s*", re.ASCII)
_NAME_HEADER = re.compile(r"()(\S+)\s*", re.ASCII)
_COMMENT = re.compile(r"\s*#", re.ASCII)
_OPTION = re.compile(r"\s+(\S+)(?:\s+(.*\S))?\s*", re.ASCII)
_DESCRIPTION = string(max_length=4096)
_is_id = checks.FORMATS["pve-configid"].accepts
_is_storage = checks.FORMATS["pve-storage-id"].accepts

_MAPPINGS = {
    "pci": _Kind(
        _NAME_HEADER,
        "pci",
        _is_id,
        {"description": _DESCRIPTION, "mdev": flag(), "live-migration-capable": flag()},
        "pci-map",
        ("map",),
    ),
    "usb": _Kind(_NAME_HEADER, "usb", _is_id, {"description": _DESCRIPTION}, "usb-map", ("map",)),
    "dir": _Kind(_NAME_HEADER, "dir", _is_id, {"description": _DESCRIPTION}, "dir-map", ("map",)),
}
_CPU_MODELS = _Kind(
    _TYPED_HEADER,
    "cpu-model",
    lambda _: True,
    {key: declared for key, declared in PROPERTY_STRINGS["cpu"].items() if key != "cputype"},
)
_STORAGES = _Kind(_TYPED_HEADER, "", _is_storage, None)
_HA = _Kind(_TYPED_HEADER, "", lambda _: True, None)
_LOCAL = Section(
    "local",
    "dir",
    0,
    {"path": "/var/lib/vz", "prune-backups": "keep-all=1", "content": "backup,images,iso,rootdir,snippets,vztmpl"},
    (),
)


def parse_mapping(raw: bytes, kind: Literal["pci", "usb", "dir"] = "pci", newer: Newer | None = None) -> SectionConfig:
    """/etc/pve/mapping/pci.cfg, usb.cfg or directory.cfg: a header is the bare name (PVE::Mapping::* in pve-guest-common)."""
    return _parse(raw, _MAPPINGS[kind], newer)


def parse_cpu_models(raw: bytes) -> SectionConfig:
    """/etc/pve/virtual-guest/cpu-models.conf: `cpu-model: NAME`, in VM configs custom-NAME (PVE/QemuServer/CPUConfig.pm)."""
    return _parse(raw, _CPU_MODELS)


def parse_storages(raw: bytes) -> SectionConfig:
    """/etc/pve/storage.cfg: `TYPE: NAME`, whatever the type; options are not checked (PVE/Storage/Plugin.pm in pve-storage).

    A directory without a path does not count. As in PVE there is always a storage `local`, the directory /var/lib/vz on every
    node: an entry with another type or path is replaced (one with line 0 stands for a missing one), its `nodes` are ignored.
    """
    config = _parse(raw, _STORAGES)
    problems = list(config.problems)
    found = {section.name: section for section in config.sections}
    for name, section in list(found.items()):
        if section.type == "dir" and "path" not in section.options:
            problems.append(Problem(section.line, f"'{name}' has no path"))
            del found[name]
    local = found.get("local")
    if local is None:
        found = {"local": _LOCAL, **found}
    elif local.type != "dir" or local.options["path"] != _LOCAL.options["path"]:
        problems.append(Problem(local.line, "PVE ignores this entry: 'local' is always the directory /var/lib/vz"))
        found["local"] = _LOCAL._replace(line=local.line)
    else:
        found["local"] = local._replace(options={key: value for key, value in local.options.items() if key != "nodes"})
    return SectionConfig(tuple(found.values()), tuple(sorted(problems)))


def parse_ha(raw: bytes) -> SectionConfig:
    """/etc/pve/ha/resources.cfg, rules.cfg or groups.cfg: `TYPE: NAME`; neither types nor options are checked (PVE/HA in pve-ha-manager)."""
    return _parse(raw, _HA)


class _Open:
    """A section while it is read; `kept` is False where PVE skips it."""

    def __init__(self, name: str, kind: str, line: int, kept: bool) -> None:
        self.name = name
        self.type = kind
        self.line = line
        self.kept = kept
        self.options: dict[str, str] = {}
        self.maps: list[Mapping[str, str]] = []


def _parse(raw: bytes, kind: _Kind, newer: Newer | None = None) -> SectionConfig:
    found: dict[str, Section] = {}
    problems: list[Problem] = []
    section: _Open | None = None
    lines = raw.decode(errors="surrogateescape").split("\n")
    for number, line in enumerate((*lines, ""), 1):
        if _COMMENT.match(line):
            continue
        # "0" is as false as "" to the Perl code that looks for the end of a section.
        if line in ("", "0"):
            if section is not None and section.kept:
                _close(section, kind, found, problems)
            section = None
        elif section is not None:
            problem = _read_option(section, kind, line, newer) if section.kept else "the line is in a section that PVE skips"
            if problem:
                problems.append(Problem(number, problem))
        elif header := kind.header.fullmatch(line):
            section = _Open(header[2], _type(header[1], kind), number, True)
            problem = _header_problem(section, kind)
            if problem:
                problems.append(Problem(number, problem))
                section.kept = False
        else:
            problems.append(Problem(number, f"not the header of a section: {quoted(line)}"))
    return SectionConfig(tuple(found.values()), tuple(problems))


def _type(written: str, kind: _Kind) -> str:
    if kind.properties is None:
        return written.lower()
    return written or kind.type


def _header_problem(section: _Open, kind: _Kind) -> str:
    if kind.type and section.type != kind.type:
        return f"unknown type of section '{section.type}'"
    return "" if kind.accepts_name(section.name) else f"'{section.name}' cannot be a name here"


def _read_option(section: _Open, kind: _Kind, line: str, newer: Newer | None) -> str:
    match = _OPTION.fullmatch(line)
    if match is None:
        return f"not an option (is the empty line before the next section missing?): {quoted(line)}"
    key, value = match[1], match[2]
    if kind.map_format and key == "map":
        return _read_map(section, kind.map_format, value, newer)
    if key in section.options:
        return f"'{key}' is given twice"
    if kind.properties is not None:
        declared = kind.properties.get(key)
        if declared is None:
            return f"unknown option '{key}'"
        if value is None and declared.type != "boolean":
            return f"'{key}' has no value"
        problem = checker(declared)(value if value is not None else 1)
        if problem:
            return f"{key} {problem}"
    if value is not None and "\r" in value:
        return f"'{key}' contains a carriage return"
    section.options[key] = value if value is not None else "1"
    return ""


def _read_map(section: _Open, map_format: str, value: str | None, newer: Newer | None) -> str:
    if value is None:
        return "'map' has no value"
    try:
        parts = parse_format(map_format, value, newer)
    except PropertyError as error:
        return f"map: {error}"
    section.maps.append({key: str(part) for key, part in parts.items()})
    return ""


def _close(section: _Open, kind: _Kind, found: dict[str, Section], problems: list[Problem]) -> None:
    former = found.pop(section.name, None)
    if former is not None:
        problems.append(Problem(former.line, f"'{section.name}' comes again in line {section.line}, which counts"))
    if "map" in kind.required and not section.maps:
        problems.append(Problem(section.line, f"'{section.name}' has no map"))
        return
    found[section.name] = Section(section.name, section.type, section.line, section.options, tuple(section.maps))
