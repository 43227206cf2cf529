"""The USB mappings of the cluster, as far as they concern a node: /etc/pve/mapping/usb.cfg (pve-guest-common, PVE/Mapping/USB.pm)."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.usb import UsbMapEntry, UsbMapping

USB_MAPPINGS = "/etc/pve/mapping/usb.cfg"


def read(host: Host, node: str) -> Mapping[str, UsbMapping] | Unread:
    """The mappings by name, those without an entry for the node among them; the file is optional."""
    try:
        raw = host.read(USB_MAPPINGS)
    except FileNotFoundError:
        return {}
    except OSError as error:
        return unread(USB_MAPPINGS, error)
    from pvehooks.text import sectionconfig

    found = {}
    for section in sectionconfig.parse_mapping(raw, "usb").sections:
        own = tuple(UsbMapEntry(each.get("id", ""), each.get("path", "")) for each in section.maps if each.get("node") == node)
        found[section.name] = UsbMapping(section.name, own, frozenset(each["node"] for each in section.maps if "node" in each))
    return found
