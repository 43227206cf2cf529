"""A capture of a booted machine tells what the machine tells, of its guests and of itself."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.kernel.inside.capturing import DISGUISED, NAMES, PLAIN
from tests.kernel.machine import Outcome


@pytest.fixture(scope="module")
def told(machine: Outcome) -> dict[str, Any]:
    assert machine.all("capture"), machine.trouble()
    (found,) = machine.all("capture")
    return found


def rules(findings: list[list[str]]) -> Counter[tuple[str, ...]]:
    """Whose findings, and how heavy; how many lines `host check` has."""
    return Counter(tuple(each[:3]) for each in findings)


def test_there_is_something_to_tell(told: dict[str, Any]) -> None:
    assert {"group-in-use-by-host", "hostpci-device-missing"} <= {rule for _, rule, *_ in told["node"]}
    assert told["troubles"] == []


def test_plain_capture_tells_the_same_word_for_word(told: dict[str, Any]) -> None:
    assert sorted(told[PLAIN]) == sorted(told["node"])


def test_disguised_capture_tells_the_same(told: dict[str, Any]) -> None:
    assert rules(told[DISGUISED]) == rules(told["node"])


def test_verb_looks_at_the_capture(told: dict[str, Any]) -> None:
    document = json.loads(told["check"]["said"])
    found = Counter((str(guest["vmid"]), each["rule"], each["severity"]) for guest in document["guests"] for each in guest["findings"])
    assert found == rules([each for each in told["node"] if each[0] not in ("0", "host check")])
    assert told["check"]["status"] == 1


def test_names_are_in_the_plain_one_only(told: dict[str, Any]) -> None:
    assert told["named"] == {PLAIN: list(NAMES), DISGUISED: []}


def test_nothing_stays_behind(told: dict[str, Any]) -> None:
    assert told["left"] == []
