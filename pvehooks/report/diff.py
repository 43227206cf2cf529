"""What changed from one report to the next: both as JSON documents (document.py); the former one may come from any source."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pvehooks.errors import UsageError
from pvehooks.report.content import DiffLine, ReportDiff
from pvehooks.report.document import VERSION
from pvehooks.report.written import as_list, as_object, as_seconds, as_text
from pvehooks.values import NamedTuple, StartVerdict
from pvehooks.values.guests import guest_label

# A time that every calendar function takes (the year 6325).
# As the last report is kept, and as --json prints it.
_VERSIONS = (VERSION, 2)
_STARTS = StartVerdict.WOULD.value


class _Device(NamedTuple):
    words: str
    group: str
    driver: str
    users: str


class _Guest(NamedTuple):
    label: str
    start: str


class _Finding(NamedTuple):
    label: str
    severity: str
    message: str


class Former(NamedTuple):
    """What of a report is compared: facts by name, devices by address (None where unknown), guests by VMID, findings by what they are about."""

    node: str
    time: int
    facts: Mapping[str, str | None]
    devices: Mapping[str, _Device] | None
    guests: Mapping[int, _Guest]
    findings: Mapping[tuple[int, str, str], _Finding]


def read(raw: bytes, name: str) -> Former:
    """The report in a file of that name; raises UsageError where it is none."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not JSON", hint=_HINT) from None
    try:
        return former(document)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise UsageError(f"{name} is no report of pvehooks, or one of another version", hint=_HINT) from None


_HINT = "It must have been made by: pvehooks report --json"


def former(document: object) -> Former:
    """What of the document is compared; raises one of TypeError, KeyError, ValueError where it is no report."""
    whole = as_object(document)
    if whole["version"] not in _VERSIONS or isinstance(whole["version"], bool):
        raise ValueError(whole["version"])
    when = as_seconds(whole["time"])
    guests: dict[int, _Guest] = {}
    findings: dict[tuple[int, str, str], _Finding] = {}
    for entry in as_list(whole["guests"]):
        guest = as_object(entry)
        vmid, name = guest["vmid"], as_text(guest["name"])
        if not isinstance(vmid, int):
            raise TypeError(vmid)
        label = guest_label(vmid, name)
        guests[vmid] = _Guest(label, _start(guest))
        findings.update(_findings(vmid, label, guest["findings"]))
    node = as_text(whole["node"])
    findings.update(_findings(0, node, whole["node_findings"]))
    facts = {name: None if text is None else as_text(text) for name, text in as_object(whole["facts"]).items()}
    return Former(node, when, facts, None if whole["groups"] is None else dict(_devices(whole["groups"])), guests, findings)


def _start(guest: Mapping[str, object]) -> str:
    """What a start would come to; reports of versions before 0.2 say only whether something forbids it."""
    start = as_text(guest.get("start", "would not start" if as_text(guest["verdict"]) == "block" else "would start"))
    return StartVerdict(start).value


def _findings(vmid: int, label: str, entries: object) -> Iterator[tuple[tuple[int, str, str], _Finding]]:
    for entry in as_list(entries):
        found = as_object(entry)
        severity = "ignored" if found["ignored"] else as_text(found["severity"])
        yield (vmid, as_text(found["rule"]), as_text(found["subject"])), _Finding(label, severity, as_text(found["message"]))


def _devices(groups: object) -> Iterator[tuple[str, _Device]]:
    for group in map(as_object, as_list(groups)):
        name = "" if group["group"] is None else as_text(group["group"])
        for device in map(as_object, as_list(group["devices"])):
            holders = [guest["vmid"] for guest in map(as_object, as_list(device["guests"])) if guest["holds"]]
            users = [f"VM {vmid}" for vmid in holders]
            uses = [use for use in map(as_object, as_list(device["uses"])) if not use["remark"]]
            users += ["the host"] if any(not use["vmid"] for use in uses) else []
            users += [f"VM or container {use['vmid']}" for use in uses if use["vmid"] and use["vmid"] not in holders]
            driver = "" if device["driver"] is None else as_text(device["driver"])
            yield as_text(device["address"]), _Device(as_text(device["words"]), name, driver, " and ".join(dict.fromkeys(users)))


