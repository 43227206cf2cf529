"""What `pvehooks follow` does with a mapping, and what with a VM alike: which devices have moved, and what keeps it from following them."""

from __future__ import annotations

from pvehooks.derived import meant, remedies
from pvehooks.values import NamedTuple, Node, PciDevice, PciMapping, Unread
from pvehooks.values.fingerprints import Fingerprint, Prints, Remembered, Whereabouts


class Move(NamedTuple):
    """A device that has another address than what names it says."""

    # What names it: hostpciN, "map" of a mapping, an interface.
    part: str
    old: str
    known: Fingerprint
    # Its new address, or why that is not known.
    where: Whereabouts


class ChangedValue(NamedTuple):
    """An option, or a mapping, that is to be written anew."""

    option: str
    old: str
    new: str


class FollowPlan(NamedTuple):
    """What a VM or a mapping needs; nothing is changed while there are objections."""

    moves: tuple[Move, ...]
    values: tuple[ChangedValue, ...]
    # Why not, whole phrases.
    objections: tuple[str, ...]


def moves(devices: Remembered, prints: Prints) -> tuple[Move, ...]:
    """The devices that are not where they were, found or not."""
    found = []
    for part, named in devices.items():
        for address, known in sorted(named.items()):
            where = meant.where_is(known, prints)
            if where.address != address:
                found.append(Move(part, address, known, where))
    return tuple(found)


def objections(found: tuple[Move, ...], node: Node) -> list[str]:
    """Why devices cannot be followed."""
    devices = {} if isinstance(node.pci, Unread) else node.pci
    answers = []
    for move in (each for each in found if not each.where.address):
        rivals = "".join(f"; {devices[each].label}" for each in move.where.rivals if each in devices)
        # Of a card whose first function is found, the others are where that is.
        if not _first_found(move, found):
            name = f"{move.old} ({move.known.words})" if move.known.words else move.old
            answers.append(f"{move.part}: {name}: {move.where.why}{rivals}")
    return answers


def never_seen(named: meant.Named, devices: Remembered) -> list[str]:
    """Addresses at which no device is, and none was since they are looked at."""
    return [
        f"{part}: {address} is not on the bus, and which device that was is not known"
        for part, addresses in named.items()
        for address in addresses
        if not any(each == address or each.startswith(f"{address}.") for each in devices.get(part, {}))
    ]


def _first_found(move: Move, found: tuple[Move, ...]) -> bool:
    slot = move.old.rpartition(".")[0]
    return any(
        each.part == move.part and each.where.address and each.old.rpartition(".")[0] == slot and each.old < move.old for each in found
    )


def mapping_plan(mapping: PciMapping, node: Node) -> FollowPlan | None:
    """What `pvehooks follow` would change of a mapping; None where it would change nothing, or is not known to know what is meant."""
    if isinstance(node.remembered, Unread):
        return None
    known, prints, named = node.remembered.of_mapping(mapping.name), node.remembered.prints, meant.named_by_mapping(mapping)
    if never_seen(named, known):
        return None
    # Without root no serial number is seen, and another device may seem to be the one that is meant.
    if any(each.serial and not alike.serial for each in known.get(meant.MAP, {}).values() for alike in prints.alike(each).values()):
        return None
    plan = plan_mapping(mapping, meant.kept(known, named, prints), prints, node)
    return plan if plan.values and not plan.objections else None


def mapping_remedy(plan: FollowPlan, mapping: PciMapping) -> str:
    """The command that does it, and the same by hand."""
    new = {each.old: each.new for each in plan.values}
    by_hand = remedies.setting_mapping(mapping.name, (new.get(each, each) for each in mapping.written))
    return f"pvehooks follow {mapping.name}; or by hand: {by_hand}"


def moved_to(plan: FollowPlan, address: str) -> str:
    """Where the device is now that was at an address, a slot for a slot; '' if it has not moved."""
    now = next((each.where.address for each in plan.moves if each.where.address and f"{each.old}.".startswith(f"{address}.")), "")
    return now if "." in address else now.rpartition(".")[0]


def plan_mapping(mapping: PciMapping, devices: Remembered, prints: Prints, node: Node) -> FollowPlan:
    """What the mapping needs: the addresses, ids and IOMMU groups of its entries for this node."""
    found = moves(devices, prints)
    against = [*never_seen(meant.named_by_mapping(mapping), devices), *objections(found, node)]
    if mapping.trouble:
        against.append(f"it is malformed in /etc/pve/mapping/pci.cfg: {mapping.trouble}")
    bus = {} if isinstance(node.pci, Unread) else node.pci
    now: dict[str, PciDevice] = {}
    for old in (each for addresses in meant.named_by_mapping(mapping).values() for each in addresses):
        first = old if "." in old else next(iter(sorted(each for each in devices.get(meant.MAP, {}) if each.startswith(f"{old}."))), "")
        moved = next((each.where.address for each in found if each.old == first), first)
        if moved in bus:
            now[old] = bus[moved]
    entries = remedies.mapping_entries(mapping, node, now)
    values = [ChangedValue("map", old, new) for old, new in zip(mapping.written, entries, strict=True) if old != new]
    if len(set(entries)) < len(set(mapping.written)):
        against.append("two of its entries would be the same")
    return FollowPlan(found, tuple(values), tuple(against))
