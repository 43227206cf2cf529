"""What the metrics say, read by Prometheus' own parsers; any text may be a guest's name."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvehooks import __version__
from pvehooks.daemon.publish import textfile
from pvehooks.daemon.publish.prometheus import Metric, text
from pvehooks.daemon.stats import Stats
from pvehooks.journal import events
from pvehooks.journal.kind import ERR
from pvehooks.rules import catalogue, engine
from pvehooks.values import Severity, StartVerdict
from pvehooks.wording import printable
from tests.daemon.publish.figures import counted, guest, no_starts, number, promtool, samples, stats

MISSING, ODD = counted("hostpci-device-missing", Severity.BLOCK), counted("config-crlf", Severity.INFO)
WEB = guest("VM 100 (web)", MISSING, MISSING, ODD)
GPU = guest("VM 101 (gpu)", counted("guard-not-attached"), passes_through=True)
NAS = guest(
    "VM 102 (nas)",
    MISSING._replace(ignored=True),
    counted("ksm-no-effect", Severity.INFO, examined=False),
    passes_through=True,
    guarded=True,
)
UNSEEN = counted(min(engine.asked_at_start()), Severity.INFO, examined=False)
ODD_NODE = counted("iommu-off", Severity.BLOCK)


def a_node() -> Stats:
    made = stats(v100=WEB, v101=GPU, v102=NAS._replace(findings=(*NAS.findings, UNSEEN)))
    made.node = (ODD_NODE,)
    made.events.update({"injected": 3, "attached": 2, "bug": 1, "waiting": 9})
    return made


def content(of: Stats, **starts: int) -> bytes:
    return text(textfile.metrics("pve1", of, no_starts(**starts), 60))


def test_starts_that_nothing_stops() -> None:
    harm = GPU._replace(blocked=True, start=StartVerdict.MUST_NOT, why_unguarded="[guard] mode = audit")
    exposed = samples(content(stats(v100=WEB._replace(start=StartVerdict.WOULD_NOT), v101=harm, v102=NAS)))
    counted_starts = [({"start": "would"}, 1), ({"start": "would_not"}, 1), ({"start": "must_not"}, 1)]
    assert exposed["pvehooks_guests_by_start"] == counted_starts
    labels = {"vmid": "101", "guest": "VM 101 (gpu)", "why": "[guard] mode = audit"}
    assert exposed["pvehooks_guest_must_not_start"] == [(labels, 1)]


def test_findings_are_counted_alike_everywhere() -> None:
    """By the figures as by the status line and the summary; what is ignored or was not examined does not count."""
    of = a_node()
    exposed = samples(content(of))
    counted_findings = dict.fromkeys(("block", "warning", "info"), 0)
    for labels, number_of in exposed["pvehooks_findings"]:
        if labels["about"] == "guest":
            counted_findings[labels["severity"]] += int(number_of)
    assert of.findings() == counted_findings == {"block": 2, "warning": 1, "info": 1}


def test_all_that_is_published_of_a_node() -> None:
    exposed = samples(content(a_node(), refused=4))
    assert exposed["pvehooks_info"] == [({"node": "pve1", "version": __version__}, 1)]
    assert exposed["pvehooks_guests"] == [({"verdict": "block"}, 1), ({"verdict": "warning"}, 1), ({"verdict": "ok"}, 1)]
    assert exposed["pvehooks_passthrough_guests"] == [({"guarded": "yes"}, 1), ({"guarded": "no"}, 1)]
    assert exposed["pvehooks_guest_blocked"] == [({"vmid": "100", "guest": "VM 100 (web)", "rule": "hostpci-device-missing"}, 1)]
    assert exposed["pvehooks_guest_unguarded"] == [({"vmid": "101", "guest": "VM 101 (gpu)"}, 1)]
    assert exposed["pvehooks_findings"] == [
        ({"about": "guest", "rule": "config-crlf", "severity": "info"}, 1),
        ({"about": "guest", "rule": "guard-not-attached", "severity": "warning"}, 1),
        ({"about": "guest", "rule": "hostpci-device-missing", "severity": "block"}, 2),
        ({"about": "node", "rule": "iommu-off", "severity": "block"}, 1),
    ]
    assert exposed["pvehooks_findings_ignored"] == [({"rule": "hostpci-device-missing", "severity": "block"}, 1)]
    assert exposed["pvehooks_findings_unexamined"] == [({"rule": "ksm-no-effect"}, 1)], "what a start's rules need the guard reads"
    assert (exposed["pvehooks_injections_total"], exposed["pvehooks_attachments_total"]) == ([({}, 3)], [({}, 2)])
    assert [labels["event"] for labels, value in exposed["pvehooks_errors_total"] if value] == ["bug"]
    assert [labels["outcome"] for labels, value in exposed["pvehooks_guard_starts_total"] if value == 4] == ["refused"]
    assert exposed["pvehooks_start_timestamp_seconds"] == [({}, 1_700_000_000)]
    assert exposed["pvehooks_last_look_timestamp_seconds"] == [({}, 1_700_000_060)]
    assert exposed["pvehooks_watch_interval_seconds"] == [({}, 60)]
    assert (exposed["pvehooks_pmxcfs_up"], exposed["pvehooks_quorate"]) == ([({}, 1)], [({}, 1)])


def test_before_the_first_look() -> None:
    """PmxcfsCounters begin at 0, so that the first of each is an increase; a look that never was has no time."""
    made = Stats()
    made.away, made.quorate = True, False
    exposed = content(made)
    assert "pvehooks_last_look_timestamp_seconds" not in samples(exposed)
    assert (number(exposed, "pvehooks_pmxcfs_up"), number(exposed, "pvehooks_quorate")) == (0, 0)
    counters = {name: values for name, values in samples(exposed).items() if name.endswith("_total")}
    assert {name: len(values) for name, values in counters.items()} == {
        "pvehooks_injections_total": 1,
        "pvehooks_attachments_total": 1,
        "pvehooks_errors_total": len(textfile.ERRORS),
        "pvehooks_guard_starts_total": 6,
    }
    assert not any(value for values in counters.values() for _, value in values)


def test_whatever_is_an_error_in_the_journal_is_counted() -> None:
    """All kinds but those of the hookscript, the command line, the boot's own service and the program that hands messages over, those that end the daemon, and starts that others made fail."""
    others = {
        "start-unexamined",
        "device-not-bound",
        "not-bound-at-boot",
        "host-not-fixed",
        "firmware-not-changed",
        "guard-bug",
        "failed",
        "pmxcfs-stuck",
        "start-failed",
        "device-dead",
        "not-notified",
    }
    errors = {each.name for each in events.KINDS.values() if each.priority == ERR}
    assert set(textfile.ERRORS) == errors - others and others <= errors


