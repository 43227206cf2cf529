"""Nodes by reports as JSON (document.py, fleet_document.py), made by any version, or by anyone: what of them is for the page of many nodes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pvehooks.report.fleet import KINDS, Failure, FleetNode, FreeDevice, NodeFigures, SomeGuests, free_devices
from pvehooks.report.written import LATEST, as_list, as_object, as_seconds, as_text
from pvehooks.values import StartVerdict, Unread
from pvehooks.values.guests import guest_label
from pvehooks.values.summaries import NextBootSummary

# The first is that of document.VERSION; what --json prints has the other one since it has an envelope.
_VERSIONS = (1, 2)
# A time that every calendar function takes (the year 6325).
_LONGEST = 200
_LABELS = 20
_DEVICES = 500
_NODES = 1000
_KERNEL = re.compile(r"(.*?)(?: \((.*) is next\))?")


def node_of(document: object, source: str, folder: str, state: str, boot: NextBootSummary | Unread) -> FleetNode:
    """The node; raises TypeError, KeyError or ValueError where the document is no report. `boot` is not in it."""
    whole = as_object(document)
    version = whole["version"]
    if isinstance(version, bool) or version not in _VERSIONS:
        raise ValueError(version)
    facts = {name: None if text is None else _text(text) for name, text in as_object(whole["facts"]).items()}
    pvehooks = _text(whole["pvehooks"])
    guests = [as_object(guest) for guest in as_list(whole["guests"])]
    labels = {number: _label(guest) for number, guest in enumerate(guests)}
    starts = [_start(guest) for guest in guests]
    needing = [guest for guest in guests if guest.get("guarded") is not None]
    older = Unread(f"not in the report of pvehooks {pvehooks}")
    running, following = _kernel(facts.get("kernel"))
    as_of = as_seconds(whole["time"])
    known = NodeFigures(
        as_of=as_of,
        pve=facts.get("Proxmox VE") or Unread("not known there"),
        kernel=running,
        next_kernel=following,
        guard_mode=Unread("not in a report"),
        rng_mode=Unread("not in a report"),
        guests=len(guests),
        would_not=_some([label for label, start in zip(labels.values(), starts, strict=True) if start is StartVerdict.WOULD_NOT]),
        must_not=_some([label for label, start in zip(labels.values(), starts, strict=True) if start is StartVerdict.MUST_NOT]),
        passing=len(needing),
        unguarded=_some([_label(guest) for guest in needing if guest["guarded"] is False]),
        rng_given=sum(guest.get("rng0") == "given" for guest in guests) if _knows_rng0(guests) else older,
        rng_lacking=_some([_label(guest) for guest in guests if guest.get("rng0") == "lacking"]) if _knows_rng0(guests) else older,
        findings=_severities(finding for guest in guests for finding in as_list(guest["findings"])),
        of_node=_severities(as_list(whole["node_findings"])),
        devices_as_of=as_of,
        free=_free(whole["groups"]),
        left_out=0,
        own_settings=Unread("not in a report"),
        next_boot=boot,
        next_boot_guests=() if isinstance(boot, Unread) else tuple(_named(boot.guests, guests)),
        failed=Unread("not in a report"),
        failures=(),
    )
    cluster = whole.get("cluster")
    return FleetNode(_text(whole["node"]), folder if cluster is None else _text(cluster), source, state, pvehooks, known)


def nodes_of(document: object, source: str, folder: str) -> list[FleetNode]:
    """The nodes of a report on a node, or on a cluster; raises TypeError, KeyError or ValueError where the document is neither."""
    whole = as_object(document)
    if "nodes" not in whole:
        return [node_of(whole, source, folder, "report", Unread("not in a report"))]
    if whole["version"] not in _VERSIONS:
        raise ValueError(whole["version"])
    return [_published(as_object(node), source, folder) for node in as_list(whole["nodes"])[:_NODES]]


def _published(node: Mapping[str, object], source: str, folder: str) -> FleetNode:
    """A node as fleet_document.py describes it."""
    figures, cluster, version = node["figures"], node["cluster"], node["pvehooks"]
    known: NodeFigures | Unread = Unread(_text(node["why"])) if figures is None else _figures(as_object(figures))
    name = folder if cluster is None else _text(cluster)
    return FleetNode(_text(node["node"]), name, source, _text(node["state"]), "" if version is None else _text(version), known)


def _figures(known: Mapping[str, object]) -> NodeFigures:
    unknown = as_object(known["unknown"])

    def why(key: str) -> Unread:
        return Unread(_text(unknown.get(key, "not known")))

    def text(key: str) -> str | Unread:
        return why(key) if known[key] is None else _text(known[key])

    def number(key: str) -> int | Unread:
        return why(key) if known[key] is None else _count(known[key])

    def some(what: str) -> SomeGuests:
        return SomeGuests(_count(known[f"{what}_count"]), _labels(known[f"{what}_labels"]))

    free, own, boot = known["free_devices"], known["own_settings"], known["boot_forecast"]
    forecast = None if boot is None else as_object(boot)
    return NodeFigures(
        as_of=_count(known["as_of"]),
        pve=text("pve"),
        kernel=text("kernel"),
        next_kernel="" if known["next_kernel"] is None and known["kernel"] is not None else text("next_kernel"),
        guard_mode=text("guard_mode"),
        rng_mode=text("rng_mode"),
        guests=_count(known["guest_count"]),
        would_not=some("would_not_start"),
        must_not=some("must_not_start"),
        passing=_count(known["passthrough_guest_count"]),
        unguarded=some("unguarded"),
        rng_given=number("rng0_given_count"),
        rng_lacking=why("rng0_lacking_count") if known["rng0_lacking_count"] is None else some("rng0_lacking"),
        findings=_counts(known["findings_by_severity"]),
        of_node=_counts(known["node_findings_by_severity"]),
        devices_as_of=why("devices_as_of") if known["devices_as_of"] is None else _count(known["devices_as_of"]),
        free=why("free_devices") if free is None else tuple(_free_device(as_object(each)) for each in as_list(free)[:_DEVICES]),
        left_out=_count(known["devices_left_out"]),
        own_settings=why("own_settings") if own is None else {_text(name): _text(value) for name, value in as_object(own).items()},
        next_boot=why("boot_forecast") if forecast is None else _forecast(forecast),
        next_boot_guests=() if forecast is None else _labels(forecast["labels"]),
        failed=number("failed_start_count"),
        failures=tuple(_failure(as_object(each)) for each in as_list(known["failures"])[:_LABELS]),
    )


def _forecast(boot: Mapping[str, object]) -> NextBootSummary:
    keys = ("will_start_count", "will_not_start_count", "must_not_start_count", "not_known_count")
    will, will_not, must_not, unknown = (_count(boot[key]) for key in keys)
    stops = boot["stops_boot"] is True
    return NextBootSummary(
        _count(boot["as_of"]), _text(boot["kernel"]), will, will_not, must_not, unknown, (), _count(boot["loss_count"]), stops
    )


def _free_device(device: Mapping[str, object]) -> FreeDevice:
    kind = _text(device["kind"])
    words = _text(device["address"]), _text(device["words"])
    return FreeDevice(
        kind if kind in KINDS else KINDS[-1], *words, _labels(device["beside"]), _labels(device["named"]), device["virtual"] is True
    )


def _failure(failure: Mapping[str, object]) -> Failure:
    return Failure(_text(failure["label"]), _count(failure["ended"]), _text(failure["why"]))


def _labels(value: object) -> tuple[str, ...]:
    return tuple(map(_text, as_list(value)[:_LABELS]))


def _counts(value: object) -> dict[str, int]:
    return {_text(name): _count(count) for name, count in as_object(value).items()}


def _count(value: object) -> int:
    """A number, or seconds since 1970. One node that publishes a huge one must not keep the others of its cluster from being seen."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(value)
    return min(value, LATEST)


