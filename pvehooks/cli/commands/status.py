"""pvehooks status: the state of the daemon and of this node."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator

from pvehooks import __version__, wording
from pvehooks.cli import booted, cluster_status, envelope, guard_state, last_starts, terminal
from pvehooks.cli.view import View, view
from pvehooks.daemon import lock
from pvehooks.errors import EXIT_OK, PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.judge import counts_by_severity
from pvehooks.values import StartVerdict, Verdict

SUMMARY = "show whether the daemon runs, what it found and what it changed"
EXAMPLE = "pvehooks status"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("--cluster", action="store_true", help="show what each node of the cluster publishes")


def run(options: argparse.Namespace) -> int:
    """Prints the state."""
    seen = view(options, looking=True)
    if options.cluster:
        return cluster_status.run(seen, options.json)
    once = seen.once()
    met = StatusTotals(once.all_verdicts(once.facts()))
    first_look = seen.guest_context.cluster_baseline
    if options.json:
        envelope.show(seen.host, seen.node, _state(seen, met, int(first_look.time) if first_look else None))
    else:
        first = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first_look.time)) if first_look else "not yet (the daemon makes it)"
        terminal.table(("", ""), [*_rows(seen, met), ("first look", first)])
    return EXIT_OK


class StatusTotals:
    """What is shown of all guests, added up one by one: none of them is kept. Guests are (VMID, label)."""

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self.guests = self.blocked = self.with_passthrough = 0
        self.found = counts_by_severity(())
        self.would_not: list[tuple[int, str]] = []
        self.must_not: list[tuple[int, str]] = []
        self.unguarded: list[tuple[int, str]] = []
        self.allowed: list[tuple[int, str]] = []
        self.lacking: list[tuple[int, str]] = []
        self.given: list[tuple[int, str]] = []
        for verdict in verdicts:
            self._take(verdict)

    def _take(self, verdict: Verdict) -> None:
        guest = verdict.guest
        named = (guest.vmid, guest.label)
        self.guests += 1
        counted = counts_by_severity((item.finding.severity, item.finding.examined, bool(item.ignored)) for item in verdict.findings)
        for severity, count in counted.items():
            self.found[severity] += count
        self.blocked += verdict.blocked
        with_passthrough, unguarded = guard_state.coverage([guest])
        self.with_passthrough += len(with_passthrough)
        for what, those in (
            (verdict.start is StartVerdict.WOULD_NOT, self.would_not),
            (verdict.start is StartVerdict.MUST_NOT, self.must_not),
            (unguarded, self.unguarded),
            (guard_state.allowed(guest), self.allowed),
            (verdict.rng0 == "lacking", self.lacking),
            (verdict.rng0 == "given", self.given),
        ):
            if what:
                those.append(named)


def _state(seen: View, met: StatusTotals, first_look: int | None) -> dict[str, object]:
    return {
        "pvehooks": __version__,
        "daemon": _daemon(seen.host),
        "pmxcfs": _pmxcfs(seen.host),
        "mode": seen.settings.rng().mode,
        "guard_mode": seen.settings.guard().mode,
        "guest_count": met.guests,
        "blocked_count": met.blocked,
        "would_not_start": _vmids(met.would_not),
        "must_not_start": _vmids(met.must_not),
        "finding_count": sum(met.found.values()),
        "findings_by_severity": met.found,
        "passthrough": {
            "guest_count": met.with_passthrough,
            "guarded_count": met.with_passthrough - len(met.unguarded),
            "unguarded": _vmids(met.unguarded),
            # Deprecated.
            "guests": met.with_passthrough,
            "guarded": met.with_passthrough - len(met.unguarded),
        },
        "starts_allowed": _vmids(met.allowed),
        "lacking_entropy": _vmids(met.lacking),
        "given_rng0": _vmids(met.given),
        "failed_starts": [each.as_json() for each in last_starts.failed(seen)],
        "first_look": first_look,
        # Deprecated.
        "guests": met.guests,
        "blocked": met.blocked,
        "findings": sum(met.found.values()),
        "allowed": _vmids(met.allowed),
    }


def _rows(seen: View, met: StatusTotals) -> Iterator[tuple[str, str]]:
    yield "pvehooks", f"{__version__}, daemon {_daemon(seen.host)}"
    if booted.without_systemd(seen.host):
        yield "", booted.WHAT_WORKS
    yield "node", f"{seen.node}, pmxcfs {_pmxcfs(seen.host)}"
    yield "VMs", f"{wording.counted(met.guests, 'VM')}, {wording.counted_findings(met.found)}"
    if met.must_not:
        yield "", f"must not start, and nothing stops it: {_labels(met.must_not)}"
    if met.would_not:
        yield "", f"would not start: {_labels(met.would_not)}"
    yield "guard", _guard(seen.settings.guard().mode, met)
    if met.allowed:
        yield "allowed", f"the guard lets the next start through of {_labels(met.allowed)}"
    for number, line in enumerate(last_starts.lines(seen)):
        yield "" if number else "failed starts", line
    yield "entropy", _entropy(seen.settings.rng().mode, met.lacking)
    yield "given rng0", _labels(met.given) or "none so far"


def _vmids(those: list[tuple[int, str]]) -> list[int]:
    return [vmid for vmid, _ in those]


def _labels(those: list[tuple[int, str]]) -> str:
    return wording.and_more([label for _, label in those])


def _daemon(host: Host) -> str:
    return "running" if lock.runs(host) else "not running"


def _guard(mode: str, met: StatusTotals) -> str:
    if not met.with_passthrough:
        return f"[guard] mode = {mode}; no VM has passed-through devices"
    have = (
        f"{met.with_passthrough - len(met.unguarded)} of {wording.counted(met.with_passthrough, 'VM')} with passed-through devices have it"
    )
    lacking = f", without it: {_labels(met.unguarded)}" if met.unguarded else ""
    return f"[guard] mode = {mode}; {have}{lacking}"


def _entropy(mode: str, lacking: list[tuple[int, str]]) -> str:
    count = f"without an rng0 that they need: {_labels(lacking)}" if lacking else "no VM lacks an rng0"
    return f"[rng] mode = {mode}; {count}"


def _pmxcfs(host: Host) -> str:
    if not host.is_node and not host.exists(f"{pmxcfs.PVE}/.version"):
        return "not looked for in a tree"
    try:
        return "answers" if pmxcfs.quorate(host) else "has no quorum"
    except PmxcfsAway:
        return "does not answer"
