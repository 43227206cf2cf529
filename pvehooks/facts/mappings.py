"""The PCI mappings of the cluster, as far as they concern a node: /etc/pve/mapping/pci.cfg (pve-guest-common, PVE/Mapping/PCI.pm)."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.host import Host
from pvehooks.text import propertystring
from pvehooks.values import MappingEntry, PciMapping, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.text.sectionconfig import Section

PCI_MAPPINGS = "/etc/pve/mapping/pci.cfg"


class Mappings:
    """The mappings, read when first asked for; one reading serves all guests."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self.node = node
        self._found: Mapping[str, PciMapping] | Unread | None = None

    def read(self) -> Mapping[str, PciMapping] | Unread:
        """The mappings by name; those without an entry for this node are among them."""
        if self._found is None:
            self._found = read(self._host, self.node)
        return self._found


def read(host: Host, node: str) -> Mapping[str, PciMapping] | Unread:
    """The mappings by name, each with its entries for the node in the order of the file; the file is optional."""
    try:
        raw = host.read(PCI_MAPPINGS)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return Unread(f"{PCI_MAPPINGS}: {error.strerror}")
    from pvehooks.text import sectionconfig

    return {section.name: _mapping(section, node) for section in sectionconfig.parse_mapping(raw).sections}


def _mapping(section: Section, node: str) -> PciMapping:
    entries = tuple(_entry(each) for each in section.maps if each.get("node") == node)
    nodes = frozenset(each["node"] for each in section.maps if "node" in each)
    migratable = propertystring.boolean(section.options.get("live-migration-capable", "0")) == 1
    return PciMapping(section.name, entries, section.options.get("mdev") == "1", nodes, migratable)


def _entry(parts: Mapping[str, str]) -> MappingEntry:
    paths = tuple(parts.get("path", "").split(";"))
    return MappingEntry(paths, parts.get("id", ""), parts.get("subsystem-id", ""), parts.get("iommugroup", ""))
