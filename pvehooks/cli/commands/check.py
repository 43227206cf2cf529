"""pvehooks check: findings of this node's guests."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

from pvehooks import wording
from pvehooks.cli import findings, guard_state, guests, last_starts, target, terminal
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_INTERRUPTED, EXIT_OK, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.judge import needs_action
from pvehooks.values import Judged, Severity, StartVerdict, Verdict

SUMMARY = "show what is wrong with the VMs of this node, and what to do about it"
EXAMPLE = "pvehooks check 100 101"
_HEAVY = (Severity.BLOCK, Severity.WARNING)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=guests.vmid, metavar="VMID", help="only these VMs (default: all of this node)")
    parser.add_argument("--target", metavar="NODE", default="", help=target.HELP)
    parser.add_argument("--all", action="store_true", help="show also what is for information only, and asks for nothing")
    parser.add_argument("--quiet", action="store_true", help="a line for each finding that blocks or warns, and nothing else: for cron")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; the status shows whether anything blocks."""
    if options.quiet and (options.json or options.target or options.all):
        other = "--json" if options.json else "--target" if options.target else "--all"
        raise UsageError(f"--quiet and {other} exclude each other")
    if options.target:
        return target.run(options)
    seen = view(options).once()
    audit = _Audit(seen, options)
    try:
        audit.look()
    except KeyboardInterrupt:
        _show_interrupted(audit)
        return EXIT_INTERRUPTED
    if options.json:
        print(json.dumps(_document(seen, audit), indent=2))
    elif not options.quiet:
        _show_rest(seen, audit)
    return EXIT_BLOCKED if audit.blocked else EXIT_OK


class _Audit:
    """Shows what is found of each guest as soon as it is judged, and at last of the node; of thousands of guests no more is kept than counts.

    `clean` are lines on guests without a finding, where they were named; `starts` the labels by what a start comes to, where it is not as
    it should be.
    """

    def __init__(self, seen: View, options: argparse.Namespace) -> None:
        self._seen = seen
        self._options = options
        self._elsewhere = node_facts.is_another(seen.host, seen.node)
        self.total = 0
        self.blocked = False
        self.counts: Counter[str] = Counter()
        self.documents: list[dict[str, object]] = []
        self.shown = 0
        self.clean: list[str] = []
        self.of_node: list[Judged] = []
        self.remarked: list[Verdict] = []
        self.starts: dict[tuple[StartVerdict, str], list[str]] = {}

    @property
    def named(self) -> list[int]:
        """The VMIDs that were asked for, none where all are meant."""
        return list(self._options.vmid)

    @property
    def heavy(self) -> list[Judged]:
        """What `check` shows of the node itself; `host check` shows the rest."""
        return [item for item in self.of_node if item.finding.severity in _HEAVY]

    def look(self) -> None:
        """Looks at the guests that were named, or at all of them and at the node."""
        seen, named = self._seen, self._options.vmid
        ids = seen.guest_ids(named)
        self.total = len(ids)
        if named:
            for verdict in seen.verdicts(ids):
                self._add(verdict)
            return
        node = seen.facts()
        wanted = not (self._options.json or self._options.quiet)
        with terminal.progress(len(ids), f"looking at {len(ids)} VMs", seen.host.monotonic, wanted) as progress:
            for verdict in seen.all_verdicts(node, progress.step):
                self._add(verdict, progress)
            self.of_node = wording.sort(Judged(finding, "") for finding in seen.node_findings(node))
        self._show(seen.node, self.heavy)

    def _show(self, label: str, found: Iterable[Judged], progress: terminal.Progress | None = None) -> None:
        """Prints the findings at once: a reader of the output need not wait for the rest."""
        rows = [] if self._options.json else list(findings.rows(label, found))
        if not rows:
            return
        if progress is not None:
            progress.erase()
        findings.show(rows, self._options.quiet)
        sys.stdout.flush()
        self.shown += len(rows)

    def _add(self, verdict: Verdict, progress: terminal.Progress | None = None) -> None:
        guest = verdict.guest
        self.blocked |= verdict.blocked
        self.counts["guests"] += 1
        if self._options.json:
            self.documents.append(_guest(verdict, self._seen.settings.guard(guest.vmid).mode))
            return
        # Of another node nothing can be read but what pmxcfs holds: that is said once.
        unexamined = [item for item in verdict.findings if self._elsewhere and not item.finding.examined]
        self.counts["unexamined"] += len(unexamined)
        shown = [item for item in verdict.findings if item not in unexamined]
        for item in shown:
            self.counts["ignored" if item.ignored else item.finding.severity.value] += 1
        hidden = 0
        if self._options.quiet:
            shown = [item for item in shown if not item.ignored and item.finding.severity in _HEAVY]
        elif not self._options.all:
            hidden = sum(not needs_action(item) for item in shown)
            shown = [item for item in shown if needs_action(item)]
        self.counts["hidden"] += hidden
        self._show(guest.label, shown, progress)
        if self._options.vmid and not shown:
            more = f"; {hidden} for information: pvehooks check {guest.vmid} --all" if hidden else ""
            self.clean.append(f"{guest.label}: {'nothing to do' if hidden else 'nothing found'}{more}")
        if verdict.start is not StartVerdict.WOULD:
            self.starts.setdefault((verdict.start, verdict.why_unguarded), []).append(guest.label)
        if guest.passes_through or guard_state.allowed(guest):
            self.remarked.append(verdict)


