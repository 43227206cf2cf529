"""pvehooks check --target NODE: would guests start on another node of the cluster?"""

from __future__ import annotations

import argparse
import time

from pvehooks import __version__, wording
from pvehooks.cli import envelope, findings, terminal
from pvehooks.cli.finding_groups import FindingGroups
from pvehooks.cli.on_target import answer, context_on, judged_on, undecides
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_COULD_NOT_LOOK, EXIT_OK, NodeError, PmxcfsAway, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.cluster import summaries
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.judge import needs_action
from pvehooks.values import Judged, Verdict
from pvehooks.values.summaries import Standing, Summary, Target


def run(options: argparse.Namespace) -> int:
    """Prints the findings and a verdict for each guest; the status is 0: all would start, 1: some would not or must not, 3: it is unknown of some."""
    seen = view(options, looking=True).once()
    standing = _standing(seen, options.target)
    now = seen.host.now()
    verdicts = [_verdict(seen, vmid, standing, now) for vmid in _vmids(seen, options.vmid, standing.node)]
    if not options.vmid:
        verdicts = [verdict for verdict in verdicts if not verdict.guest.template]
    answers = [answer(verdict) for verdict in verdicts]
    chosen = bool(options.rule or options.severity)

    def shown(item: Judged) -> bool:
        if not findings.is_asked_for(item, options.rule, options.severity):
            return False
        return chosen or options.all or options.json or needs_action(item) or undecides(item.finding)

    hidden = sum(not shown(item) for verdict in verdicts for item in verdict.findings)
    of_all = [(verdict, list(filter(shown, verdict.findings))) for verdict in verdicts]
    if options.json:
        envelope.show(seen.host, seen.node, _document(standing, now, of_all))
    else:
        _show(standing, now, of_all)
        if hidden:
            which = f" {verdicts[0].guest.vmid}" if len(verdicts) == 1 else ""
            what = "" if chosen else "for information "
            terminal.write(f"{hidden} {what}not shown, see: pvehooks check{which} --target {standing.node} --all")
        terminal.write(_source(standing, now))
    if "no" in answers:
        return EXIT_BLOCKED
    return EXIT_COULD_NOT_LOOK if "unknown" in answers else EXIT_OK


def _standing(seen: View, name: str) -> Standing:
    try:
        known = summaries.standings(seen.host, seen.node)
    except PmxcfsAway as away:
        raise NodeError(f"pmxcfs does not answer ({away})", hint="See: systemctl status pve-cluster") from away
    for standing in known:
        if standing.node == name:
            return standing
    names = ", ".join(standing.node for standing in known)
    raise NodeError(f"there is no node '{name}' in the cluster", hint=f"Nodes there: {names}.")


def _vmids(seen: View, named: list[int], target: str) -> list[int]:
    """Those that were named, wherever in the cluster they are; without any, all of this node."""
    if named:
        return list(dict.fromkeys(named))
    if target == seen.node:
        raise UsageError(f"the VMs of {target} are there already", hint="Without --target: pvehooks check")
    return seen.guest_ids([])


def _verdict(seen: View, vmid: int, standing: Standing, now: float) -> Verdict:
    """The verdict on a guest's start there; raises GuestNotHere, UsageError."""
    host = seen.host
    here = seen.node if host.exists(node_facts.config_path(seen.node, vmid)) else node_facts.owner(host, vmid)
    if not here:
        node_facts.require_guest(host, seen.node, vmid)
    if here == standing.node:
        raise UsageError(f"VM {vmid} is on {here} already", hint=f"On {here}: pvehooks check {vmid}")
    target = Target(summaries.node(host, standing), standing, here, now, __version__)
    return judged_on(seen, vmid, guest_facts.read_raw_or_error(host, here, vmid), target, context_on(seen, standing.node))


def _document(standing: Standing, now: float, of_all: list[tuple[Verdict, list[Judged]]]) -> dict[str, object]:
    summary = _summary(standing)
    return {
        "target": {
            "node": standing.node,
            "state": standing.state(now),
            "pvehooks": standing.version or None,
            "written": summary.written if summary else None,
            "guard_mode": summary.guard_mode if summary else None,
            # Deprecated.
            "version": standing.version or None,
        },
        "guests": [_guest(verdict, shown) for verdict, shown in of_all],
    }


def _guest(verdict: Verdict, shown: list[Judged]) -> dict[str, object]:
    return {
        "vmid": verdict.guest.vmid,
        "name": wording.printable(verdict.guest.name),
        "would_start": answer(verdict),
        "start": None if answer(verdict) == "unknown" else verdict.start.value,
        "nothing_stops_it": verdict.why_unguarded or None,
        "findings": [wording.as_json(item) for item in wording.sort(shown)],
    }


def _show(standing: Standing, now: float, of_all: list[tuple[Verdict, list[Judged]]]) -> None:
    groups = FindingGroups()
    for verdict, items in of_all:
        groups.add(findings.rows(verdict.guest.label, items, verdict.guest.vmid))
    findings.show(groups.take())
    name = standing.node
    once_online = " once that is online" if standing.online is False else ""
    for verdict, _ in of_all:
        if answer(verdict) == "unknown":
            words = f"whether it would start on {name} is not known"
        else:
            stops = f", and nothing stops it there: {verdict.why_unguarded}" if verdict.why_unguarded else ""
            words = f"{verdict.start.value} on {name}{once_online if answer(verdict) == 'yes' else ''}{stops}"
        terminal.write(f"{verdict.guest.label}: {words}")


def _source(standing: Standing, now: float) -> str:
    """Where all this is known from, and when it was published."""
    summary = _summary(standing)
    if summary is None:
        return f"{standing.node} has published nothing: only its mappings and storages are known"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(summary.written))
    mode = "" if summary.guard_mode == "enforce" else "; it refuses no start"
    return (
        f"As {standing.node} published on {when} ({summary.ago(now)}): pvehooks {summary.version},"
        f" [guard] mode = {summary.guard_mode}{mode}. Its free memory is not known"
    )


def _summary(standing: Standing) -> Summary | None:
    return standing.summary if isinstance(standing.summary, Summary) else None
