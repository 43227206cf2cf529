"""pvehooks mapping adopt: has a VM name its devices by mappings in place of addresses, so that other users and other nodes can start it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pvehooks.actions import transaction
from pvehooks.actions.transaction import Change
from pvehooks.actions.writer import writer
from pvehooks.cli import audit, guests
from pvehooks.cli.commands.mapping import add
from pvehooks.cli.commands.mapping.add import Mappable
from pvehooks.cli.guests import DONE, NOTHING, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.derived import remedies
from pvehooks.errors import Refused, UsageError
from pvehooks.values import Guest, HostPci, NamedTuple, Node, PciMapping, Unread

SUMMARY = "have a VM name its devices by mappings, so that high availability and users other than root can use it"
EXAMPLE = "pvehooks mapping adopt 100"


class _Adopted(NamedTuple):
    option: str
    value: str
    mapping: str
    # What the mapping is to have; None if it has it already.
    entries: tuple[str, ...] | None
    what: Mappable


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the action takes."""
    parser.add_argument("vmid", type=guests.vmid, metavar="VMID", help="the VM")
    parser.add_argument("--name", type=add.name, metavar="MAPPING", help="the mapping's name (default: vmVMID-OPTION; only for one device)")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only show what would be changed")


def run(options: argparse.Namespace) -> int:
    """Makes the mappings first, then writes the VM's options in one update."""
    seen = view(options, own=True)
    node = seen.facts()
    guest = seen.guest(options.vmid)
    return guests.finish(options, seen, guests.change(options, [guest], lambda each: _adopt(options, seen, node, each)))


def _adopt(options: argparse.Namespace, seen: View, node: Node, guest: Guest) -> GuestReport:
    entries = [each for each in guest.hostpci if not each.mapping]
    if not entries:
        return GuestReport(NOTHING, "no option of it names a device by its address")
    if options.name and len(entries) > 1:
        listed = ", ".join(each.option for each in entries)
        raise UsageError(
            f"--name is for one device, and {guest.label} has {listed}", hint=f"Without it: pvehooks mapping adopt {guest.vmid}"
        )
    try:
        adopted = list(_adopted(options, node, guest, entries))
    except Refused as refused:
        return GuestReport(REFUSED, f"nothing was changed: {refused.message}. {refused.hint}".rstrip())
    change = Change({each.option: each.value for each in adopted}, undo=_undo(guest, adopted))
    details = [*(f"{each.option}: {guest.options[each.option]} -> {each.value}" for each in adopted)]
    details += [f"mapping {each.mapping}: {each.entries[-1]}" for each in adopted if each.entries]
    if options.dry_run:
        return GuestReport(DONE, "it would name its devices by mappings", tuple(details))
    stop = transaction.write_refusal(guest, change.options)
    if stop is not None:
        return GuestReport(REFUSED, f"nothing was changed: {stop.words}.{guests.try_again(stop.outcome)}")
    for each in adopted:
        if each.entries is not None:
            add.write(seen, node, each.mapping, each.entries, add.known_mappings(seen.facts()).get(each.mapping), [each.what])
    result = transaction.apply(seen.host, guest, writer(seen.host, seen.settings.rng(guest.vmid)), change).verified()
    if not result.done:
        made = ", ".join(each.mapping for each in adopted if each.entries)
        return GuestReport(REFUSED, f"the VM was not changed: {result.words}; the mappings {made or 'were there'} stay")
    audit.log_guest(seen.host, guest, "mapping-changed", "; ".join(details))
    later = "; the VM is running, it takes effect at its next start" if result.later else ""
    use = f"Users need Mapping.Use on them: pveum acl modify /mapping/pci/{adopted[0].mapping} --users USER --roles PVEMappingUser"
    return GuestReport(DONE, f"it names its devices by mappings now{later}", (*details, use, f"Undo: {result.undo}"))


def _undo(guest: Guest, adopted: list[_Adopted]) -> str:
    words = " ".join(f"--{each.option} {remedies.for_shell(str(guest.options[each.option]))}" for each in adopted)
    return f"qm set {guest.vmid} {words}"


def _adopted(options: argparse.Namespace, node: Node, guest: Guest, entries: list[HostPci]) -> Iterator[_Adopted]:
    """What each option becomes; raises Refused, NodeError."""
    known = add.known_mappings(node)
    for entry in entries:
        if isinstance(entry.choices, Unread):
            raise Refused(f"{entry.option}: {entry.choices.why}")
        paths = entry.choices[0]
        what = add.mappable(paths, node)
        there = _mapping_of(paths, known, node)
        name = options.name or (there.name if there else f"vm{guest.vmid}-{entry.option}")
        mapping = known.get(name)
        new = add.with_entries(mapping, [what], node)
        if mapping is not None and mapping.entries and new != mapping.written:
            hint = "Name another one: --name NAME"
            raise Refused(f"{entry.option}: the mapping '{name}' has another device for {node.name}, which the VM could get", hint=hint)
        value = remedies.mapped(str(guest.options[entry.option]), name)
        yield _Adopted(entry.option, value, name, None if mapping is not None and new == mapping.written else new, what)


def _mapping_of(paths: tuple[str, ...], known: dict[str, PciMapping], node: Node) -> PciMapping | None:
    """A mapping whose only entry for this node these devices are."""
    for mapping in known.values():
        own = [tuple(path if path.count(":") > 1 else f"0000:{path}" for path in entry.paths) for entry in mapping.entries]
        if own == [paths] and not mapping.trouble:
            return mapping
    return None
