"""A report as JSON, for programs and as what a later report is compared with. Its form is described in pvehooks(8)."""

from __future__ import annotations

from pvehooks.report import places, tree
from pvehooks.report.content import GuestSeen, Report
from pvehooks.values import Unread
from pvehooks.values.boot import PcieLink
from pvehooks.wording import as_json as as_json_finding
from pvehooks.wording import printable, sort

# Goes up when something of the form is taken away or means another thing; more keys may come without.
VERSION = 1


def as_json(report: Report) -> dict[str, object]:
    """The report; text is on one line and printable, what could not be read is null."""
    iommu = report.iommu
    used = {item.finding.rule for item in report.of_node} | {item.finding.rule for guest in report.guests for item in guest.findings}
    return {
        "version": VERSION,
        "pvehooks": report.pvehooks,
        "node": report.node,
        "time": report.time,
        "cluster": printable(report.cluster) or None,
        "facts": {fact.name: None if fact.text is None else printable(fact.text) for fact in report.facts},
        "iommu": {
            "active": None if isinstance(iommu, Unread) else iommu.active,
            "why": printable(iommu.why) or None,
            "acs_override": None if isinstance(iommu, Unread) else printable(iommu.acs_override) or None,
        },
        "groups": None if isinstance(report.groups, Unread) else [tree.as_json(group) for group in report.groups],
        "places": None if isinstance(report.groups, Unread) else _places(report),
        "empty_slots": None if isinstance(report.hardware.slots, Unread) else [printable(slot.name) for slot in places.empty_slots(report)],
        "guests": [_guest(guest) for guest in report.guests],
        "node_findings": [as_json_finding(item) for item in sort(report.of_node)],
        "rules": {rule.id: {"explanation": rule.explanation, "remedy": rule.remedy} for rule in report.rules.values() if rule.id in used},
        "changes": None if report.changes is None else _changes(report),
    }


def _places(report: Report) -> dict[str, object]:
    """Where each device sits, by its address."""
    names = places.slot_names(report)
    links = {} if isinstance(report.hardware.links, Unread) else report.hardware.links
    groups = () if isinstance(report.groups, Unread) else report.groups
    devices = (member.device for group in groups for member in group.members)
    return {
        device.address: {
            "above": list(device.upstream),
            "port": device.port or None,
            "slot": printable(places.slot_of(device, names)) or None,
            "numa": device.numa if device.numa >= 0 else None,
            "link": _link(links[device.address]) if device.address in links else None,
        }
        for device in sorted(devices, key=lambda device: device.address)
    }


def _link(link: PcieLink) -> dict[str, int]:
    """A link, with its speeds in MT/s: whole numbers."""
    return {"speed": int(link.speed * 1000), "max_speed": int(link.max_speed * 1000), "width": link.width, "max_width": link.max_width}


def _guest(guest: GuestSeen) -> dict[str, object]:
    return {
        "vmid": guest.vmid,
        "name": printable(guest.name),
        "running": guest.running,
        "template": guest.template,
        "verdict": guest.outcome,
        "start": guest.start.value,
        "nothing_stops_it": guest.unguarded or None,
        "guarded": guest.guarded,
        "rng0": guest.rng0 or None,
        "findings": [as_json_finding(item) for item in guest.findings],
    }


def _changes(report: Report) -> dict[str, object] | None:
    changes = report.changes
    if changes is None:
        return None
    items = [{"kind": each.kind, "how": each.how, "what": printable(each.what), "text": printable(each.text)} for each in changes.items]
    return {"since": changes.since, "items": items}
