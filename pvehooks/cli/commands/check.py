"""pvehooks check: findings of this node's guests."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from pvehooks.cli import guard_state, target, terminal, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_INTERRUPTED, EXIT_OK, UsageError
from pvehooks.facts import node as node_facts
from pvehooks.report import table, words
from pvehooks.values import Judged, Severity, Verdict

EXAMPLE = "pvehooks check 100 101"
_HEAVY = (Severity.BLOCK, Severity.WARNING)
_Row = tuple[str, str, str, str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=view.vmid, metavar="VMID", help="only these guests (default: all of this node)")
    parser.add_argument("--target", metavar="NODE", default="", help=target.HELP)
    parser.add_argument("--quiet", action="store_true", help="a line for each finding that blocks or warns, and nothing else: for cron")


def run(options: argparse.Namespace) -> int:
    """Prints the findings; the status tells whether anything blocks."""
    if options.quiet and (options.json or options.target):
        raise UsageError(f"--quiet and {'--json' if options.json else '--target'} exclude each other")
    if options.target:
        return target.run(options)
    audit = _Audit(view.view(options), options)
    try:
        audit.look()
    except KeyboardInterrupt:
        audit.show_interrupted()
        return EXIT_INTERRUPTED
    audit.show()
    return EXIT_BLOCKED if audit.blocked else EXIT_OK


class _Audit:
    """What was found, in words: of thousands of guests no more is kept."""

    def __init__(self, seen: view.View, options: argparse.Namespace) -> None:
        self.seen = seen
        self.options = options
        self.total = 0
        self.blocked = False
        self.elsewhere = node_facts.is_another(seen.host, seen.node)
        self.counts: Counter[str] = Counter()
        self.guests: list[dict[str, object]] = []
        self.rows: list[_Row] = []
        self.clean: list[str] = []
        self.of_node: list[Judged] = []
        self.remarked: list[Verdict] = []

    def look(self) -> None:
        """Looks at the guests that were named, or at all of them and at the node."""
        ids = self.seen.guest_ids(self.options.vmid)
        self.total = len(ids)
        if self.options.vmid:
            for verdict in self.seen.verdicts(ids):
                self._add(verdict)
            return
        node = self.seen.facts()
        wanted = not (self.options.json or self.options.quiet)
        with terminal.shown(2 * len(ids), f"looking at {len(ids)} VMs", self.seen.host.monotonic, wanted) as step:
            for verdict in self.seen.all_verdicts(node, step):
                self._add(verdict)
            self.of_node = words.sort(Judged(finding, "") for finding in self.seen.node_findings(node))

    def _add(self, verdict: Verdict) -> None:
        guest = verdict.guest
        self.blocked |= verdict.blocked
        self.counts["guests"] += 1
        if self.options.json:
            self.guests.append(_guest(verdict))
            return
        # Of another node nothing can be read but what pmxcfs holds: that is said once.
        unexamined = [item for item in verdict.findings if self.elsewhere and not item.finding.examined]
        self.counts["unexamined"] += len(unexamined)
        shown = [item for item in verdict.findings if item not in unexamined]
        for item in words.sort(shown):
            self.counts["ignored" if item.ignored else item.finding.severity.value] += 1
            if not self.options.quiet or (not item.ignored and item.finding.severity in _HEAVY):
                self.rows.append(_row(guest.label, item))
        if self.options.vmid and not shown:
            self.clean.append(guest.label)
        if guest.passes_through or guard_state.allowed(guest):
            self.remarked.append(verdict)

    def show(self) -> None:
        """Prints all of it."""
        if self.options.json:
            print(json.dumps(self._document(), indent=2))
            return
        # What is good to know of the node is for who asks for the node.
        heavy = [item for item in self.of_node if item.finding.severity in _HEAVY]
        _print_rows([*self.rows, *(_row(self.seen.node, item) for item in heavy)], self.options.quiet)
        if self.options.quiet:
            return
        for label in self.clean:
            print(words.printable(f"{label}: nothing found"))
        print(self._summary())
        if count := self.counts["unexamined"]:
            times = "once" if count == 1 else f"{count} times"
            print(f"what only {self.seen.node} itself can tell was not examined ({times}): run this on {self.seen.node}")
        if heavy:
            print(f"{words.counted(len(heavy), 'finding')} of {self.seen.node} itself; all of it: pvehooks host check")
        for line in guard_state.remarks(self.remarked, self.seen.settings):
            print(words.printable(line))

    def show_interrupted(self) -> None:
        """Prints what was found before somebody put an end to it; half a JSON document is none."""
        _print_rows(self.rows, self.options.quiet)
        sys.stdout.flush()
        done = self.counts["guests"]
        above = "; the findings above are of those" if self.rows else ""
        print(f"pvehooks: interrupted, {done} of {words.counted(self.total, 'VM')} looked at{above}", file=sys.stderr)

    def _document(self) -> dict[str, object]:
        return {
            "version": 1,
            "node": self.seen.node,
            "guard_mode": self.seen.settings.guard().mode,
            "guests": self.guests,
            "node_findings": [words.as_json(item) for item in self.of_node],
        }

    def _summary(self) -> str:
        kinds = [(self.counts[name], name) for name in ("block", "warning", "info", "ignored")]
        parts = [f"{count} {name}{'s' if name == 'warning' and count != 1 else ''}" for count, name in kinds if count]
        return f"{words.counted(self.counts['guests'], 'VM')} on {self.seen.node}: {', '.join(parts) or 'nothing found'}"


def _guest(verdict: Verdict) -> dict[str, object]:
    return {
        "vmid": verdict.guest.vmid,
        "name": words.printable(verdict.guest.name),
        "verdict": words.outcome(verdict),
        "allowed": guard_state.allowed(verdict.guest),
        "findings": [words.as_json(item) for item in words.sort(verdict.findings)],
    }


def _print_rows(rows: list[_Row], plain: bool) -> None:
    """A table on a terminal, else a line each."""
    if table.on_terminal() and not plain:
        if rows:
            table.show(("guest", "severity", "rule", "what, and what to do"), rows)
        return
    for guest, severity, rule, text in rows:
        print(words.printable(f"{guest}: {severity}: {text} [{rule}]"))


def _row(label: str, item: Judged) -> _Row:
    severity = "ignored" if item.ignored else item.finding.severity.value
    text = words.sentence(item.finding)
    return label, severity, item.finding.rule, f"{text} (ignored: {item.ignored})" if item.ignored else text
