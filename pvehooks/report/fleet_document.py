"""Many nodes as JSON, for programs. What is not known is null, and `unknown` has the reasons by key."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pvehooks.report.fleet import Fleet, FleetNode, FreeDevice, GuestPlaces, NodeFigures, SomeGuests
from pvehooks.values import Unread
from pvehooks.wording import printable

# That of the envelope of all that is printed as JSON.
VERSION = 2


def as_json(fleet: Fleet) -> dict[str, object]:
    """The page; times are epoch seconds, but for the page's own."""
    return {
        "version": VERSION,
        "node": fleet.node or None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(fleet.time)),
        "pvehooks": fleet.pvehooks,
        "title": printable(fleet.title),
        "nodes": [_node(node) for node in fleet.nodes],
        "starts": None if fleet.places is None else [_places(guest) for guest in fleet.places],
        "starts_left_out": fleet.places_left_out,
        "skipped": [{"file": printable(each.file), "why": printable(each.why)} for each in fleet.skipped],
    }


def _node(node: FleetNode) -> dict[str, object]:
    known = node.known
    return {
        "node": node.name,
        "cluster": printable(node.cluster) or None,
        "file": printable(node.source) or None,
        "state": node.state,
        "pvehooks": printable(node.version) or None,
        "why": printable(known.why) if isinstance(known, Unread) else None,
        "figures": None if isinstance(known, Unread) else _figures(known),
    }


def _figures(known: NodeFigures) -> dict[str, object]:
    boot = known.next_boot
    values: dict[str, object | Unread] = {
        "pve": known.pve,
        "kernel": known.kernel,
        "next_kernel": known.next_kernel or None,
        "guard_mode": known.guard_mode,
        "rng_mode": known.rng_mode,
        "rng0_given": known.rng_given,
        "rng0_lacking": known.rng_lacking if isinstance(known.rng_lacking, Unread) else _some(known.rng_lacking),
        "devices_as_of": known.devices_as_of,
        "free": known.free if isinstance(known.free, Unread) else [_free(device) for device in known.free],
        "own_settings": known.own_settings if isinstance(known.own_settings, Unread) else _printable(known.own_settings),
        "next_boot": boot
        if isinstance(boot, Unread)
        else {**boot._asdict(), "kernel": printable(boot.kernel), "guests": list(boot.guests)},
        "failed_starts": known.failed,
    }
    return {
        "as_of": known.as_of,
        "guest_count": known.guests,
        "would_not_start": _some(known.would_not),
        "must_not_start": _some(known.must_not),
        "passthrough": {"guest_count": known.passing, "unguarded": _some(known.unguarded)},
        "findings_by_severity": _printable(known.findings),
        "node_findings_by_severity": _printable(known.of_node),
        "devices_left_out": known.left_out,
        "failures": [{"guest": printable(each.label), "ended": each.ended, "why": printable(each.why)} for each in known.failures],
        **{
            name: None if isinstance(value, Unread) else printable(value) if isinstance(value, str) else value
            for name, value in values.items()
        },
        "unknown": {name: printable(value.why) for name, value in values.items() if isinstance(value, Unread)},
    }


def _some(guests: SomeGuests) -> dict[str, object]:
    return {"count": guests.total, "guests": [printable(label) for label in guests.labels]}


def _free(device: FreeDevice) -> dict[str, object]:
    return {
        "kind": device.kind,
        "address": printable(device.address),
        "words": printable(device.words),
        "beside": [printable(words) for words in device.beside],
        "named": [printable(label) for label in device.named],
        "virtual": device.virtual,
    }


def _printable(values: Mapping[str, object]) -> dict[str, object]:
    return {printable(name): printable(value) if isinstance(value, str) else value for name, value in values.items()}


def _places(guest: GuestPlaces) -> dict[str, object]:
    answers = [
        {"node": each.node, "start": each.start, "rule": each.rule or None, "why": printable(each.why) or None} for each in guest.answers
    ]
    return {"vmid": guest.vmid, "label": printable(guest.label), "node": guest.home, "on": answers}
