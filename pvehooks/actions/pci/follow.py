"""Has VMs and mappings name their devices where they are now: by what a device is known again, through the one transaction, or through pvesh."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.actions import accept, transaction
from pvehooks.actions.pci import mappings, remember
from pvehooks.actions.result import Outcome, Result
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.derived import following, remedies
from pvehooks.derived.following import ChangedValue, FollowPlan
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.host import Host
from pvehooks.settings.sections import RngSettings
from pvehooks.values import Accepted, Guest, HostPci, Node, PciMapping, Unread
from pvehooks.values.fingerprints import Remembered

# -- VMs ----------------------------------------------------------------------------------------------------------------


def plan_guest(guest: Guest, devices: Remembered, prints: Fingerprints, node: Node) -> FollowPlan:
    """What the VM needs."""
    found = following.moves(devices, prints)
    objections = [*following.never_seen(remember.named_by_guest(guest), devices), *following.objections(found, node)]
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


def write_mapping(host: Host, node: Node, mapping: PciMapping, plan: FollowPlan) -> mappings.WrittenMapping:
    """Writes the mapping through pvesh, with its digest; raises ActionFailed."""
    new = {each.old: each.new for each in plan.values}
    return mappings.write(host, node.name, mapping.name, tuple(new.get(each, each) for each in mapping.written), mapping)
