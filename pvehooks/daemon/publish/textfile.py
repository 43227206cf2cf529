"""The daemon's figures as a file for Prometheus' node_exporter (its textfile collector)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping

from pvehooks import __version__
from pvehooks.daemon.publish.prometheus import Metric, text
from pvehooks.daemon.stats import CountedFinding, GuestStats, Stats
from pvehooks.guard import counters
from pvehooks.host import Host
from pvehooks.journal.events import KINDS
from pvehooks.rules import engine
from pvehooks.rules.catalogue import RULES
from pvehooks.settings.effective import Settings
from pvehooks.values import Severity, StartVerdict

# Where Debian's prometheus-node-exporter looks.
DIRECTORY = "/var/lib/prometheus/node-exporter"
NAME = "pvehooks.prom"
# Says where the file was last written, so that it can be taken away from there.
WHERE = "/var/lib/pvehooks/metrics-file"
# The events that are counted as errors.
ERRORS = tuple(sorted(kind.name for kind in KINDS.values() if kind.error))
# The rules whose finding means that the guard is wanted and missing.
UNGUARDED = frozenset(rule.id for rule in RULES.values() if rule.metric == engine.UNGUARDED)
_START = {StartVerdict.WOULD: "would", StartVerdict.WOULD_NOT: "would_not", StartVerdict.MUST_NOT: "must_not"}
# Seconds between two writes: when something has changed, and when only time has passed.
_SOON, _LATER = 1.0, 30.0


class Textfile:
    """Keeps the file while `[metrics] textfile` wants it, and takes it away when it does not any more."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self._node = node
        self._reported = ""
        self._written: object = None
        self._watched = 0
        self._next = 0.0
        self._path: str | None = None

    def publish(self, stats: Stats, settings: Settings) -> str:
        """Writes where that is due; what stands against it, once."""
        path = self._wanted(settings.metrics.textfile)
        now = self._host.monotonic()
        if path != self._path and (trouble := self._move(path)):
            return trouble
        if not path:
            return ""
        numbers = counters.counts(self._host)
        mark = (stats.changes, dict(stats.events), stats.away, stats.quorate, numbers, settings.watch.interval)
        if now < self._next or (mark == self._written and stats.watched < self._watched + _LATER):
            return ""
        self._next = now + _SOON
        trouble = self._write(path, text(metrics(self._node, stats, numbers, settings.watch.interval)))
        if not trouble:
            self._written, self._watched = mark, stats.watched
        else:
            self._next = now + _LATER
        news = trouble if trouble != self._reported else ""
        self._reported = trouble
        return news

    def _wanted(self, textfile: str) -> str:
        """The path of the file, '' where there is to be none."""
        if textfile == "off" or (textfile == "auto" and not self._host.is_dir(DIRECTORY)):
            return ""
        return os.path.join(DIRECTORY if textfile == "auto" else textfile, NAME)

    def _move(self, path: str) -> str:
        """Takes the file away from where it was, in the time of an earlier daemon too; what stands against that."""
        self._path, self._written, self._next, self._reported = path, None, 0.0, ""
        try:
            before = self._host.read_text(WHERE)
        except OSError:
            before = ""
        trouble = ""
        if before != path and before.endswith(f"/{NAME}"):
            try:
                self._host.remove(before)
            except OSError as error:
                trouble = f"the metrics for Prometheus are not written there any more, and cannot be removed: {before}: {error.strerror}"
        if before != path:
            with contextlib.suppress(OSError):
                # Without a note of it the file stays when the package goes.
                self._host.make_dir(os.path.dirname(WHERE), mode=0o700)
                self._host.replace(WHERE, f"{path}\n".encode())
        return trouble

    def _write(self, path: str, content: bytes) -> str:
        try:
            self._host.replace(path, content, mode=0o644, keep_mode=False)
        except OSError as error:
            return _trouble(path, error)
        return ""


def _trouble(path: str, error: OSError) -> str:
    directory = os.path.dirname(path)
    words = f"the metrics for Prometheus cannot be written: {path}: {error.strerror}"
    if error.errno == errno.EROFS:
        return (
            f"{words}. The service may write there once it is restarted: systemctl restart pvehooks"
            if directory == DIRECTORY
            else f"{words}. Let the service write there: systemctl edit pvehooks, [Service] ReadWritePaths=-{directory}"
        )
    return f"{words}. It is tried again automatically; [metrics] textfile says where they go"


# -- what is measured -------------------------------------------------------------------------------------------------


def metrics(node: str, stats: Stats, numbers: Mapping[str, int], interval: int) -> tuple[Metric, ...]:
    """All metrics; `numbers` are those of starts, by outcome, `interval` is that of [watch]."""
    return (*_of_the_daemon(node, stats, interval), *_of_guests(stats.guests), *_of_findings(stats), *_counters(stats, numbers))


