"""The example alerts and the dashboard, by promtool: they load, alerts fire when they should, and all ask for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from pvehooks.daemon.stats import Stats
from pvehooks.values import Severity, StartVerdict
from tests.daemon.publish.figures import counted, guest, no_starts, promtool, stats
from tests.lint.source import PROJECT

RULES = PROJECT / "doc/examples/prometheus/pvehooks.rules.yml"
DASHBOARD = RULES.with_name("pvehooks.dashboard.json")
CASES = Path(__file__).with_name("rules.test.yml")


@pytest.mark.promtool
def test_promtool_takes_them() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0 and "11 rules found" in done.stdout, done.stdout + done.stderr


@pytest.mark.promtool
def test_promtool_takes_the_dashboards_expressions(tmp_path: Path) -> None:
    rules = [{"record": f"x:{number}", "expr": expression} for number, expression in enumerate(expressions())]
    file = tmp_path / "dashboard.rules.yml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def test_the_panels_of_the_dashboard_have_a_place_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for place in places for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels) > 8
    assert any("last_look" in expression for expression in expressions()), "how old the figures are"


@pytest.mark.promtool
def test_each_fires_when_it_should() -> None:
    done = promtool("test", "rules", str(CASES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_is_tested_both_ways() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    cases = CASES.read_text()
    fires = set(re.findall(r"alertname: (\w+)\n +exp_alerts:", cases))
    quiet = set(re.findall(r"alertname: (\w+)\}", cases))
    assert fires == quiet == set(alerts) and len(alerts) == len(set(alerts)) == 11


def expressions() -> list[str]:
    """Those of the dashboard, for all instances."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]]


def daemons_series() -> list[dict[str, str]]:
    """What the daemon of a node writes on which there is something to be shown of everything: a counter grows by one each minute."""
    heavy, must_not = counted("group-in-use-by-host", Severity.BLOCK), counted("attach-missing-guard")
    found = stats(
        v100=guest("VM 100 (web)", heavy, counted("rng-unlimited", ignored=True), passes_through=True),
        v101=guest("VM 101 (db)", heavy, must_not, passes_through=True)._replace(
            start=StartVerdict.MUST_NOT, why_unguarded="[guard] mode = off"
        ),
        v102=guest("VM 102 (mail)", *(counted(rule) for rule in sorted(textfile.UNGUARDED)), passes_through=True),
        v103=guest("VM 103 (old)", counted("rng-missing-netboot", examined=False)),
    )
    found.node = (counted("iommu-off", Severity.BLOCK),)
    series = []
    for metric in textfile.metrics("pve1", found, no_starts(), 60):
        for values, number in metric.samples.items():
            labels = {"instance": "pve1:9100", "job": "node", **dict(zip(metric.labels, values, strict=True))}
            selector = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
            series.append({"series": f"{metric.name}{{{selector}}}", "values": f"{number}+{int(metric.kind == 'counter')}x180"})
    return series


@pytest.mark.promtool
def test_each_panel_shows_what_the_daemon_writes(tmp_path: Path) -> None:
    """An expression that no figure matches shows nothing, and no one notices."""
    rules = [{"alert": f"Panel{number}", "expr": f"count({expression}) > 0"} for number, expression in enumerate(expressions())]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    fires = [{"eval_time": "2h", "alertname": rule["alert"], "exp_alerts": [{"exp_labels": {}}]} for rule in rules]
    test = {"interval": "1m", "input_series": daemons_series(), "alert_rule_test": fires}
    (tmp_path / "panels.test.yml").write_text(json.dumps({"rule_files": ["panels.yml"], "evaluation_interval": "1m", "tests": [test]}))
    done = promtool("test", "rules", str(tmp_path / "panels.test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_figures_are_in_the_dashboard_or_in_an_alert() -> None:
    asked = set(re.findall(r"\bpvehooks_\w+", " ".join((RULES.read_text(), *expressions()))))
    there = {metric.name for metric in textfile.metrics("pve1", Stats(), no_starts(), 60)}
    assert there - asked == {"pvehooks_start_timestamp_seconds"}, "an age that nothing follows from"


def test_they_ask_for_metrics_and_labels_that_there_are() -> None:
    # Prometheus adds these two.
    there = {metric.name: {*metric.labels, "instance", "job"} for metric in textfile.metrics("pve1", Stats(), no_starts(), 60)}
    for expression in (*re.findall(r"expr: (.+)", RULES.read_text()), *expressions()):
        asked = re.findall(r"\b(pvehooks_\w+)(?:\{([^}]*)\})?", expression)
        assert asked
        for name, selector in asked:
            assert name in there and set(re.findall(r"(\w+)=", selector)) <= there[name], expression
        for _, grouped in re.findall(r"\b(by|group_left) \(([^)]*)\)", expression):
            assert set(grouped.split(", ")) <= set().union(*(there[name] for name, _ in asked)), expression
    outcomes = set(re.findall(r'outcome=~"([^"]*)"', RULES.read_text()))
    assert {word for each in outcomes for word in each.split("|")} <= set(no_starts())
