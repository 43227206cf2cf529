"""pvehooks follow: has VMs and mappings name their devices where they are now, after slots or addresses have changed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from pvehooks.actions.pci import follow, remember
from pvehooks.cli import audit, envelope, guests, moved_elsewhere
from pvehooks.cli.guests import DONE, NOTHING, REFUSED, GuestReport
from pvehooks.cli.view import View, view
from pvehooks.derived import following, remedies
from pvehooks.derived.following import FollowPlan
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, ActionFailed, NodeError, UsageError
from pvehooks.facts.pci import remembered
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.values import Guest, NamedTuple, Node, PciMapping, Unread
from pvehooks.values.fingerprints import Remembered
from pvehooks.wording import printable

SUMMARY = "have VMs and mappings name their devices where they are now"
EXAMPLE = "pvehooks follow --all --dry-run"


class _Report(NamedTuple):
    """The result for a VM or a mapping."""

    # "VM 100 (web)", "mapping gpu".
    label: str
    vmid: int | None
    mapping: str | None
    report: GuestReport


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("what", nargs="*", metavar="VMID|MAPPING", help="these VMs and PCI mappings")
    parser.add_argument("--all", action="store_true", help="all VMs of this node, and all mappings that have a device for it")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only show what would be changed")
    parser.add_argument("--note", action="store_true", help="only remember which devices are meant, as the system does at boot")


def run(options: argparse.Namespace) -> int:
    """Changes one after the other; the status shows whether one was refused or failed."""
    if bool(options.what) == bool(options.all):
        raise UsageError("name VMs by their VMIDs and mappings by their names, or give --all", hint=f"Example: {EXAMPLE}")
    # What is remembered does not depend on the settings.
    seen = view(options, own=True, freeing=options.note)
    node = seen.facts()
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {node.name} cannot be read: {node.pci.why}")
    _require_readable(seen)
    prints = Fingerprints(seen.host, node.pci)
    vmids, names = _chosen(options, seen, node)
    with seen.host.undisturbed():
        reports = [*_guests(options, seen, node, prints, vmids), *_mappings(options, seen, node, prints, names)]
        related = () if options.note else tuple(moved_elsewhere.find(seen.host, node, prints))
        if not options.dry_run:
            remember.store(seen.host, remember.of_network(seen.host, prints))
            if options.all:
                _forget_others(seen, vmids, names)
    if options.note:
        return EXIT_OK
    _show(options, seen, reports, related)
    return EXIT_BLOCKED if any(each.report.result == REFUSED for each in reports) else EXIT_OK


def _require_readable(seen: View) -> None:
    """Raises NodeError for a user who may not read what is remembered."""
    try:
        seen.host.names(remembered.DIRECTORY)
    except PermissionError as error:
        raise NodeError(f"{remembered.DIRECTORY}: {error.strerror}", hint="Run it as root.") from error
    except OSError:
        return


def _chosen(options: argparse.Namespace, seen: View, node: Node) -> tuple[list[int], list[str]]:
    """The VMs and the mappings; raises GuestNotHere, NodeError, UsageError."""
    if isinstance(node.mappings, Unread):
        raise NodeError(f"the PCI mappings cannot be read: {node.mappings.why}")
    here = [name for name, mapping in node.mappings.items() if node.name in mapping.nodes]
    if options.all:
        return seen.guest_ids([]), sorted(here)
    names = [each for each in options.what if not each.isdecimal()]
    for name in names:
        if name not in here:
            hint = f"Mappings for this node: {', '.join(sorted(here)) or 'none'}"
            raise UsageError(f"there is no PCI mapping '{printable(name)}' with a device on {node.name}", hint=hint)
    try:
        vmids = [guests.vmid(each) for each in options.what if each.isdecimal()]
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error), hint=f"Example: {EXAMPLE}") from error
    return seen.guest_ids(vmids) if vmids else [], list(dict.fromkeys(names))


def _forget_others(seen: View, vmids: list[int], names: list[str]) -> None:
    """Forgets the devices of VMs and mappings that are not here any more."""
    here = {remembered.NETWORK, *map(remembered.of_guest, vmids), *map(remembered.of_mapping, names)}
    for owner in remembered.owners(seen.host):
        if owner not in here:
            remember.forget(seen.host, owner)


# -- VMs ----------------------------------------------------------------------------------------------------------------


def _guests(options: argparse.Namespace, seen: View, node: Node, prints: Fingerprints, vmids: list[int]) -> Iterator[_Report]:
    for guest in seen.guests(vmids):
        named = remember.named_by_guest(guest)
        if not named and options.all:
            if not options.dry_run:
                remember.forget(seen.host, remembered.of_guest(guest.vmid))
            continue
        known = remember.of_guest(seen.host, guest, prints)
        if not options.dry_run:
            remember.store(seen.host, known)
        if options.note:
            continue
        try:
            report = _guest(options, seen, node, prints, guest, known.now.devices)
        except ActionFailed as failed:
            report = GuestReport(REFUSED, f"{failed.message}. {failed.hint}".rstrip())
        if report is not None:
            yield _Report(guest.label, guest.vmid, None, report)


def _guest(
    options: argparse.Namespace, seen: View, node: Node, prints: Fingerprints, guest: Guest, devices: Remembered
) -> GuestReport | None:
    plan = follow.plan_guest(guest, devices, prints, node)
    if not (plan.values or plan.objections):
        return None if options.all else GuestReport(NOTHING, "its devices are where it names them")
    details = (*_lines(plan, node), *_others(guest, plan, node))
    if plan.objections:
        return _report(plan, REFUSED, f"nothing was changed: {'; '.join(plan.objections)}", details)
    if options.dry_run:
        return _report(plan, DONE, f"it would name its devices where they are now: {_count(plan)}", (*details, _command(guest, plan)))
    result = follow.write_guest(seen.host, guest, plan, seen.settings.rng(guest.vmid))
    if not result.done:
        return _report(plan, REFUSED, f"nothing was changed: {result.words}.{guests.try_again(result.outcome)}", details)
    audit.log_guest(seen.host, guest, "device-followed", "; ".join(_lines(plan, node)))
    now = seen.guest(guest.vmid)
    remember.store(seen.host, remember.of_guest(seen.host, now, prints))
    later = "; the VM is running, it takes effect at its next start" if result.later else ""
    kept = f"backup: {result.backup}"
    return _report(plan, DONE, f"it names its devices where they are now: {_count(plan)}{later}", (*details, kept, f"Undo: {result.undo}"))


def _others(guest: Guest, plan: FollowPlan, node: Node) -> Iterator[str]:
    """Other VMs that name the new addresses."""
    at = {each.where.address: each.part for each in plan.moves if each.where.address}
    for other in () if isinstance(node.guests, Unread) else node.guests:
        if other.vmid == guest.vmid or other.template:
            continue
        for entry in other.hostpci:
            written = () if entry.mapping or isinstance(entry.addresses, Unread) else entry.addresses
            same = next((new for new in at for each in written if new == each or new.startswith(f"{each}.")), "")
            if same:
                yield f"attention: {entry.option} of {other.label} names {same} as well; if that moved, too: pvehooks follow {other.vmid}"


def _command(guest: Guest, plan: FollowPlan) -> str:
    words = " ".join(f"--{each.option} {remedies.for_shell(each.new)}" for each in plan.values)
    return f"the same by hand: qm set {guest.vmid} {words}"


# -- mappings -----------------------------------------------------------------------------------------------------------


def _mappings(options: argparse.Namespace, seen: View, node: Node, prints: Fingerprints, names: list[str]) -> Iterator[_Report]:
    known_mappings = {} if isinstance(node.mappings, Unread) else node.mappings
    for name in names:
        mapping = known_mappings[name]
        known = remember.of_mapping(seen.host, mapping, prints)
        if not options.dry_run:
            remember.store(seen.host, known)
        if options.note:
            continue
        try:
            report = _mapping(options, seen, node, prints, mapping, known.now.devices)
        except ActionFailed as failed:
            report = GuestReport(REFUSED, f"{failed.message}. {failed.hint}".rstrip())
        if report is not None:
            yield _Report(f"mapping {name}", None, name, report)


def _mapping(
    options: argparse.Namespace, seen: View, node: Node, prints: Fingerprints, mapping: PciMapping, devices: Remembered
) -> GuestReport | None:
    plan = following.plan_mapping(mapping, devices, prints, node)
    if not plan.values and not plan.objections:
        return None if options.all else GuestReport(NOTHING, "its devices are where it names them")
    details = tuple(_lines(plan, node))
    if plan.objections:
        return _report(plan, REFUSED, f"nothing was changed: {'; '.join(plan.objections)}", details)
    if options.dry_run:
        return _report(plan, DONE, f"it would name its devices where and as they are now: {_count(plan)}", details)
    written = follow.write_mapping(seen.host, node, mapping, plan)
    audit.log(seen.host, seen.node, "device-followed", f"mapping {mapping.name}: {'; '.join(_lines(plan, node))}")
    fresh = seen.facts().mappings
    now = mapping if isinstance(fresh, Unread) else fresh.get(mapping.name, mapping)
    remember.store(seen.host, remember.of_mapping(seen.host, now, prints))
    kept = f"backup: {written.backup}"
    return _report(plan, DONE, f"it names its devices where and as they are now: {_count(plan)}", (*details, kept, f"Undo: {written.undo}"))


# -- what is shown --------------------------------------------------------------------------------------------------------


def _lines(plan: FollowPlan, node: Node) -> Iterator[str]:
    devices = {} if isinstance(node.pci, Unread) else node.pci
    for move in plan.moves:
        if move.where.address:
            label = devices[move.where.address].label if move.where.address in devices else move.where.address
            yield f"{move.part}: {move.old} is at {label} now ({move.where.why})"
    for value in plan.values:
        yield f"{value.option}: {value.old} -> {value.new}"


def _count(plan: FollowPlan) -> str:
    return ", ".join(dict.fromkeys(each.option for each in plan.values))


def _report(plan: FollowPlan, result: str, words: str, details: tuple[str, ...]) -> GuestReport:
    more = {
        "moved": tuple(f"{each.part} {each.old} {each.where.address}" for each in plan.moves if each.where.address),
        "values": tuple(f"{each.option}: {each.old} -> {each.new}" for each in plan.values),
        "objections": plan.objections,
    }
    return GuestReport(result, words, details, more)


def _show(options: argparse.Namespace, seen: View, reports: list[_Report], related: tuple[moved_elsewhere.Related, ...]) -> None:
    if options.json:
        found = [guests.as_json(each.vmid or 0, each.report) | {"vmid": each.vmid, "mapping": each.mapping} for each in reports]
        # "changed" is deprecated.
        envelope.show(seen.host, seen.node, {"results": found, "related": [each._asdict() for each in related], "changed": found})
        return
    for each in reports:
        print(printable(f"{each.label}: {each.report.words}"))
        for line in each.report.details:
            print(printable(f"  {line}"))
    if not reports:
        print("every VM and mapping names its devices where they are")
    for other in related:
        print(printable(f"{other.place}: {other.words}"))
        print(printable(f"  {other.command}"))
