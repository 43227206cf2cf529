"""Many nodes as JSON, for programs. What is not known is null, and `unknown` has the reasons by key."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.report.fleet import Fleet, FleetNode, FreeDevice, GuestPlaces, NodeFigures, SomeGuests
from pvehooks.values import Unread
from pvehooks.values.summaries import NextBootSummary
from pvehooks.wording import printable


def as_json(fleet: Fleet) -> dict[str, object]:
    """The page without the envelope; times are epoch seconds."""
    return {
        "pvehooks": fleet.pvehooks,
        "title": printable(fleet.title),
        "nodes": [_node(node) for node in fleet.nodes],
        "starts": None if fleet.places is None else [_places(guest) for guest in fleet.places],
        "starts_left_out_count": fleet.places_left_out,
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
    boot, lacking = known.next_boot, known.rng_lacking
    values: dict[str, object | Unread] = {
        "pve": known.pve,
        "kernel": known.kernel,
        "next_kernel": known.next_kernel or None,
        "guard_mode": known.guard_mode,
        "rng_mode": known.rng_mode,
        "rng0_given_count": known.rng_given,
        "rng0_lacking_count": lacking if isinstance(lacking, Unread) else lacking.total,
        "rng0_lacking_labels": lacking if isinstance(lacking, Unread) else _labels(lacking),
        "devices_as_of": known.devices_as_of,
        "free_devices": known.free if isinstance(known.free, Unread) else [_free(device) for device in known.free],
        "own_settings": known.own_settings if isinstance(known.own_settings, Unread) else _printable(known.own_settings),
        "boot_forecast": boot if isinstance(boot, Unread) else _forecast(known, boot),
        "failed_start_count": known.failed,
    }
    return {
        "as_of": known.as_of,
        "guest_count": known.guests,
        "would_not_start_count": known.would_not.total,
        "would_not_start_labels": _labels(known.would_not),
        "must_not_start_count": known.must_not.total,
        "must_not_start_labels": _labels(known.must_not),
        "passthrough_guest_count": known.passing,
        "unguarded_count": known.unguarded.total,
        "unguarded_labels": _labels(known.unguarded),
        "findings_by_severity": _printable(known.findings),
        "node_findings_by_severity": _printable(known.of_node),
        "devices_left_out": known.left_out,
        "failures": [{"label": printable(each.label), "ended": each.ended, "why": printable(each.why)} for each in known.failures],
        **{
            name: None if isinstance(value, Unread) else printable(value) if isinstance(value, str) else value
            for name, value in values.items()
        },
        "unknown": {name: printable(value.why) for name, value in values.items() if isinstance(value, Unread)},
    }


def _forecast(known: NodeFigures, boot: NextBootSummary) -> dict[str, object]:
    return {
        "as_of": boot.looked,
        "kernel": printable(boot.kernel),
        "will_start_count": boot.will,
        "will_not_start_count": boot.will_not,
        "must_not_start_count": boot.must_not,
        "not_known_count": boot.unknown,
        "labels": [printable(label) for label in known.next_boot_guests],
        "loss_count": boot.losses,
        "stops_boot": boot.stops,
    }


def _labels(guests: SomeGuests) -> list[str]:
    return [printable(label) for label in guests.labels]


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
    return {"vmid": guest.vmid, "label": printable(guest.label), "node": guest.home, "targets": answers}
