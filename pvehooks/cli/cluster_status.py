"""pvehooks status --cluster: what each node of the cluster publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks import wording
from pvehooks.cli import envelope, terminal
from pvehooks.cli.view import View
from pvehooks.errors import EXIT_OK, NodeError, PmxcfsAway
from pvehooks.facts.cluster import summaries
from pvehooks.values import Unread
from pvehooks.values.summaries import Standing, Summary

_HEADERS = ("node", "state", "pvehooks", "guard", "VMs", "findings", "guarded", "published")
_ORDER = ("block", "warning", "info", "ignored")


def run(seen: View, as_json: bool) -> int:
    """Prints a line for each node, then what has to be done."""
    try:
        known = summaries.standings(seen.host, seen.node)
    except PmxcfsAway as away:
        raise NodeError(f"pmxcfs does not answer ({away})", hint="See: systemctl status pve-cluster") from away
    now = seen.host.now()
    if as_json:
        envelope.show(seen.host, seen.node, {"nodes": [_node(standing, now) for standing in known]})
        return EXIT_OK
    terminal.table(
        _HEADERS, [_row(standing, now) for standing in known] if terminal.on_terminal() else [_HEADERS, *(_row(one, now) for one in known)]
    )
    for line in _remarks(known, now):
        terminal.write(line)
    return EXIT_OK


def _node(standing: Standing, now: float) -> dict[str, object]:
    document: dict[str, object] = {
        "node": standing.node,
        "state": standing.state(now),
        "online": standing.online,
        "pvehooks": standing.version or None,
        # Deprecated.
        "version": standing.version or None,
    }
    summary = standing.summary
    if not isinstance(summary, Summary):
        return {**document, "summary": None, "trouble": summary.why if isinstance(summary, Unread) else None}
    hardware = summary.hardware
    return {**document, "summary": _published(summary, now), "trouble": hardware.why if isinstance(hardware, Unread) else None}


def _published(summary: Summary, now: float) -> dict[str, object]:
    hardware = summary.hardware
    device_count = None if isinstance(hardware, Unread) else len(hardware.devices)
    return {
        "pvehooks": summary.version,
        "written": summary.written,
        "age": summary.age(now),
        "guard_mode": summary.guard_mode,
        "rng_mode": summary.rng_mode,
        "guest_count": summary.guests,
        "would_not_start_count": summary.would_block - summary.must_not_count,
        "must_not_start_count": summary.must_not_count,
        "must_not": list(summary.must_not),
        "blocked": list(summary.blocked),
        "findings_by_severity": dict(summary.findings),
        "node_findings_by_severity": dict(summary.of_node),
        "findings_by_rule": dict(summary.rules),
        "passthrough": {
            "guest_count": summary.passing,
            "guarded_count": summary.guarded,
            "unguarded": list(summary.unguarded),
            # Deprecated.
            "guests": summary.passing,
            "guarded": summary.guarded,
        },
        "device_count": device_count,
        "devices_left_out": None if isinstance(hardware, Unread) else hardware.left_out,
        # Deprecated.
        "version": summary.version,
        "guests": summary.guests,
        "would_not_start": summary.would_block - summary.must_not_count,
        "must_not_start": summary.must_not_count,
        "findings": dict(summary.findings),
        "node_findings": dict(summary.of_node),
        "rules": dict(summary.rules),
        "devices": device_count,
    }


def _row(standing: Standing, now: float) -> tuple[str, ...]:
    state, summary = standing.state(now), standing.summary
    if not isinstance(summary, Summary):
        return standing.node, state, standing.version or "-", *["-"] * 5
    guarded = f"{summary.guarded} of {summary.passing}" if summary.passing else "-"
    found = _counts(summary.findings)
    return (standing.node, state, summary.version, summary.guard_mode, str(summary.guests), found, guarded, summary.ago(now))


def _counts(counts: Mapping[str, int]) -> str:
    parts = [wording.counted(counts[name], name) if name == "warning" else f"{counts[name]} {name}" for name in _ORDER if counts.get(name)]
    return ", ".join(parts) or "none"


def _remarks(known: tuple[Standing, ...], now: float) -> Iterator[str]:
    """What is to be done, a line each."""
    for standing in known:
        name, state = standing.node, standing.state(now)
        if state == "no pvehooks":
            yield f"{name} does not have pvehooks: VMs with the guard may not start there. Install it on {name}, from where this node has it: apt install pvehooks"
        elif state == "no summary":
            yield f"{name} has published nothing: its daemon does not run, is older, or [cluster] publish = no. On {name}: pvehooks status"
        elif state == "silent":
            yield f"{name} has published nothing for two hours: its daemon or the cluster is not well. On {name}: systemctl status pvehooks; pvecm status"
        summary = standing.summary
        if isinstance(summary, Unread):
            yield f"{name}: {summary.why}"
        if not isinstance(summary, Summary):
            continue
        if summary.must_not_count:
            which = _vms(summary.must_not, summary.must_not_count)
            yield f"{name}: {which} must not start, and nothing stops it. On {name}: pvehooks check"
        refused = summary.would_block - summary.must_not_count
        if refused:
            which = _vms(tuple(vmid for vmid in summary.blocked if vmid not in summary.must_not), refused)
            yield f"{name}: {which} would not start. On {name}: pvehooks check"
        lacking = summary.passing - summary.guarded
        if lacking:
            yield f"{name}: with passed-through devices and without the guard: {_vms(summary.unguarded, lacking)}. On {name}: pvehooks attach --all"
        if summary.guard_mode != "enforce":
            yield f"{name}: [guard] mode = {summary.guard_mode}: the guard refuses no start there"
    versions = {standing.summary.version for standing in known if isinstance(standing.summary, Summary)}
    if len(versions) > 1:
        yield f"the nodes have different versions of pvehooks ({', '.join(sorted(versions))}): upgrade the older ones"


def _vms(named: tuple[int, ...], count: int) -> str:
    """VMs in words: "VM 100, 101 and 3 more"; a summary names 20 at most."""
    shown = ", ".join(map(str, named[:10]))
    more = count - len(named[:10])
    return f"VM {shown}" + (f" and {more} more" if more > 0 else "")
