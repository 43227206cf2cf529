"""pvehooks devices: a line for each PCI device: where it is now, whose it is meant to be, how it does, its last start and its last trouble."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping

from pvehooks.actions.pci import device_settings, started
from pvehooks.cli import devices as shared
from pvehooks.cli import envelope, last_starts, terminal
from pvehooks.cli.view import View, view
from pvehooks.derived import groups, health
from pvehooks.errors import EXIT_OK, NodeError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.node import tasks as task_facts
from pvehooks.facts.pci import bindings
from pvehooks.facts.pci import devices as pci_facts
from pvehooks.host import CommandTrouble, Host
from pvehooks.settings.compiled import DeviceSettings
from pvehooks.values import NamedTuple, Node, PciDevice, Unread
from pvehooks.values.groups import GroupMember
from pvehooks.values.pci import does_work
from pvehooks.values.tasks import Task
from pvehooks.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUMMARY = "show where each PCI device is, whose it is, and how it does"
EXAMPLE = "pvehooks devices"
_TROUBLES = ("device-dead", "device-degraded", "device-not-returned", "device-not-bound")
_JOURNAL_SECONDS, _MOST_ENTRIES = 20.0, 500


class DeviceLine(NamedTuple):
    """What is shown of a device."""

    device: PciDevice
    where: str
    meant_for: str
    condition: str
    vmids: tuple[int, ...]
    after_stop: str
    last_start: Task | None
    # Epoch seconds and message, (0, '') for none.
    trouble: tuple[int, str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "address",
        nargs="*",
        type=shared.address,
        metavar="ADDRESS",
        help="only these devices; without one all that work for a VM or the node",
    )


def run(options: argparse.Namespace) -> int:
    """Prints a line for each device."""
    seen = view(options).once()
    node = seen.facts()
    if isinstance(node.pci, Unread):
        raise NodeError(f"the PCI devices of {seen.node} cannot be read: {node.pci.why}")
    wanted = {device.address for device in shared.named(options.address, node)} if options.address else None
    settings = device_settings.assign(seen.host, seen.settings.devices, node.pci, {})
    for trouble in settings.troubles:
        print(f"pvehooks: {printable(trouble)}", file=sys.stderr)
    shown = list(_lines(seen, node, settings.by_address, wanted))
    if options.json:
        envelope.show(seen.host, seen.node, {"devices": [_as_json(line) for line in shown]})
    else:
        rows = [(line.device.label, line.where, line.meant_for, line.condition, _start(line), _trouble(line)) for line in shown]
        terminal.table(("device", "now", "meant for", "condition", "last start", "last trouble"), rows)
    return EXIT_OK


def _lines(seen: View, node: Node, sections: Mapping[str, DeviceSettings], wanted: set[str] | None) -> Iterator[DeviceLine]:
    is_own = not node_facts.is_another(seen.host, seen.node)
    tasks = task_facts.ended(seen.host) if is_own else ()
    troubles = _journal(seen.host) if is_own else {}
    noted = bindings.all_noted(seen.host)
    members = {member.device.address: member for group in groups.groups(node) for member in group.members}
    for address in sorted(members):
        member = members[address]
        if address in wanted if wanted is not None else _is_of_interest(member):
            vmids = tuple(dict.fromkeys(naming.vmid for naming in member.named))
            after = _after_stop(seen, sections.get(address), vmids)
            starts = [] if isinstance(tasks, Unread) else [start for vmid in vmids if (start := task_facts.last_start(tasks, vmid))]
            yield DeviceLine(
                member.device,
                " and ".join(_where(member)),
                _meant_for(noted.get(address), member, after),
                _condition(seen.host, member.device, [each.vmid for each in member.holders]),
                vmids,
                after,
                max(starts, key=lambda start: start.ended) if starts else None,
                troubles.get(address, (0, "")),
            )


def _is_of_interest(member: GroupMember) -> bool:
    device = member.device
    return not device.bridge and (does_work(device.class_code) or device.vfio or bool(member.named or member.holders)) and not member.board


def _where(member: GroupMember) -> list[str]:
    if member.holders:
        return [f"{each.label}, {each.state}" for each in member.holders]
    driver = member.device.driver or "no driver"
    return [f"{driver}, {member.use.sentence}" if member.use else driver]


def _meant_for(noted: bindings.BootBinding | Unread | None, member: GroupMember, after: str) -> str:
    if not member.named:
        return f"{noted.purpose} at boot" if isinstance(noted, bindings.BootBinding) else "the node"
    guests = " or ".join(dict.fromkeys(naming.label for naming in member.named))
    return f"{guests}, then the node" if after == "return" else guests


def _after_stop(seen: View, section: DeviceSettings | None, vmids: tuple[int, ...]) -> str:
    """What becomes of it after the end of a VM that names it: keep or return, '' where none does, or where they differ."""
    own = (section.after_stop or ("return" if section.return_to else "")) if section else ""
    found = {own or seen.settings.guard(vmid).after_stop for vmid in vmids}
    return found.pop() if len(found) == 1 else ""


def _condition(host: Host, device: PciDevice, held_by: list[int]) -> str:
    """How it does: against its start where one is noted, else by what it is now."""
    noted = [start.devices[device.address] for vmid in held_by if (start := started.read(host, vmid)) and device.address in start.devices]
    ids = noted[0].ids if noted else f"{device.vendor:04x}:{device.device:04x}"
    before = noted[0].state if noted else {}
    found = [each.words for each in health.ailments(device.address, ids, before, device, pci_facts.state(host, device.address))]
    return "; ".join(found) or "well"


def _journal(host: Host) -> Mapping[str, tuple[int, str]]:
    """The last trouble with each device, by its address, as far as the journal goes back; none where it cannot be asked."""
    if not host.can_run:
        return {}
    matches = [f"PVEHOOKS_EVENT={name}" for name in _TROUBLES]
    asked = ["journalctl", "--quiet", "--output=json", "--no-pager", f"--lines={_MOST_ENTRIES}", *matches]
    try:
        lines = host.run(asked, timeout=_JOURNAL_SECONDS).stdout.split("\n")
    except CommandTrouble:
        return {}
    found = {}
    for line in filter(None, lines):
        try:
            entry = json.loads(line)
            found[str(entry["PVEHOOKS_DEVICE"])] = int(entry["__REALTIME_TIMESTAMP"]) // 1_000_000, str(entry["MESSAGE"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _start(line: DeviceLine) -> str:
    start = line.last_start
    if start is None:
        return "-"
    return f"{last_starts.when(start.ended)} VM {start.id}{' (failed)' if start.failed else ''}"


def _trouble(line: DeviceLine) -> str:
    when, words = line.trouble
    return f"{last_starts.when(when)} {words}" if words else "-"


def _as_json(line: DeviceLine) -> dict[str, Any]:
    device, start, (when, words) = line.device, line.last_start, line.trouble
    return {
        "address": device.address,
        "words": printable(device.words),
        "driver": device.driver or None,
        "now": printable(line.where),
        "meant_for": printable(line.meant_for),
        "vmids": list(line.vmids),
        "after_stop": line.after_stop or None,
        "condition": printable(line.condition),
        "healthy": line.condition == "well",
        "power_state": device.power_state or None,
        "last_start": None if start is None else {"vmid": int(start.id), "ended": start.ended, "failed": start.failed},
        "last_trouble": {"when": when, "message": printable(words)} if words else None,
    }