def _knows_rng0(guests: Sequence[Mapping[str, object]]) -> bool:
    return all("rng0" in guest for guest in guests)


def _label(guest: Mapping[str, object]) -> str:
    vmid = guest["vmid"]
    if not isinstance(vmid, int) or isinstance(vmid, bool):
        raise TypeError(vmid)
    return guest_label(vmid, _text(guest["name"]))


def _named(vmids: tuple[int, ...], guests: Sequence[Mapping[str, object]]) -> list[str]:
    labels = {guest["vmid"]: _label(guest) for guest in guests}
    return [labels.get(vmid, guest_label(vmid)) for vmid in vmids]


def _start(guest: Mapping[str, object]) -> StartVerdict:
    """Reports of the first versions say only whether something forbids it."""
    start = guest.get("start")
    if start is None:
        return StartVerdict.WOULD_NOT if _text(guest["verdict"]) == "block" else StartVerdict.WOULD
    return StartVerdict(_text(start))


def _some(labels: list[str]) -> SomeGuests:
    return SomeGuests(len(labels), tuple(labels[:_LABELS]))


def _severities(findings: Iterable[object]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for each in findings:
        finding = as_object(each)
        if finding["examined"] is True:
            found["ignored" if finding["ignored"] else _text(finding["severity"])] += 1
    return dict(found)


def _free(groups: object) -> tuple[FreeDevice, ...] | Unread:
    if groups is None:
        return Unread("its devices were not known")
    listed = free_devices(map(as_object, as_list(groups)))
    return tuple(
        each._replace(
            address=each.address[:_LONGEST],
            words=each.words[:_LONGEST],
            beside=tuple(words[:_LONGEST] for words in each.beside[:_LABELS]),
            named=tuple(label[:_LONGEST] for label in each.named[:_LABELS]),
        )
        for each in listed[:_DEVICES]
    )


def _kernel(text: str | None) -> tuple[str | Unread, str | Unread]:
    """The running one and the next one, '' for the same."""
    match = _KERNEL.fullmatch(text or "")
    if not text or match is None:
        return Unread("not known there"), Unread("not known there")
    return match[1], match[2] or ""


def _text(value: object) -> str:
    return as_text(value, _LONGEST)
