"""The example alerts, by promtool: they load, fire when they should, and ask for metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvehooks.daemon.publish import textfile
from pvehooks.daemon.stats import Stats
from tests.daemon.publish.figures import no_starts, promtool
from tests.lint.source import PROJECT

RULES = PROJECT / "doc/examples/prometheus/pvehooks.rules.yml"
CASES = Path(__file__).with_name("rules.test.yml")


@pytest.mark.promtool
def test_promtool_takes_them() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0 and "10 rules found" in done.stdout, done.stdout + done.stderr


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


def test_they_ask_for_metrics_and_labels_that_there_are() -> None:
    there = {metric.name: set(metric.labels) for metric in textfile.metrics("pve1", Stats(), no_starts(), 60)}
    for expression in re.findall(r"expr: (.+)", RULES.read_text()):
        asked = re.findall(r"\b(pvehooks_\w+)(?:\{([^}]*)\})?", expression)
        assert asked
        for name, selector in asked:
            assert name in there and set(re.findall(r"(\w+)=", selector)) <= there[name], expression
    outcomes = set(re.findall(r'outcome=~"([^"]*)"', RULES.read_text()))
    assert {word for each in outcomes for word in each.split("|")} <= set(no_starts())
