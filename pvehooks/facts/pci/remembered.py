"""Which devices VMs, mappings and the network's configuration meant when their addresses were first seen: a file for each of them on the node.

Addresses are the node's own, so this does not follow a VM to another node.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.facts.reading import content_of, names_in
from pvehooks.host import Host
from pvehooks.values import NamedTuple, PciDevice, Unread
from pvehooks.values.base import cached_property
from pvehooks.values.fingerprints import Fingerprint, Remembered

DIRECTORY = "/var/lib/pvehooks/devices"
NETWORK = "network"
_OWNER = re.compile(r"(vm-[1-9][0-9]{2,8}|mapping-[A-Za-z][A-Za-z0-9_-]+|network)\.json", re.ASCII)
_LIMIT = 1 << 18
_TEXTS = ("place", "serial", "disks", "mac", "words")
_NOTHING: Remembered = MappingProxyType({})


class OwnersDevices(NamedTuple):
    """What is remembered of an owner: a VM, a mapping, or the network's configuration."""

    # Of a VM: smbios1's uuid and meta's ctime; another VM of the same VMID has others.
    uuid: str | None = None
    ctime: int | None = None
    devices: Remembered = _NOTHING


def of_guest(vmid: int) -> str:
    """The owner that a VM is."""
    return f"vm-{vmid}"


def of_mapping(name: str) -> str:
    """The owner that a mapping is."""
    return f"mapping-{name}"


def path(owner: str) -> str:
    """The file about an owner."""
    return f"{DIRECTORY}/{owner}.json"


def owners(host: Host) -> list[str]:
    """Those with a file."""
    return [match[1] for name in names_in(host, DIRECTORY) if (match := _OWNER.fullmatch(name))]


def read(host: Host, owner: str) -> OwnersDevices:
    """What is remembered; nothing where there is no file, or one that cannot be used."""
    content = content_of(host, path(owner), _LIMIT)
    if isinstance(content, Unread):
        return OwnersDevices()
    try:
        document = json.loads(content)
        devices = {part: {address: _fingerprint(value) for address, value in named.items()} for part, named in document["devices"].items()}
        uuid, ctime = document.get("uuid"), document.get("ctime")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return OwnersDevices()
    return OwnersDevices(uuid if isinstance(uuid, str) else None, ctime if isinstance(ctime, int) else None, devices)


def _fingerprint(value: Mapping[str, object]) -> Fingerprint:
    """Raises ValueError, KeyError or TypeError for what was not written by written()."""
    vendor, device = _ids(value["id"])
    texts = {name: str(value[name]) for name in _TEXTS if name in value}
    twins = value.get("twins", [])
    function, vf = value.get("function", 0), value.get("vf")
    if not isinstance(function, int) or not isinstance(twins, list) or not (vf is None or isinstance(vf, int)):
        raise TypeError
    subsystem = _ids(value["subsystem"]) if "subsystem" in value else None
    return Fingerprint(vendor, device, subsystem, function, twins=frozenset(map(str, twins)), vf=vf, **texts)


def _ids(text: object) -> tuple[int, int]:
    vendor, _, device = str(text).partition(":")
    return int(vendor, 16), int(device, 16)


def written(remembered: OwnersDevices) -> bytes:
    """The content of an owner's file; the addresses in the order in which they are named."""
    devices = {part: {address: _as_json(each) for address, each in named.items()} for part, named in sorted(remembered.devices.items())}
    return json.dumps({"uuid": remembered.uuid, "ctime": remembered.ctime, "devices": devices}).encode() + b"\n"


def _as_json(known: Fingerprint) -> dict[str, object]:
    value: dict[str, object] = {name: text for name in _TEXTS if (text := getattr(known, name))}
    value["id"] = f"{known.vendor:04x}:{known.device:04x}"
    if known.subsystem:
        value["subsystem"] = "{:04x}:{:04x}".format(*known.subsystem)
    if known.function:
        value["function"] = known.function
    if known.twins:
        value["twins"] = sorted(known.twins)
    if known.vf is not None:
        value["vf"] = known.vf
    return value


class RememberedOnNode:
    """What is remembered of this node's mappings; read when it is asked for, and nothing without root."""

    def __init__(self, host: Host, devices: Mapping[str, PciDevice]) -> None:
        self._host = host
        self._devices = devices

    @cached_property
    def prints(self) -> Fingerprints:
        """By what the node's devices are known again."""
        return Fingerprints(self._host, self._devices)

    def of_mapping(self, name: str) -> Remembered:
        """The devices that a mapping meant on this node."""
        return read(self._host, of_mapping(name)).devices
