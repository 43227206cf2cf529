"""Which section [device ...] of the settings is about which device of the node: by address, by slot, by serial number, by ids."""

from __future__ import annotations

from pvehooks.facts.pci import identity
from pvehooks.settings.compiled import DeviceSettings
from pvehooks.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pvehooks.host import Host
    from pvehooks.values import PciDevice


class SettingsByDevice(NamedTuple):
    """What is set of each device, by its address, and a sentence for each section that is not used."""

    by_address: Mapping[str, DeviceSettings]
    troubles: tuple[str, ...]


def assign(host: Host, sections: Iterable[DeviceSettings], bus: Mapping[str, PciDevice], serials: Mapping[str, str]) -> SettingsByDevice:
    """The settings of the devices on the bus; `serials` are those of disks whose driver does not show them now, by address.

    Of several sections about a device each option comes from the most precise one that sets it.
    """
    found: dict[str, DeviceSettings] = {}
    troubles = []
    for section in sorted(sections, key=_precision):
        there = [address for address, device in bus.items() if _is_about(host, section.selector, device, serials.get(address, ""))]
        if len(there) > 1 and not _is_address(section.selector):
            troubles.append(
                f"[device {section.selector}] is about {len(there)} devices ({', '.join(there)}) and is not used. Name one: [device {there[0]}]"
            )
            continue
        for address in there:
            before = found.get(address)
            found[address] = section if before is None else _completed(before, section)
    return SettingsByDevice(found, tuple(troubles))


def _precision(section: DeviceSettings) -> int:
    """The most precise ones first: function, serial number, slot, ids."""
    if _is_address(section.selector):
        return 0 if "." in section.selector else 2
    return 1 if " " in section.selector else 3


def _is_address(selector: str) -> bool:
    return selector.count(":") == 2


def _is_about(host: Host, selector: str, device: PciDevice, known_serial: str) -> bool:
    if _is_address(selector):
        return device.address == selector or device.slot == selector
    ids, _, serial = selector.partition(" serial ")
    if ids != f"{device.vendor:04x}:{device.device:04x}":
        return False
    if not serial:
        return True
    own = (*(device.serial or known_serial).split(","), identity.of(host, device).serial)
    return serial.lower() in (each.lower() for each in own)


def _completed(precise: DeviceSettings, other: DeviceSettings) -> DeviceSettings:
    return DeviceSettings._make(mine or theirs for mine, theirs in zip(precise, other, strict=True))
