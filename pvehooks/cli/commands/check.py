"""pvehooks check: findings of this node's guests."""

from __future__ import annotations

import argparse
import sys

from pvehooks import wording
from pvehooks.cli import findings, guests, terminal
from pvehooks.cli.audit_formats import FORMATS, unknown
from pvehooks.cli.audit_results import AuditOutput, AuditText, AuditTotals
from pvehooks.cli.commands import rules
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_INTERRUPTED, PvehooksError, UsageError
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.judge import needs_action
from pvehooks.values import Judged, Severity, Verdict

SUMMARY = "show what is wrong with the VMs of this node, and what to do"
EXAMPLE = "pvehooks check 100 101"
_HEAVY = (Severity.BLOCK, Severity.WARNING)
# The formats with all findings, unless some are asked for.
_WHOLE = ("json", "jsonl")
_LEVELS = tuple(each.value for each in (*_HEAVY, Severity.INFO))


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("vmid", nargs="*", type=guests.vmid, metavar="VMID", help="only these VMs (default: all of this node)")
    parser.add_argument(
        "--target",
        metavar="NODE",
        default="",
        help="check whether the VMs would start on that node of the cluster, by what it publishes",
    )
    parser.add_argument("--all", action="store_true", help="show also what is for information only, and asks for nothing")
    parser.add_argument(
        "--severity", choices=_LEVELS, metavar="LEVEL", default="", help="show only what is so severe, or more: block, warning, info"
    )
    parser.add_argument("--rule", action="append", metavar="RULE", default=[], help="show only the findings of this rule; can be repeated")
    parser.add_argument("--quiet", action="store_true", help="a line for each finding that blocks or warns, and nothing else: for cron")
    parser.add_argument(
        "--format",
        choices=(*FORMATS,),
        metavar="FORMAT",
        default="",
        help="text, json, jsonl (a line of JSON for each finding), markdown, or nagios (one line, and its exit status)",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the findings; the status shows whether anything blocks, whatever is shown."""
    _require_fitting(options)
    if options.target:
        from pvehooks.cli import target

        return target.run(options)
    if options.format != "nagios":
        return _run(options)
    try:
        return _run(options)
    except PvehooksError as error:
        return unknown(error.message.partition("\n")[0])
    finally:
        # Its statuses have another meaning.
        options.broken_settings = ""


def _require_fitting(options: argparse.Namespace) -> None:
    """Takes --json as a format. Raises UsageError for options that exclude each other, and for a rule that does not exist."""
    for rule in options.rule:
        rules.known(rule)
    form = options.format or ("json" if options.json else "text")
    given = {
        "--quiet": options.quiet,
        "--json": options.json,
        f"--format {form}": form != "text" and not options.json,
        "--target": options.target,
        "--all": options.all,
        "--severity": options.severity,
        "--rule": options.rule,
    }
    if options.json and form != "json":
        raise UsageError(f"--json and --format {form} exclude each other")
    excluded = {"--quiet": {"--json", f"--format {form}", "--target", "--all"}, "--severity": {"--all"}}
    if form != "json":
        excluded["--target"] = {f"--format {form}"}
    for option, others in excluded.items():
        for other in filter(given.get, others if given[option] else ()):
            raise UsageError(f"{option} and {other} exclude each other")
    options.format, options.json = form, form == "json"


def _run(options: argparse.Namespace) -> int:
    seen = view(options, looking=True).once()
    ids = seen.guest_ids(options.vmid)
    totals = AuditTotals(seen, options.vmid, len(ids), options.broken_settings)
    output = AuditText(totals, quiet=True) if options.quiet else FORMATS[options.format](totals)
    audit = _Audit(seen, options, totals, output)
    try:
        audit.look(ids)
    except KeyboardInterrupt:
        output.show_rest()
        done, above = totals.counts["guests"], "; the findings above are of those" if output.shown else ""
        print(f"pvehooks: interrupted, {done} of {wording.counted(totals.total, 'VM')} looked at{above}", file=sys.stderr)
        return EXIT_INTERRUPTED
    output.end()
    return output.status()


class _Audit:
    """Looks at the guests that were named, or at all of them and at the node, and hands on what is to be shown."""

    def __init__(self, seen: View, options: argparse.Namespace, totals: AuditTotals, output: AuditOutput) -> None:
        self._seen = seen
        self._options = options
        self._totals = totals
        self._output = output
        self._elsewhere = node_facts.is_another(seen.host, seen.node)

    def look(self, ids: list[int]) -> None:
        """Looks at all of it."""
        seen, output = self._seen, self._output
        output.begin()
        if self._options.vmid:
            for verdict in seen.verdicts(ids):
                self._add(verdict)
            return
        node = seen.facts()
        wanted = self._options.format in ("text", "markdown") and not self._options.quiet
        with terminal.progress(len(ids), f"looking at {wording.counted(len(ids), 'VM')}", seen.host.monotonic, wanted) as progress:
            output.erase = progress.erase
            for verdict in seen.all_verdicts(node, progress.step):
                self._add(verdict)
            found = wording.sort(Judged(finding, "") for finding in seen.node_findings(node))
        shown = list(filter(self._is_shown, found))
        if self._options.format not in _WHOLE:
            # `host check` shows the rest.
            shown = [item for item in shown if item.finding.severity in _HEAVY]
        self._totals.counts["of_node"] = len(shown)
        output.node(shown)

    def _add(self, verdict: Verdict) -> None:
        # Of another node nothing can be read but what pmxcfs holds: people read that once.
        apart = self._elsewhere and self._options.format not in _WHOLE
        found = [item for item in verdict.findings if item.finding.examined or not apart]
        self._totals.counts["unexamined"] += len(verdict.findings) - len(found)
        shown = list(filter(self._is_shown, found))
        self._totals.add(verdict, found, len(found) - len(shown))
        self._output.guest(verdict, shown, len(found) - len(shown))

    def _is_shown(self, item: Judged) -> bool:
        options, found = self._options, item.finding
        if not findings.is_asked_for(item, options.rule, options.severity):
            return False
        if options.quiet:
            return found.severity in _HEAVY and not item.ignored
        return bool(options.rule or options.severity or options.all) or options.format in _WHOLE or needs_action(item)
