"""Where the devices of a VM's last accepted start are now."""

from __future__ import annotations

from pvehooks.derived.passthrough import devices_at, pci_devices
from pvehooks.values import Guest, HostPci, KnownDevice, Node, PciDevice, Unread


def now_at(address: str, guest: Guest, node: Node) -> str:
    """Where the device is that was at the address, a slot for a slot; '' if unknown."""
    known = guest.accepted.devices if guest.accepted else {}
    for name, was in known.items():
        if name != address and not name.startswith(f"{address}."):
            continue
        now = [each for each in pci_devices(node).values() if _is(each, was) and each.address not in known]
        if len(now) == 1:
            return now[0].address if name == address else now[0].slot
    return ""


def _is(device: PciDevice, was: KnownDevice) -> bool:
    return (device.vendor, device.device) == (was.vendor, was.device) and not was.has_other_disks(device)


def moved(address: str, guest: Guest, node: Node) -> str:
    """Where the device is now, as the end of a sentence; '' if unknown."""
    now = now_at(address, guest, node)
    return f"; the device that was there is at {now} now" if now else ""


def following(guest: Guest, node: Node) -> str:
    """The command that has the VM name all its devices where they are now, and words before another one; '' where it would not do it.

    It knows each by more than is seen here, and changes nothing where one of them is not found (actions/pci/follow.py).
    """
    accepted = guest.accepted.hostpci if guest.accepted else {}
    own = [entry for entry in guest.hostpci if not entry.mapping]
    is_done = all(accepted.get(entry.option) == guest.options.get(entry.option) and _is_found(entry, guest, node) for entry in own)
    return f"pvehooks follow {guest.vmid}; or by hand: " if is_done else ""


def _is_found(entry: HostPci, guest: Guest, node: Node) -> bool:
    """Whether each device of the option is where that says, or known to be elsewhere."""
    addresses = () if isinstance(entry.addresses, Unread) else entry.addresses
    return all(_is_as_accepted(address, guest, node) or now_at(address, guest, node) for address in addresses)


def _is_as_accepted(address: str, guest: Guest, node: Node) -> bool:
    known = guest.accepted.devices if guest.accepted else {}
    there = devices_at(address, node)
    return bool(there) and not any(known[device.address].change(device) for device in there if device.address in known)
