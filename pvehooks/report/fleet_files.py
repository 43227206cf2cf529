"""A node by its report as JSON (document.py), made by any version, or by anyone: what of it is for the page of many nodes."""

from __future__ import annotations

import calendar
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pvehooks.report.fleet import FleetNode, FreeDevice, NodeFigures, SomeGuests, free_devices
from pvehooks.values import StartVerdict, Unread
from pvehooks.values.guests import guest_label
from pvehooks.values.summaries import NextBootSummary

# The first is that of document.VERSION; what --json prints has the other one since it has an envelope.
_VERSIONS = (1, 2)
# A time that every calendar function takes (the year 6325).
_LATEST = 1 << 37
_LONGEST = 200
_LABELS = 20
_DEVICES = 500
_KERNEL = re.compile(r"(.*?)(?: \((.*) is next\))?")


def node_of(document: object, source: str, folder: str, state: str, boot: NextBootSummary | Unread) -> FleetNode:
    """The node; raises TypeError, KeyError or ValueError where the document is no report. `boot` is not in it."""
    whole = _object(document)
    version = whole["version"]
    if isinstance(version, bool) or version not in _VERSIONS:
        raise ValueError(version)
    facts = {name: None if text is None else _text(text) for name, text in _object(whole["facts"]).items()}
    pvehooks = _text(whole["pvehooks"])
    guests = [_object(guest) for guest in _list(whole["guests"])]
    labels = {number: _label(guest) for number, guest in enumerate(guests)}
    starts = [_start(guest) for guest in guests]
    needing = [guest for guest in guests if guest.get("guarded") is not None]
    older = Unread(f"not in the report of pvehooks {pvehooks}")
    running, following = _kernel(facts.get("kernel"))
    as_of = _time(whole["time"])
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
        findings=_severities(finding for guest in guests for finding in _list(guest["findings"])),
        of_node=_severities(_list(whole["node_findings"])),
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
        finding = _object(each)
        if finding["examined"] is True:
            found["ignored" if finding["ignored"] else _text(finding["severity"])] += 1
    return dict(found)


def _free(groups: object) -> tuple[FreeDevice, ...] | Unread:
    if groups is None:
        return Unread("its devices were not known")
    listed = free_devices(map(_object, _list(groups)))
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


def _time(when: object) -> int:
    """Seconds since 1970, or RFC 3339."""
    if isinstance(when, str):
        when = calendar.timegm(time.strptime(when, "%Y-%m-%dT%H:%M:%SZ"))
    if not isinstance(when, int) or isinstance(when, bool) or not 0 <= when <= _LATEST:
        raise ValueError(when)
    return when


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(value)
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value[:_LONGEST]
