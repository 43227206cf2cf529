"""The cluster's mappings of PCI and USB devices, as far as they concern a node (pve-guest-common, PVE/Mapping/PCI.pm, PVE/Mapping/USB.pm)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pvehooks.facts.reading import optional_of
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.values import MappingEntry, PciMapping, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.formats.propertystring import Newer
    from pvehooks.formats.sectionconfig import Problem, Section
    from pvehooks.values.usb import UsbMapping

PCI_MAPPINGS = "/etc/pve/mapping/pci.cfg"
USB_MAPPINGS = "/etc/pve/mapping/usb.cfg"
# What a mapping may be called (pve-configid), and the lines that end a section (PVE::SectionConfig).
_NAME = r"[a-zA-Z][a-zA-Z0-9_-]+"
_ENDS = ("", "0")


def read(host: Host, node: str) -> Mapping[str, PciMapping] | Unread:
    """The mappings by name, malformed ones too, each with its entries for the node in the order of the file; the file is optional."""
    raw = optional_of(host, PCI_MAPPINGS)
    if isinstance(raw, Unread):
        return raw
    if not raw:
        return {}
    from pvehooks.formats import sectionconfig

    config = sectionconfig.parse_mapping(raw, newer=declared(host, "pci"))
    found = {section.name: _mapping(section, node) for section in config.sections}
    for name, trouble in _troubles(raw, config.problems).items() if config.problems else ():
        found[name] = found.get(name, PciMapping(name, (), False, frozenset()))._replace(trouble=trouble)
    return found


def declared(host: Host, kind: str) -> Newer:
    """What entries of mappings of a kind may have on this node beyond our tables."""

    def has(name: str, value: str) -> bool:
        from pvehooks.facts.node import pveschema

        return pveschema.has_in_mapping(host, kind, name)

    return has


def _troubles(raw: bytes, problems: Iterable[Problem]) -> Mapping[str, str]:
    """The first line of each section that PVE does not take over, and why, by the section's name; its header only where no other line is at fault."""
    lines = raw.decode(errors="surrogateescape").split("\n")
    headers = _headers(lines)
    found: dict[str, str] = {}
    for problem in sorted(problems, reverse=True):
        header = headers[problem.line - 1]
        name = lines[header - 1].rstrip()
        if re.fullmatch(_NAME, name) and not (header == problem.line and name in found):
            found[name] = f"line {problem.line}: {problem.reason}"
    return found


def _headers(lines: Sequence[str]) -> list[int]:
    """For each line the number of the line that begins its section: the first one after an empty line that is no comment."""
    found = []
    first = 0
    for number, line in enumerate(lines, 1):
        found.append(first or number)
        if line in _ENDS:
            first = 0
        elif not first and not line.lstrip().startswith("#"):
            first = number
    return found


def _mapping(section: Section, node: str) -> PciMapping:
    entries = tuple(_entry(each) for each in section.maps if each.get("node") == node)
    nodes = frozenset(each["node"] for each in section.maps if "node" in each)
    migratable = propertystring.boolean(section.options.get("live-migration-capable", "0")) == 1
    written = tuple(",".join(f"{name}={value}" for name, value in each.items()) for each in section.maps)
    return PciMapping(section.name, entries, section.options.get("mdev") == "1", nodes, migratable, written=written)


def _entry(parts: Mapping[str, str]) -> MappingEntry:
    paths = tuple(parts.get("path", "").split(";"))
    return MappingEntry(paths, parts.get("id", ""), parts.get("subsystem-id", ""), parts.get("iommugroup", ""))


# -- USB devices (pve-guest-common, PVE/Mapping/USB.pm) ------------------------------------------------------------------


def read_usb(host: Host, node: str) -> Mapping[str, UsbMapping] | Unread:
    """The mappings by name, those without an entry for the node among them; the file is optional."""
    raw = optional_of(host, USB_MAPPINGS)
    if isinstance(raw, Unread):
        return raw
    if not raw:
        return {}
    from pvehooks.formats import sectionconfig
    from pvehooks.values.usb import UsbMapEntry, UsbMapping

    found = {}
    for section in sectionconfig.parse_mapping(raw, "usb", declared(host, "usb")).sections:
        own = tuple(UsbMapEntry(each.get("id", ""), each.get("path", "")) for each in section.maps if each.get("node") == node)
        found[section.name] = UsbMapping(section.name, own, frozenset(each["node"] for each in section.maps if "node" in each))
    return found