def test_the_rules_about_the_guard_are_rules() -> None:
    assert set(textfile.UNGUARDED) <= set(catalogue.RULES)


@given(st.text(st.characters() | st.sampled_from('\\"\n\r{}, #\udc80')))
def test_any_text_is_a_label(name: str) -> None:
    exposed = content(stats(v100=guest(name, MISSING)))
    assert exposed.count(b"\n") == content(stats(v100=guest("x", MISSING))).count(b"\n")
    ((labels, _),) = samples(exposed)["pvehooks_guest_blocked"]
    assert labels["guest"] == printable(name)


@pytest.mark.promtool
def test_promtool_finds_nothing() -> None:
    """It knows the conventions for names, units and HELP."""
    made = a_node()
    made.guests[103] = guest('VM 103 ("\\ \n\udc80 \N{SNOWMAN})', MISSING)
    done = promtool("check", "metrics", stdin=content(made))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    odd = Metric("pvehooks_errors", "counter", "Errors.", (), {(): 1})
    assert "counter metrics should have" in promtool("check", "metrics", stdin=text([odd])).stderr


def test_names_are_those_of_prometheus() -> None:
    for metric in textfile.metrics("pve1", Stats(), no_starts(), 60):
        assert re.fullmatch(r"pvehooks(_[a-z0-9]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".") and metric.help.isprintable() and "\\" not in metric.help
