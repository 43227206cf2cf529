"""The example alerts and the dashboard, by promtool: they load, alerts fire when they should, and all ask for metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from pvehooks.daemon.stats import Stats
from tests.daemon.publish.figures import no_starts, promtool
from tests.lint.source import PROJECT

RULES = PROJECT / "doc/examples/prometheus/pvehooks.rules.yml"
DASHBOARD = RULES.with_name("pvehooks.dashboard.json")
CASES = Path(__file__).with_name("rules.test.yml")


@pytest.mark.promtool
def test_promtool_takes_them() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0 and "10 rules found" in done.stdout, done.stdout + done.stderr


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
    assert fires == quiet == set(alerts) and len(alerts) == len(set(alerts)) == 10


def expressions() -> list[str]:
    """Those of the dashboard, for all instances."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$instance", ".*") for panel in panels for target in panel["targets"]]


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
