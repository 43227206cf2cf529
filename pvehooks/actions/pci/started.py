"""What the starts of guests took, noted by accept.note_start before anything is bound, until each guest's end was dealt with.

It lies below /run: after a boot all devices are with the drivers that the boot gave them.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType

from pvehooks.facts.pci.devices import STARTED
from pvehooks.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pvehooks.host import Host
    from pvehooks.settings.compiled import StartSettings
    from pvehooks.values import Guest, PciDevice

_LIMIT = 1 << 16
_VFIO = "vfio-pci"
_NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


class StartedDevice(NamedTuple):
    """A device that a start took."""

    address: str
    # "10de:2204": what it was then.
    ids: str
    # On what it was then, '' for no driver.
    driver: str
    # Attributes as facts.pci.devices.state gives them.
    state: Mapping[str, str]
    # The driver that it is given back to, '' for none: it stays with vfio-pci.
    back_to: str = ""
    # Why it stays although it was to be given back, as the end of a sentence.
    stays: str = ""
    # Attributes that the settings want otherwise: what each was, and what it is set to.
    undo: Mapping[str, Sequence[str]] = _NOTHING


class GuestStart(NamedTuple):
    """A guest's start: its name in messages, when (epoch seconds), and the devices by address."""

    vmid: int
    label: str
    when: float
    devices: Mapping[str, StartedDevice]


def path(vmid: int) -> str:
    """The file of a guest's start."""
    return f"{STARTED}/{vmid}"


def vmids(host: Host) -> list[int]:
    """The guests whose start is noted."""
    try:
        names = host.names(STARTED)
    except OSError:
        return []
    return [int(name) for name in names if re.fullmatch(r"[1-9][0-9]{2,8}", name, re.ASCII)]


def read(host: Host, vmid: int) -> GuestStart | None:
    """The note of a guest's start; None where there is none that can be read."""
    try:
        content = json.loads(host.read(path(vmid), limit=_LIMIT))
        devices = {address: StartedDevice(address, **each) for address, each in content["devices"].items()}
        return GuestStart(vmid, str(content["label"]), float(content["when"]), devices)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def keep(host: Host, start: GuestStart, addresses: Iterable[str]) -> None:
    """Leaves only these devices in the note, and removes it where none is left; the note of a later start stays. Raises OSError."""
    present = read(host, start.vmid)
    if present is not None and present.when != start.when:
        return
    left = {address: start.devices[address] for address in addresses}
    if not left:
        host.remove(path(start.vmid))
        return
    host.replace(path(start.vmid), written(start.label, start.when, left.values()), mode=0o600)


def written(label: str, when: float, devices: Iterable[StartedDevice]) -> bytes:
    """The content of a note."""
    each = {device.address: {key: value for key, value in _content(device).items() if key != "address"} for device in devices}
    return json.dumps({"label": label, "when": when, "devices": each}).encode()


def _content(device: StartedDevice) -> dict[str, object]:
    return {**device._asdict(), "undo": dict(device.undo)}


def apply_states(host: Host, vmid: int) -> tuple[str, ...]:
    """Sets what the note of the start says of attributes; returns sentences about what the kernel does not take."""
    from pvehooks.actions.pci import states

    start = read(host, vmid)
    devices = start.devices.values() if start is not None else ()
    return tuple(trouble for device in devices for trouble in states.apply(host, device.address, device.undo))


def with_return(
    host: Host, guest: Guest, devices: Iterable[StartedDevice], settings: StartSettings, bus: Mapping[str, PciDevice]
) -> tuple[list[StartedDevice], tuple[str, ...]]:
    """The devices with the driver that each is given back to, by the settings; and a sentence for each setting that is not used."""
    from pvehooks.actions.pci import device_settings, states

    serials = {address: known.serial for address, known in guest.accepted.devices.items()} if guest.accepted else {}
    own = device_settings.assign(host, settings.devices, bus, serials)
    troubles = own.troubles
    earlier = [start.devices for vmid in vmids(host) if (start := read(host, vmid)) is not None]
    found = []
    for device in devices:
        section = own.by_address.get(device.address)
        return_to = section.return_to if section else ""
        wanted = (section.after_stop if section else "") or ("return" if return_to else settings.guard.after_stop)
        if wanted == "return":
            device = _with_driver(device, return_to, _former(host, guest.vmid, device, earlier))
        if section is None or not section.d3cold:
            states.put_back(host, device.address)
        if section is not None:
            before = next((each[device.address].undo for each in earlier if device.address in each), states.kept(host, device.address))
            undo, more = states.changes(host, device.address, section, before)
            device = device._replace(undo=undo)
            troubles += more
        found.append(device)
    return found, troubles


def _former(host: Host, vmid: int, device: StartedDevice, earlier: list[Mapping[str, StartedDevice]]) -> str:
    """The driver of the node that had the device.

    Where vfio-pci has it now: the one that another start took it from and did not give back, or `pvehooks lend` for this guest.
    """
    if device.driver != _VFIO:
        # pci-stub has no use for a device, and takes it only by an override.
        return device.driver if device.driver != "pci-stub" else ""
    from pvehooks.facts.pci import bindings

    if bindings.lent_to(host, device.address) == vmid:
        return bindings.former(host, device.address) or ""
    notes = (each[device.address] for each in earlier if device.address in each)
    return next((note.back_to for note in notes if note.ids == device.ids and note.back_to), "")


def _with_driver(device: StartedDevice, named: str, former: str) -> StartedDevice:
    from pvehooks.derived import unbinding

    danger = "" if named else unbinding.risk_of(former)
    if danger:
        return device._replace(stays=f"the next start would have to take it from {former}, and {danger}")
    return device._replace(back_to=named or former)
