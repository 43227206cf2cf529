"""The node's IOMMU groups, with who uses what is in them."""

from __future__ import annotations

from pvehooks.derived.passthrough import devices_at, group_members, on_host_driver, pci_devices, uses
from pvehooks.values import Guest, NamedTuple, Node, PciDevice, Unread
from pvehooks.values.groups import Group, GroupMember, Naming


class Named(NamedTuple):
    """What a guest's config names and is on the bus, by address, and what is not there: (option, address)."""

    there: dict[str, tuple[str, ...]]
    absent: tuple[tuple[str, str], ...]


def groups(node: Node, only: frozenset[str] | None = None) -> tuple[Group, ...]:
    """The groups by number, what is in none at the end; of `only` these addresses those they are in."""
    devices = pci_devices(node)
    chosen: dict[str, list[PciDevice]] = {}
    for address in sorted(devices):
        chosen.setdefault(devices[address].group, []).append(devices[address])
    names = sorted(chosen, key=lambda name: (not name, int(name) if name.isdecimal() else 0, name))
    if only is not None:
        names = [name for name in names if any(device.address in only for device in chosen[name])]
        if "" in names:
            # Those in no group have nothing to do with each other.
            chosen[""] = [device for device in chosen[""] if device.address in only]
    naming, also = _naming(node), _also(node)
    return tuple(Group(name, tuple(_member(device, node, naming, also) for device in chosen[name])) for name in names)


def named(guest: Guest, node: Node) -> Named:
    """What the guest's config names, all alternatives of its mappings."""
    there: dict[str, tuple[str, ...]] = {}
    absent = []
    for entry in (*guest.hostpci, *guest.args_pci):
        for address in () if isinstance(entry.addresses, Unread) else entry.addresses:
            found = devices_at(address, node)
            if not found:
                absent.append((entry.option, address))
            for device in found:
                there[device.address] = (*there.get(device.address, ()), entry.option)
    return Named(there, tuple(absent))


def _naming(node: Node) -> dict[str, tuple[Naming, ...]]:
    """The guests by the addresses that they name; templates never start with them."""
    found: dict[str, tuple[Naming, ...]] = {}
    for guest in () if isinstance(node.guests, Unread) else node.guests:
        if guest.template or not any(option.startswith(("hostpci", "args")) for option in guest.options):
            continue
        for address, options in named(guest, node).there.items():
            found[address] = (*found.get(address, ()), Naming(guest.vmid, guest.label, ", ".join(options), guest.running))
    return found


def _also(node: Node) -> dict[str, tuple[int, ...]]:
    """The VMIDs by the addresses of what their starts take as well; for a device in `args` Proxmox VE takes nothing from the host."""
    found: dict[str, tuple[int, ...]] = {}
    for guest in () if isinstance(node.guests, Unread) else node.guests:
        if not guest.template and guest.hostpci:
            for each in group_members(guest, node):
                if not each.claim.entry.by_args:
                    found[each.device.address] = (*found.get(each.device.address, ()), guest.vmid)
    return found


def named_by_any(node: Node) -> frozenset[str]:
    """The addresses of the devices that guests name, and those that the mappings have for this node."""
    mappings = {} if isinstance(node.mappings, Unread) else node.mappings
    paths = [path for mapping in mappings.values() for entry in mapping.entries for path in entry.paths]
    mapped = (device for path in paths for device in devices_at(path if path.count(":") == 2 else f"0000:{path}", node))
    return frozenset((*_naming(node), *(device.address for device in mapped)))


def _member(device: PciDevice, node: Node, naming: dict[str, tuple[Naming, ...]], also: dict[str, tuple[int, ...]]) -> GroupMember:
    return member(device, node)._replace(named=naming.get(device.address, ()), also=also.get(device.address, ()))


def member(device: PciDevice, node: Node) -> GroupMember:
    """The device as a member of its group, without the guests that name it."""
    on_host = on_host_driver(device)
    if device.bridge:
        return GroupMember(device, on_host)
    holders = () if isinstance(node.holders, Unread) else node.holders.get(device.address, ())
    unread = (node.holders.why,) if isinstance(node.holders, Unread) else ()
    known = uses(device, node)
    # A device without a driver of the host has no disks, interfaces or nodes that could not be looked at.
    unknown = known.unread if on_host or device.virtfns else ()
    return GroupMember(device, on_host, holders, (), known.found, (*unread, *unknown))
