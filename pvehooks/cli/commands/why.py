"""pvehooks why: the cause of a start that failed."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from pvehooks import wording
from pvehooks.causes.registry import Diagnosis, Rank, diagnose, sentence
from pvehooks.cli import envelope, terminal
from pvehooks.cli.last_starts import label_of, when
from pvehooks.cli.view import View, view
from pvehooks.errors import EXIT_BLOCKED, EXIT_OK, NodeError, PvehooksError, UsageError
from pvehooks.facts.cluster import ha
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.node import tasks as task_facts
from pvehooks.judge import needs_action
from pvehooks.values import Severity, StartVerdict, Unread, Verdict
from pvehooks.values.tasks import FailedStart, Task
from pvehooks.wording import printable

SUMMARY = "explain why the last start of a VM failed, and what to do"
EXAMPLE = "pvehooks why 100"
_MOST_OTHERS = 3
_LAST_LINES = 5
_WIDEST = 100
_LONGEST = 400
_NOT_AT_BOOT = "It is not started when the node boots. To have that:"
_SOURCES = {"task": "task log", "index": "task index", "kernel": "kernel"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "start", nargs="?", default="", metavar="VMID|UPID", help="a VM, or a task (default: all VMs whose last start failed)"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the cause; the status shows whether there is a start that failed."""
    seen = view(options, looking=True)
    tasks = task_facts.ended(seen.host)
    if isinstance(tasks, Unread):
        raise NodeError(f"the tasks of this node cannot be read: {tasks.why}")
    if not options.start:
        return _all(seen, tuple(task_facts.starts_that_failed(tasks)), options.json)
    task = _task(options.start, tasks, seen)
    if not task.failed:
        _worked(seen, task, options.json)
        return EXIT_OK
    explained = Explained(seen, task)
    if options.json:
        envelope.show(seen.host, seen.node, explained.as_json())
    else:
        _print(explained.lines())
    return EXIT_BLOCKED


def _task(asked: str, tasks: tuple[Task, ...], seen: View) -> Task:
    """The task that is meant. Raises UsageError."""
    if asked.startswith("UPID:"):
        if not task_facts.is_upid(asked):
            raise UsageError(f"'{asked}' is no UPID", hint="Tasks with their UPIDs: pvesh get /nodes/$(hostname)/tasks")
        found = next((task for task in tasks if task.upid == asked), None)
        if found is None:
            raise UsageError(f"this node has no ended task {asked}")
        if not task_facts.is_start(found):
            raise UsageError(f"{asked} is no start of a VM")
        return found
    vmid = node_facts.vmid_of(f"{asked}.conf")
    if vmid is None:
        raise UsageError(f"'{asked}' is neither a VMID (a number from 100 to 999999999) nor a UPID")
    last = task_facts.last_start(tasks, vmid)
    if last is None:
        raise UsageError(
            f"this node's task log has no start of VM {vmid}",
            hint=f"{_NOT_AT_BOOT} qm set {vmid} --onboot 1"
            if _is_off(seen, vmid, at_boot=True)
            else "It keeps about the last 2,000 tasks, of this node only: was the VM started on another one?"
            f" Would it start now: pvehooks check {vmid}",
        )
    return last


def _worked(seen: View, task: Task, as_json: bool) -> None:
    if as_json:
        envelope.show(
            seen.host, seen.node, {**_task_as_json(task), "cause": None, "diagnoses": [], "rule_ids": [], "not_read": [], "rules": []}
        )
    else:
        print(f"{label_of(seen, int(task.id))}: its last start worked ({when(task.ended)}{_by(task)})")
        _print(_since(seen, int(task.id)))


def _since(seen: View, vmid: int) -> Iterator[str]:
    """What there is to know of a VM whose last start worked, if it does not run."""
    if node_facts.is_another(seen.host, seen.node) or not _is_off(seen, vmid):
        return
    yield "It does not run now. Who stopped it, or what ended it:"
    yield f"      pvesh get /nodes/$(hostname)/tasks --vmid {vmid} --limit 10"
    yield f"      journalctl -u {vmid}.scope -n 20"
    if _is_off(seen, vmid, at_boot=True):
        yield _NOT_AT_BOOT
        yield f"      qm set {vmid} --onboot 1"


def _is_off(seen: View, vmid: int, at_boot: bool = False) -> bool:
    """Whether the VM does not run; `at_boot`: and nothing starts it at the node's boot, so that no start of it need have failed."""
    try:
        guest = seen.guest(vmid)
    except PvehooksError:
        return False
    return not guest.running and not (at_boot and (guest.template or ha.starts_at_boot(guest, ha.vmids(seen.host))))


def _all(seen: View, failed: tuple[Task, ...], as_json: bool) -> int:
    """A line for each VM whose last start failed."""
    explained = [Explained(seen, task) for task in failed]
    if as_json:
        starts = [each.as_json() for each in explained]
        # "failed" is deprecated.
        envelope.show(seen.host, seen.node, {"failed_starts": starts, "failed": starts})
    elif not failed:
        print("No VM's last start failed, as far as this node's task log goes back.")
        print("Whether one was started at all: pvehooks why VMID")
    else:
        for each in explained:
            terminal.write(f"{each.label}: {when(each.task.ended)}: {each.sentence}. More: pvehooks why {each.task.id}")
    return EXIT_BLOCKED if failed else EXIT_OK


def _by(task: Task) -> str:
    return f", by {task.user}"


