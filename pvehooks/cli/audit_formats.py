"""The formats of `check` beside text: JSON, JSON lines, Markdown, and a line for Nagios."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pvehooks import wording
from pvehooks.cli import envelope, guard_state, last_starts
from pvehooks.cli.audit_results import AuditOfGroups, AuditOutput, AuditText, AuditTotals
from pvehooks.values import Judged, Verdict

# The states of a monitoring plugin, by exit status.
_NAGIOS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
_UNKNOWN = 3
_FIGURES = (("vms", "guests"), ("block", "block"), ("warning", "warning"), ("info", "info"), ("ignored", "ignored"))


class AuditJson(AuditOutput):
    """One JSON document; half of one is none."""

    def __init__(self, totals: AuditTotals) -> None:
        super().__init__(totals)
        self._guests: list[dict[str, object]] = []
        self._of_node: list[dict[str, object]] = []

    def guest(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """A VM's part."""
        mode = self.totals.seen.settings.guard(verdict.guest.vmid).mode
        self._guests.append({**_guest(verdict, mode), "findings": [wording.as_json(item) for item in wording.sort(found)]})

    def node(self, found: list[Judged]) -> None:
        """The node's part."""
        self._of_node = [wording.as_json(item) for item in found]

    def end(self) -> None:
        """The document."""
        totals = self.totals
        document = {
            "guard_mode": totals.seen.settings.guard().mode,
            "guests": self._guests,
            "failed_starts": [each.as_json() for each in last_starts.failed(totals.seen, totals.named)],
            "node_findings": self._of_node,
        }
        envelope.show(totals.seen.host, totals.seen.node, document)


class AuditJsonLines(AuditOutput):
    """A line of JSON for each finding, as soon as it is found."""

    def guest(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """A VM's findings."""
        guest = verdict.guest
        self._write(found, {"vmid": guest.vmid, "name": wording.printable(guest.name), "start": verdict.start.value})

    def node(self, found: list[Judged]) -> None:
        """The node's findings."""
        self._write(found, {"vmid": None, "name": None, "start": None})

    def _write(self, found: list[Judged], whose: Mapping[str, object]) -> None:
        seen = self.totals.seen
        for item in wording.sort(found):
            envelope.show_line(seen.host, seen.node, {**whose, **wording.as_json(item)})
            self.shown += 1


class AuditMarkdown(AuditOfGroups):
    """Markdown for tickets and wikis, most severe first."""

    def show_rest(self) -> None:
        """The findings, a list item each."""
        from pvehooks.report.markdown import code, text

        for row in self.groups.take():
            print(f"- **{text(row.label)}**: {row.severity}: {text(row.message)} {' '.join(map(code, row.rules))}\n")
            for words, command in row.steps:
                if words:
                    print(f"  {text(words)}\n")
                if command:
                    print(f"      {wording.printable(command)}\n")

    def end(self) -> None:
        """The page."""
        from pvehooks.report.markdown import text

        totals = self.totals
        print(f"# {text(totals.seen.node)}: VMs\n\n{text(totals.summary())}\n")
        for line in (*totals.start_lines(), *last_starts.lines(totals.seen, totals.named)):
            print(f"{text(line)}\n")
        self.show_rest()


class AuditNagios(AuditOutput):
    """One line, with figures behind a bar, as monitoring-plugins.org wants it."""

    def node(self, found: list[Judged]) -> None:
        """The node's findings count, too."""
        self.totals.counts.update(item.finding.severity.value for item in found)

    def end(self) -> None:
        """The line."""
        counts, state = self.totals.counts, _NAGIOS[self.status()]
        more = "; ".join((*self.totals.start_lines(), *filter(None, [self.totals.problem]))).replace("|", "/")
        figures = " ".join(f"{label}={counts[name]}" for label, name in _FIGURES)
        words = self.totals.summary().partition(" (")[0]
        print(wording.printable(f"PVEHOOKS {state} - {words}{f'; {more}' if more else ''} | {figures}"))

    def status(self) -> int:
        """The exit status that Nagios expects."""
        counts = self.totals.counts
        return 2 if self.totals.blocked or counts["block"] else 1 if counts["warning"] or self.totals.problem else 0


def unknown(why: str) -> int:
    """The line for Nagios where nothing could be looked at; returns the exit status."""
    print(wording.printable(f"PVEHOOKS {_NAGIOS[_UNKNOWN]} - {why}"))
    return _UNKNOWN


def _guest(verdict: Verdict, mode: str) -> dict[str, object]:
    return {
        "vmid": verdict.guest.vmid,
        "name": wording.printable(verdict.guest.name),
        "verdict": wording.outcome(verdict),
        "start": verdict.start.value,
        "nothing_stops_it": verdict.why_unguarded or None,
        "guarded": guard_state.guarded(verdict.guest, mode),
        "allowed": guard_state.allowed(verdict.guest),
    }


FORMATS: dict[str, Callable[[AuditTotals], AuditOutput]] = {
    "text": AuditText,
    "json": AuditJson,
    "jsonl": AuditJsonLines,
    "markdown": AuditMarkdown,
    "nagios": AuditNagios,
}
