"""Records what a guest starts with: its accepted devices and group members, and an admin's override for the next start."""

from __future__ import annotations

import json

from pvehooks.derived import passthrough
from pvehooks.facts.pci import devices as pci
from pvehooks.records import guests as records
from pvehooks.values import Accepted, KnownDevice, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pvehooks.host import Host
    from pvehooks.settings.compiled import StartSettings
    from pvehooks.values import Allowance, Guest, Node, PciDevice


class Acceptance(NamedTuple):
    """The new record of accepted devices, and what changes in it as phrases for a message, () for nothing."""

    accepted: Accepted
    words: tuple[str, ...]


def would_start_with(guest: Guest, node: Node) -> Accepted:
    """What the guest would start with now: its hostpci lines, its devices, and the other members of their groups except bridges."""
    own = passthrough.named(guest, node)
    members = {each.device.address: each.device for each in passthrough.group_members(guest, node)}
    hostpci = {entry.option: str(guest.options[entry.option]) for entry in guest.hostpci}
    whole = {device.address for claim in passthrough.claims(guest, node) for device in claim.whole}
    known = {address: _known(device) for address, device in {**own, **members}.items()}
    return Accepted(hostpci, known, frozenset(whole | members.keys()))


def _known(device: PciDevice) -> KnownDevice:
    serial = device.serial
    return KnownDevice(device.vendor, device.device, device.class_code, serial if serial.isprintable() else "")


def remembering(new: Accepted, old: Accepted | None) -> Accepted:
    """`new`, completed from `old` with what cannot be read now of the same devices (the serial number of a bound disk)."""
    if old is None:
        return new
    devices = {}
    for address, now in new.devices.items():
        before = old.devices.get(address, now)
        if now.vendor < 0:
            devices[address] = before
        elif (before.vendor, before.device) == (now.vendor, now.device):
            devices[address] = now._replace(serial=now.serial or before.serial)
        else:
            devices[address] = now
    return new._replace(devices=devices, kernel=new.kernel or old.kernel)


def on_kernel(host: Host, accepted: Accepted) -> Accepted:
    """The accepted start with the kernel that runs now; unchanged where that cannot be read."""
    try:
        release = host.read_text("/proc/sys/kernel/osrelease")
    except OSError:
        return accepted
    return accepted._replace(kernel=release if release.isprintable() and len(release) < 65 else "")


def change(guest: Guest, node: Node) -> Acceptance:
    """What accepting the present devices would record, and what is new in it."""
    old = guest.accepted
    new = remembering(would_start_with(guest, node), old)
    if new == old:
        return Acceptance(new, ())
    words = []
    before: Mapping[str, KnownDevice] = old.devices if old else {}
    for address, device in new.devices.items():
        if before.get(address) != device:
            which = "" if address in passthrough.named(guest, node) else ", which shares a group with them"
            words.append(f"{_label(address, node)}{which}")
    gone = sorted(before.keys() - new.devices.keys())
    words.extend(f"{address} is no longer one of them" for address in gone)
    return Acceptance(new, tuple(words) or ("the hostpci lines as they are now",))


def _label(address: str, node: Node) -> str:
    device = passthrough.pci_devices(node).get(address)
    return device.label if device else address


def note_start(host: Host, guest: Guest, node: Node, settings: StartSettings) -> tuple[str, ...]:
    """Notes what the start takes, and as what, for its end; returns a sentence for each setting that is not used. Raises OSError."""
    devices = [device for _, device in passthrough.taken(guest, node)] + [each.device for each in passthrough.group_members(guest, node)]
    noted: list[dict[str, Any]] = [
        {
            "address": device.address,
            "ids": f"{device.vendor:04x}:{device.device:04x}",
            "driver": device.driver,
            "state": pci.state(host, device.address) | ({"physfn": device.physfn} if device.physfn else {}),
        }
        for device in devices
    ]
    troubles: tuple[str, ...] = ()
    if settings.devices or settings.guard.after_stop == "return":
        from pvehooks.actions.pci import started

        as_noted = [started.StartedDevice(**each) for each in noted]
        to_return, troubles = started.with_return(host, guest, as_noted, settings, passthrough.pci_devices(node))
        noted = [{**each._asdict(), "undo": dict(each.undo)} for each in to_return]
    content = {"label": guest.label, "when": host.now(), "devices": {each.pop("address"): each for each in noted}}
    path = f"{pci.STARTED}/{guest.vmid}"
    try:
        host.replace(path, json.dumps(content).encode(), mode=0o600)
    except FileNotFoundError:
        host.make_dir(pci.STARTED, mode=0o700)
        host.replace(path, json.dumps(content).encode(), mode=0o600)
    return troubles


def record_accepted(host: Host, guest: Guest, accepted: Accepted | None) -> bool:
    """Writes what was accepted to the guest's record, None removes it; returns whether the record changed.

    Raises PmxcfsAway.
    """
    return records.update(host, guest.vmid, identity(guest), lambda record: record.with_accepted(guest.node, accepted))


def record_real_start(host: Host, guest: Guest, accepted: Accepted | None, wait: float) -> bool:
    """Records a real start: what was accepted (None leaves that unchanged), and that the override is used up.

    Raises PmxcfsAway.
    """

    def change(record: records.Record) -> records.Record:
        return (record.with_accepted(guest.node, accepted) if accepted else record)._replace(allowance=None)

    return records.update(host, guest.vmid, identity(guest), change, wait)


def use_up(host: Host, guest: Guest, wait: float) -> bool:
    """Removes the override for one start; raises PmxcfsAway, and NodeError if it is gone."""
    return records.update(host, guest.vmid, identity(guest), records.Record.with_override_used_up, wait)


def allow(host: Host, guest: Guest, allowance: Allowance | None) -> bool:
    """Records an override for the guest's next start, None removes it; raises PmxcfsAway."""
    return records.update(host, guest.vmid, identity(guest), lambda record: record._replace(allowance=allowance))


def identity(guest: Guest) -> records.Identity:
    """What distinguishes the guest from another one of the same VMID."""
    return records.Identity(guest.uuid, guest.ctime)