def _show_rest(seen: View, audit: _Audit) -> None:
    """What stands below the findings."""
    for line in audit.clean:
        print(wording.printable(line))
    for line in _starts(audit):
        print(wording.printable(line))
    for line in last_starts.lines(seen, audit.named):
        print(wording.printable(line))
    print(_summary(seen.node, audit.counts))
    if count := audit.counts["unexamined"]:
        times = "once" if count == 1 else f"{count} times"
        print(f"what only {seen.node} itself can read was not examined ({times}): run this on {seen.node}")
    if audit.heavy:
        print(f"{wording.counted(len(audit.heavy), 'finding')} of {seen.node} itself; all of it: pvehooks host check")
    for line in guard_state.remarks(audit.remarked, seen.settings):
        print(wording.printable(line))


def _starts(audit: _Audit) -> Iterator[str]:
    """Which guests must not start, then which would not."""
    for start, unguarded in sorted(audit.starts, key=lambda key: (key[0] is not StartVerdict.MUST_NOT, key[1])):
        yield f"{wording.start(start, unguarded)}: {wording.and_more(audit.starts[start, unguarded])}"


def _show_interrupted(audit: _Audit) -> None:
    """How much was looked at before Ctrl-C; half a JSON document is none."""
    done = audit.counts["guests"]
    above = "; the findings above are of those" if audit.shown else ""
    print(f"pvehooks: interrupted, {done} of {wording.counted(audit.total, 'VM')} looked at{above}", file=sys.stderr)


def _summary(node: str, counts: Counter[str]) -> str:
    kinds = [(counts[name], name) for name in ("block", "warning", "info", "ignored")]
    parts = [f"{count} {name}{'s' if name == 'warning' and count != 1 else ''}" for count, name in kinds if count]
    hidden = f" ({counts['hidden']} not shown, see: pvehooks check --all)" if counts["hidden"] else ""
    return f"{wording.counted(counts['guests'], 'VM')} on {node}: {', '.join(parts) or 'nothing found'}{hidden}"


def _document(seen: View, audit: _Audit) -> dict[str, object]:
    return {
        "version": 1,
        "node": seen.node,
        "guard_mode": seen.settings.guard().mode,
        "guests": audit.documents,
        "failed_starts": [each.as_json() for each in last_starts.failed(seen, audit.named)],
        "node_findings": [wording.as_json(item) for item in audit.of_node],
    }


def _guest(verdict: Verdict, mode: str) -> dict[str, object]:
    return {
        "vmid": verdict.guest.vmid,
        "name": wording.printable(verdict.guest.name),
        "verdict": wording.outcome(verdict),
        "start": verdict.start.value,
        "nothing_stops_it": verdict.why_unguarded or None,
        "guarded": guard_state.guarded(verdict.guest, mode),
        "allowed": guard_state.allowed(verdict.guest),
        "findings": [wording.as_json(item) for item in wording.sort(verdict.findings)],
    }