def _of_the_daemon(node: str, stats: Stats, interval: int) -> Iterator[Metric]:
    look: dict[tuple[str, ...], int] = {(): stats.watched} if stats.watched else {}
    yield _gauge("info", "The node, and the version of pvehooks that runs on it.", ("node", "version"), {(node, __version__): 1})
    yield _gauge("start_timestamp_seconds", "When the daemon was started.", (), {(): stats.began})
    yield _gauge("last_look_timestamp_seconds", "When the daemon last looked for changes, and pmxcfs answered.", (), look)
    yield _gauge("watch_interval_seconds", "How long it is from one such look to the next at most.", (), {(): interval})
    yield _gauge("pmxcfs_up", "Whether pmxcfs answers.", (), {(): int(not stats.away)})
    words = "Whether the cluster had quorum when pmxcfs last answered; a node alone always has."
    yield _gauge("quorate", words, (), {(): int(stats.quorate)})


def _of_guests(guests: Mapping[int, GuestStats]) -> Iterator[Metric]:
    verdicts: dict[tuple[str, ...], int] = {("block",): 0, ("warning",): 0, ("ok",): 0}
    starts: dict[tuple[str, ...], int] = {(_START[each],): 0 for each in StartVerdict}
    unstopped: dict[tuple[str, ...], int] = {}
    with_passthrough: dict[tuple[str, ...], int] = {("yes",): 0, ("no",): 0}
    blocked: dict[tuple[str, ...], int] = {}
    unguarded: dict[tuple[str, ...], int] = {}
    for vmid, guest in sorted(guests.items()):
        verdicts[guest.verdict,] += 1
        starts[_START[guest.start],] += 1
        if guest.start is StartVerdict.MUST_NOT:
            unstopped[str(vmid), guest.label, guest.why_unguarded] = 1
        with_passthrough["yes" if guest.guarded else "no",] += guest.passes_through
        for finding in (each for each in guest.findings if not each.ignored):
            if finding.severity is Severity.BLOCK:
                blocked[str(vmid), guest.label, finding.rule] = 1
            if finding.rule in UNGUARDED:
                unguarded[str(vmid), guest.label] = 1
    words = "VMs of the node by their most severe finding: block, warning, or ok for none of these."
    yield _gauge("guests", words, ("verdict",), verdicts)
    words = "VMs of the node by what a start comes to: would, would_not (something refuses it), must_not (it does harm, and nothing refuses it)."
    yield _gauge("guests_by_start", words, ("start",), starts)
    yield _gauge("passthrough_guests", "VMs with passed-through PCI devices, with and without the guard.", ("guarded",), with_passthrough)
    words = "A VM that would not start or must not start, and a rule that says why. Others have no sample."
    yield _gauge("guest_blocked", words, ("vmid", "guest", "rule"), blocked)
    words = "A VM that must not start, and why nothing stops it. Others have no sample."
    yield _gauge("guest_must_not_start", words, ("vmid", "guest", "why"), unstopped)
    words = "A VM that should have the guard, and starts without it. Others have no sample."
    yield _gauge("guest_unguarded", words, ("vmid", "guest"), unguarded)


def _of_findings(stats: Stats) -> Iterator[Metric]:
    standing: Counter[tuple[str, ...]] = Counter()
    ignored: Counter[tuple[str, ...]] = Counter()
    unexamined: Counter[tuple[str, ...]] = Counter()
    for about, finding in _all_findings(stats):
        if finding.ignored:
            ignored[finding.rule, finding.severity.value] += 1
        elif finding.examined:
            standing[about, finding.rule, finding.severity.value] += 1
        elif finding.rule not in engine.asked_at_start():
            # Those of a start the guard examines; the service's sandbox keeps their facts from us.
            unexamined[finding.rule,] += 1
    words = "Findings that count, about VMs and about the node itself. A rule without one has no sample."
    yield _gauge("findings", words, ("about", "rule", "severity"), dict(sorted(standing.items())))
    words = "Findings that do not count, because the settings say so."
    yield _gauge("findings_ignored", words, ("rule", "severity"), dict(sorted(ignored.items())))
    words = "How often a rule could not examine a VM or the node, because a fact could not be read."
    yield _gauge("findings_unexamined", words, ("rule",), dict(sorted(unexamined.items())))


def _all_findings(stats: Stats) -> Iterator[tuple[str, CountedFinding]]:
    yield from (("guest", finding) for guest in stats.guests.values() for finding in guest.findings)
    yield from (("node", finding) for finding in stats.node)


def _counters(stats: Stats, numbers: Mapping[str, int]) -> Iterator[Metric]:
    yield _counter("injections", "VMs that were given an rng0, since the daemon was started.", (), {(): stats.events["injected"]})
    yield _counter("attachments", "VMs that were given the guard, since the daemon was started.", (), {(): stats.events["attached"]})
    words = "Errors by kind of journal entry (PVEHOOKS_EVENT), since the daemon was started."
    yield _counter("errors", words, ("event",), {(kind,): stats.events[kind] for kind in ERRORS})
    words = "Starts of VMs with passed-through PCI devices, by what the guard made of them, since the node was booted."
    yield _counter("guard_starts", words, ("outcome",), {(outcome,): numbers[outcome] for outcome in counters.OUTCOMES})


def _gauge(name: str, words: str, labels: tuple[str, ...], samples: Mapping[tuple[str, ...], int]) -> Metric:
    return Metric(f"pvehooks_{name}", "gauge", words, labels, samples)


def _counter(name: str, words: str, labels: tuple[str, ...], samples: Mapping[tuple[str, ...], int]) -> Metric:
    return Metric(f"pvehooks_{name}_total", "counter", words, labels, samples)