def _task_as_json(task: Task) -> dict[str, object]:
    return {
        "upid": task.upid,
        "vmid": int(task.id),
        "started": task.started,
        "ended": task.ended,
        "status": printable(task.status),
    }


class Explained:
    """A start that failed, with what its logs show, and with what the rules find of the VM now."""

    def __init__(self, seen: View, task: Task) -> None:
        self.task = task
        self.label = label_of(seen, int(task.id))
        self.failure: FailedStart = task_facts.failed_start(seen.host, task)
        self.found: tuple[Diagnosis, ...] = diagnose(self.failure)
        self.verdict: Verdict | None = None
        if self.failure.vmid and not node_facts.is_another(seen.host, seen.node):
            try:
                seen.guest(self.failure.vmid)
                self.verdict = next(iter(seen.verdicts([self.failure.vmid])))
            except PvehooksError:
                self.verdict = None

    @property
    def best(self) -> Diagnosis | None:
        """The cause, None where nothing known is in the logs."""
        return self.found[0] if self.found else None

    @property
    def sentence(self) -> str:
        """The cause in words."""
        return sentence(self.found, self.task)

    def confirmed(self) -> list[tuple[str, str, str]]:
        """What the rules find now that can be the same: (rule, message, remedy)."""
        ids = set(self.best.cause.rules) if self.best else set()
        if self.verdict is None:
            return []
        return [
            (item.finding.rule, item.finding.message, item.finding.remedy)
            for item in self.verdict.findings
            if not item.ignored
            and needs_action(item)
            and (item.finding.rule in ids or (not ids and item.finding.severity is Severity.BLOCK))
        ]

    def lines(self) -> Iterator[str]:
        """All of it for people; '' ends a paragraph."""
        seconds = max(0, self.task.ended - self.task.started)
        yield f"{self.label}: its start failed on {when(self.task.ended)}, after {seconds} s{_by(self.task)}."
        yield ""
        best = self.best
        if best is None:
            yield "Cause: not known. The last lines of the task's log:"
            yield from self._last_lines()
            yield from self._rest()
            return
        yield f"Cause: {best.message} [{best.cause.id}]"
        yield from self._evidence(best)
        yield best.cause.explanation
        if best.cause.rank is not Rank.ROOT:
            yield "The last lines of the task's log:"
            yield from self._last_lines()
        yield ""
        confirmed = self.confirmed()
        for rule, message, remedy in confirmed:
            yield f"Found now: {message} [{rule}]"
            yield from _remedy(remedy)
        if not confirmed or best.cause.rank is Rank.ROOT:
            yield "What to do:"
            yield from _remedy(best.remedy)
        others = [each for each in self.found[1:] if each.cause.rank >= best.cause.rank or each.cause.rank is not Rank.GENERAL]
        if others:
            yield ""
            yield "It could also be, or be a consequence:"
            for each in others[:_MOST_OTHERS]:
                yield f"  {each.message} [{each.cause.id}]"
                yield from self._evidence(each)
        yield from self._rest()

    def _last_lines(self) -> Iterator[str]:
        for line in [line for line in self.failure.lines if line.source != "kernel"][-_LAST_LINES:]:
            yield f"    {_short(line.text)}"

    @staticmethod
    def _evidence(diagnosis: Diagnosis) -> Iterator[str]:
        line = diagnosis.evidence
        where = f"task log, line {line.number}" if line.number and line.source == "task" else _SOURCES[line.source]
        yield f"    {_short(line.text)}  ({where})"

    def _rest(self) -> Iterator[str]:
        yield ""
        for why in self.failure.unread:
            yield f"Not read: {why}"
        if self.verdict is not None:
            if self.verdict.start is StartVerdict.WOULD:
                yield f"Of what pvehooks examines nothing would stop a start now (pvehooks check {self.failure.vmid})."
            else:
                yield f"A start now: {wording.start(self.verdict.start, self.verdict.why_unguarded)} (pvehooks check {self.failure.vmid})"
        yield "The whole log:"
        yield f"      pvesh get /nodes/$(hostname)/tasks/{self.task.upid}/log"

    def as_json(self) -> dict[str, object]:
        """All of it for programs."""
        rules = [rule for rule, _, _ in self.confirmed()]
        return {
            **_task_as_json(self.task),
            "cause": self.best.cause.id if self.best else None,
            "diagnoses": [
                {
                    "cause": each.cause.id,
                    "rank": each.cause.rank.name.lower(),
                    "message": printable(each.message),
                    "explanation": each.cause.explanation,
                    "remedy": printable(each.remedy),
                    "log": each.evidence.source,
                    "line": each.evidence.number,
                    "text": printable(each.evidence.text),
                }
                for each in self.found
            ],
            "rule_ids": rules,
            "not_read": [printable(why) for why in self.failure.unread],
            # Deprecated.
            "rules": rules,
        }


def _short(text: str) -> str:
    """A line of a log that a person can take in."""
    text = text.strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} [...] {text[-_LONGEST // 2 :]}"


def _remedy(remedy: str) -> Iterator[str]:
    for words, command in wording.steps(remedy):
        if words:
            yield f"  {words}"
        if command:
            yield f"      {command}"


def _print(lines: Iterator[str]) -> None:
    """Words are wrapped, evidence and commands are not: what is copied can be pasted or searched for."""
    width = min(terminal.width(), _WIDEST)
    for line in lines:
        clean = printable(line)
        if clean.startswith("    ") or len(clean) <= width:
            print(clean)
            continue
        indent = " " * (len(clean) - len(clean.lstrip()))
        print(
            textwrap.fill(
                clean.strip(), width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        )