# -- comparing --------------------------------------------------------------------------------------------------------


def compare(before: Former, now: Former) -> ReportDiff:
    """What differs: first what keeps guests from starting, then hardware, guests, findings. A finding whose words alone differ is the same."""
    items = (*_facts(before, now), *_hardware(before, now), *_guests(before, now), *_all_findings(before, now))
    return ReportDiff(before.time, tuple(sorted(items, key=lambda change: not change.urgent)))


def _facts(before: Former, now: Former) -> Iterator[DiffLine]:
    for name, text in now.facts.items():
        was = before.facts.get(name)
        if was is not None and text is not None and was != text:
            yield DiffLine("node", "changed", name, f"{text}; before: {was}")


def _hardware(before: Former, now: Former) -> Iterator[DiffLine]:
    if before.devices is None or now.devices is None:
        return
    for address in sorted({*before.devices, *now.devices}):
        old, new = before.devices.get(address), now.devices.get(address)
        if old is None and new is not None:
            yield DiffLine("device", "new", f"{address} ({new.words})", f"in group {new.group}" if new.group else "in no IOMMU group")
        elif new is None and old is not None:
            yield DiffLine("device", "gone", f"{address} ({old.words})", f"it was in group {old.group}" if old.group else "")
        elif old is not None and new is not None and old != new:
            yield DiffLine("device", "changed", f"{address} ({new.words})", "; ".join(_differences(old, new)))


def _differences(old: _Device, new: _Device) -> Iterator[str]:
    if old.words != new.words:
        yield f"another device; before: {old.words}"
    if old.group != new.group:
        yield f"now in {_group(new)}, before in {_group(old)}"
    if old.driver != new.driver:
        yield f"now on {_driver(new)}, before on {_driver(old)}"
    if old.users != new.users:
        yield f"now used by {new.users or 'nothing'}, before by {old.users or 'nothing'}"


def _group(device: _Device) -> str:
    return f"group {device.group}" if device.group else "no group"


def _driver(device: _Device) -> str:
    return f"driver {device.driver}" if device.driver else "no driver"


def _guests(before: Former, now: Former) -> Iterator[DiffLine]:
    for vmid in sorted({*before.guests, *now.guests}):
        old, new = before.guests.get(vmid), now.guests.get(vmid)
        if old is None and new is not None:
            yield DiffLine("guest", "new", new.label, new.start if new.start != _STARTS else "", new.start != _STARTS)
        elif new is None and old is not None:
            yield DiffLine("guest", "gone", old.label, "not on this node any more")
        elif old is not None and new is not None:
            differ = [f"before: {old.label}"] if old.label != new.label else []
            if old.start != new.start:
                differ.append(f"now {new.start}, before {old.start}")
            if differ:
                yield DiffLine("guest", "changed", new.label, "; ".join(differ), old.start != new.start != _STARTS)


def _all_findings(before: Former, now: Former) -> Iterator[DiffLine]:
    for key, found in now.findings.items():
        was = before.findings.get(key)
        urgent = found.severity == "block"
        if was is None:
            yield DiffLine("finding", "new", found.label, f"{found.severity}: {found.message} [{key[1]}]", urgent)
        elif was.severity != found.severity:
            text = f"now {found.severity}, before {was.severity}: {found.message} [{key[1]}]"
            yield DiffLine("finding", "changed", found.label, text, urgent)
    for key, was in before.findings.items():
        if key not in now.findings and (not key[0] or key[0] in now.guests):
            yield DiffLine("finding", "gone", was.label, f"{was.severity}: {was.message} [{key[1]}]")
