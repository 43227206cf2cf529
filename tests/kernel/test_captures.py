"""A capture of a booted machine tells what the machine tells, of its guests and of itself."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.kernel.inside.captures import DISGUISED, NAMES, PLAIN
from tests.kernel.machine import Outcome


@pytest.fixture(scope="module")
def captured(machine: Outcome) -> dict[str, Any]:
    assert machine.all("capture"), machine.trouble()
    (found,) = machine.all("capture")
    return found


def rules(findings: list[list[str]]) -> Counter[tuple[str, ...]]:
    """Whose findings, and how heavy; how many lines `host check` has."""
    return Counter(tuple(each[:3]) for each in findings)


def test_there_is_something_to_compare(captured: dict[str, Any]) -> None:
    assert {"group-in-use-by-host", "hostpci-device-missing"} <= {rule for _, rule, *_ in captured["node"]}
    assert captured["troubles"] == []


def test_plain_capture_has_the_same_findings_word_for_word(captured: dict[str, Any]) -> None:
    assert sorted(captured[PLAIN]) == sorted(captured["node"])


def test_disguised_capture_has_the_same_findings(captured: dict[str, Any]) -> None:
    assert rules(captured[DISGUISED]) == rules(captured["node"])


def test_verb_looks_at_the_capture(captured: dict[str, Any]) -> None:
    document = json.loads(captured["check"]["output"])
    found = Counter((str(guest["vmid"]), each["rule"], each["severity"]) for guest in document["guests"] for each in guest["findings"])
    assert found == rules([each for each in captured["node"] if each[0] not in ("0", "host check")])
    assert captured["check"]["status"] == 1


def test_names_are_in_the_plain_one_only(captured: dict[str, Any]) -> None:
    assert captured["named"] == {PLAIN: list(NAMES), DISGUISED: []}


def test_nothing_stays_behind(captured: dict[str, Any]) -> None:
    assert captured["left"] == []
