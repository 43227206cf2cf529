"""What `check` finds, counted and as text. The other formats are in audit_formats.py."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator

from pvehooks import wording
from pvehooks.cli import findings, guard_state, last_starts, terminal
from pvehooks.cli.finding_groups import FindingGroups
from pvehooks.cli.view import View
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK
from pvehooks.values import Judged, StartVerdict, Verdict

# So many VMs are looked at before what blocks is shown.
_CHUNK = 100


class AuditTotals:
    """What is counted on the way, and the few verdicts that are needed at the end.

    `starts` are the labels by what a start comes to, where it is not as it should be. `problem` is an error in the settings, '' without one.
    """

    def __init__(self, seen: View, named: list[int], total: int, problem: str = "") -> None:
        self.seen = seen
        self.named = named
        self.total = total
        self.problem = problem
        self.blocked = False
        self.counts: Counter[str] = Counter()
        self.remarked: list[Verdict] = []
        self.starts: dict[tuple[StartVerdict, str], list[str]] = {}

    def add(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """One more VM, with those of its findings that are counted, and how many of them are not shown."""
        guest = verdict.guest
        self.blocked |= verdict.blocked
        self.counts["guests"] += 1
        self.counts["hidden"] += hidden
        for item in found:
            self.counts["ignored" if item.ignored else item.finding.severity.value] += 1
        if verdict.start is not StartVerdict.WOULD:
            self.starts.setdefault((verdict.start, verdict.why_unguarded), []).append(guest.label)
        if guest.passes_through or guard_state.allowed(guest):
            self.remarked.append(verdict)

    def summary(self) -> str:
        """All of it in one line."""
        kinds = [(self.counts[name], name) for name in ("block", "warning", "info", "ignored")]
        parts = [f"{count} {name}{'s' if name == 'warning' and count != 1 else ''}" for count, name in kinds if count]
        hidden = f" ({self.counts['hidden']} not shown, see: pvehooks check --all)" if self.counts["hidden"] else ""
        return f"{wording.counted(self.counts['guests'], 'VM')} on {self.seen.node}: {', '.join(parts) or 'nothing found'}{hidden}"

    def start_lines(self) -> Iterator[str]:
        """Which guests must not start, then which would not."""
        for start, unguarded in sorted(self.starts, key=lambda key: (key[0] is not StartVerdict.MUST_NOT, key[1])):
            yield f"{wording.start(start, unguarded)}: {wording.and_more(self.starts[start, unguarded])}"


class AuditOutput:
    """What is printed of an audit, and when."""

    # How many rows there are already.
    shown = 0

    def __init__(self, totals: AuditTotals) -> None:
        self.totals = totals
        # Erases what stands in the way on a terminal.
        self.erase: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Before the first VM."""

    def guest(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """A VM, those of its findings that are to be shown, and how many others there are."""

    def node(self, found: list[Judged]) -> None:
        """Those of the node that are to be shown."""

    def show_rest(self) -> None:
        """All findings so far: an interrupted audit ends with them."""

    def end(self) -> None:
        """After the last VM and the node."""

    def status(self) -> int:
        """The exit status."""
        return EXIT_BLOCKED if self.totals.blocked else EXIT_OK


class AuditOfGroups(AuditOutput):
    """What shows equal findings as one."""

    def __init__(self, totals: AuditTotals) -> None:
        super().__init__(totals)
        self.groups = FindingGroups()

    def guest(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """A VM's findings are collected."""
        if found:
            self.groups.add(findings.rows(verdict.guest.label, found, verdict.guest.vmid))

    def node(self, found: list[Judged]) -> None:
        """So are those of the node."""
        self.groups.add(findings.rows(self.totals.seen.node, found))


class AuditText(AuditOfGroups):
    """Text for people, most severe first: what blocks soon after it is found, the rest once all VMs are looked at. `quiet`: a line each, nothing else."""

    def __init__(self, totals: AuditTotals, quiet: bool = False) -> None:
        super().__init__(totals)
        self._quiet = quiet
        self._clean: list[str] = []
        self._looked_at = 0

    def begin(self) -> None:
        """A first line where the rest takes a while."""
        totals = self.totals
        if totals.total > _CHUNK and not (self._quiet or totals.named or terminal.on_terminal()):
            print(f"{totals.seen.node}: looking at {totals.total} VMs. What blocks comes first", flush=True)

    def guest(self, verdict: Verdict, found: list[Judged], hidden: int) -> None:
        """What blocks is shown once some more VMs are looked at."""
        super().guest(verdict, found, hidden)
        guest = verdict.guest
        self._looked_at += 1
        if self._looked_at % _CHUNK == 0:
            self._show(self.groups.take_blocking())
        if self.totals.named and not found:
            more = f"; {hidden} for information: pvehooks check {guest.vmid} --all" if hidden else ""
            self._clean.append(f"{guest.label}: {'nothing to do' if hidden else 'nothing found'}{more}")

    def show_rest(self) -> None:
        """The findings that are not shown yet."""
        self._show(self.groups.take())

    def end(self) -> None:
        """All that was not shown yet, and what stands below the findings; the last line sums up."""
        self.show_rest()
        if self._quiet:
            return
        totals = self.totals
        node = totals.seen.node
        for line in (
            *self._clean,
            *last_starts.lines(totals.seen, totals.named),
            *guard_state.remarks(totals.remarked, totals.seen.settings),
        ):
            terminal.write(line)
        if totals.counts["of_node"]:
            terminal.write(f"{wording.counted(totals.counts['of_node'], 'finding')} of {node} itself; all of it: pvehooks host check")
        for line in totals.start_lines():
            terminal.write(line)
        if count := totals.counts["unexamined"]:
            times = "once" if count == 1 else f"{count} times"
            terminal.write(f"what only {node} itself can read was not examined ({times}): run this on {node}")
        terminal.write(totals.summary())

    def _show(self, rows: list[findings.FindingRow]) -> None:
        if rows:
            self.erase()
            findings.show(rows, self._quiet)
            sys.stdout.flush()
            self.shown += len(rows)
