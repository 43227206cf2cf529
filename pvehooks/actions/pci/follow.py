"""Has VMs and mappings name their devices where they are now: by what a device is known again, through the one transaction, or through pvesh."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.actions import accept, transaction
from pvehooks.actions.pci import mappings, remember
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.derived import remedies
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Accepted, Guest, HostPci, NamedTuple, Node, PciDevice, PciMapping, Unread
from pvehooks.values.fingerprints import Fingerprint, Remembered, Whereabouts


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


def moves(devices: Remembered, prints: Fingerprints) -> tuple[Move, ...]:
    """The devices that are not where they were, found or not."""
    found = []
    for part, named in devices.items():
        for address, known in sorted(named.items()):
            where = remember.where_is(known, prints)
            if where.address != address:
                found.append(Move(part, address, known, where))
    return tuple(found)


def _objections(found: tuple[Move, ...], node: Node) -> list[str]:
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


def _never_seen(named: remember.Named, devices: Remembered) -> list[str]:
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


# -- VMs ----------------------------------------------------------------------------------------------------------------


def plan_guest(guest: Guest, devices: Remembered, prints: Fingerprints, node: Node) -> FollowPlan:
    """What the VM needs."""
    found = moves(devices, prints)
    objections = [*_never_seen(remember.named_by_guest(guest), devices), *_objections(found, node)]
    values: list[ChangedValue] = []
    for entry in guest.hostpci:
        own = {each.old: each.where.address for each in found if each.part == entry.option and each.where.address}
        if not own or entry.mapping:
            continue
        old = str(guest.options[entry.option])
        values.append(ChangedValue(entry.option, old, remedies.hostpci(old, own)))
        objections += _torn_apart(entry, own)
    by_args = [each for each in found if each.part == "args" and each.where.address]
    objections += [f"{each.old} is in its args, which pvehooks does not write: qm config {guest.vmid} shows them" for each in by_args]
    return FollowPlan(found, tuple(values), (*objections, *_named_twice(guest, values)))


def _torn_apart(entry: HostPci, own: Mapping[str, str]) -> list[str]:
    """Functions that were one slot, which the option names, and are in several slots now."""
    written = () if isinstance(entry.addresses, Unread) else entry.addresses
    for slot in (each for each in written if "." not in each):
        now = sorted({new.rpartition(".")[0] for old, new in own.items() if old.startswith(f"{slot}.")})
        if len(now) > 1:
            return [f"{entry.option}: the functions of {slot} are in several slots now: {', '.join(now)}"]
    return []


def _named_twice(guest: Guest, values: list[ChangedValue]) -> list[str]:
    """Addresses that two options of the VM would name."""
    new = {each.option: each.new for each in values}
    seen: dict[str, str] = {}
    for entry in guest.hostpci:
        value = new.get(entry.option, str(guest.options[entry.option]))
        for written in () if entry.mapping or entry.mdev else _addresses(value):
            other = next((option for address, option in seen.items() if _overlap(address, written)), "")
            if other and not {other, entry.option}.isdisjoint(new):
                return [f"{other} and {entry.option} would both name {written}"]
            seen[written] = entry.option
    return []


def _addresses(value: str) -> list[str]:
    """The addresses in a hostpciN, in full."""
    found: list[str] = []
    for part in value.split(","):
        key, equals, content = part.partition("=")
        if not equals or key == "host":
            found += [each if each.count(":") > 1 else f"0000:{each}" for each in (content if equals else key).split(";")]
    return found


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def write_guest(host: Host, guest: Guest, plan: FollowPlan, settings: RngSettings) -> Result:
    """Writes the options in one update, each other option kept; raises ActionFailed when something was written that is not as it should be.

    What was accepted of the devices is accepted where they are now. That is written before, and taken back if nothing else is written: who
    sees the new addresses and was killed in between would not know the old ones.
    """
    undo = " ".join(f"--{each.option} {remedies.for_shell(each.old)}" for each in plan.values)
    change = Change({each.option: each.new for each in plan.values}, undo=f"qm set {guest.vmid} {undo}")
    accepted = guest.accepted
    if accepted is not None and not _is_accepted(accepted, plan):
        accept.record_accepted(host, guest, _where_they_are(accepted, plan))
    result = transaction.apply(host, guest, writer(host, settings), change).verified()
    if accepted is not None and not result.done and result.outcome is not Outcome.GONE:
        accept.record_accepted(host, guest, accepted)
    return result


def _is_accepted(accepted: Accepted, plan: FollowPlan) -> bool:
    """Whether it was written by one that was killed before it wrote the options."""
    return all(accepted.hostpci.get(each.option, each.new) == each.new for each in plan.values)


def _where_they_are(accepted: Accepted, plan: FollowPlan) -> Accepted:
    new = {each.option: each.new for each in plan.values}
    at = {each.old: each.where.address for each in plan.moves if each.where.address}
    devices = {address: device for address, device in accepted.devices.items() if address not in at}
    devices |= {at[address]: device for address, device in accepted.devices.items() if address in at}
    members = frozenset(at.get(address, address) for address in accepted.members)
    hostpci = {option: new.get(option, value) for option, value in accepted.hostpci.items()}
    return accepted._replace(hostpci=hostpci, devices=devices, members=members)


# -- mappings -----------------------------------------------------------------------------------------------------------


def plan_mapping(mapping: PciMapping, devices: Remembered, prints: Fingerprints, node: Node) -> FollowPlan:
    """What the mapping needs: the addresses, ids and IOMMU groups of its entries for this node."""
    found = moves(devices, prints)
    objections = [*_never_seen(remember.named_by_mapping(mapping), devices), *_objections(found, node)]
    if mapping.trouble:
        objections.append(f"it is malformed in /etc/pve/mapping/pci.cfg: {mapping.trouble}")
    bus = {} if isinstance(node.pci, Unread) else node.pci
    now: dict[str, PciDevice] = {}
    for old in (each for addresses in remember.named_by_mapping(mapping).values() for each in addresses):
        first = old if "." in old else next(iter(sorted(each for each in devices.get(remember.MAP, {}) if each.startswith(f"{old}."))), "")
        moved = next((each.where.address for each in found if each.old == first), first)
        if moved in bus:
            now[old] = bus[moved]
    entries = remedies.mapping_entries(mapping, node, now)
    values = [ChangedValue("map", old, new) for old, new in zip(mapping.written, entries, strict=True) if old != new]
    if len(set(entries)) < len(set(mapping.written)):
        objections.append("two of its entries would be the same")
    return FollowPlan(found, tuple(values), tuple(objections))


def write_mapping(host: Host, node: Node, mapping: PciMapping, plan: FollowPlan) -> mappings.WrittenMapping:
    """Writes the mapping through pvesh, with its digest; raises ActionFailed."""
    new = {each.old: each.new for each in plan.values}
    return mappings.write(host, node.name, mapping.name, tuple(new.get(each, each) for each in mapping.written), mapping)
