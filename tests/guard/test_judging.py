"""What findings come to at a start, by the settings."""

from __future__ import annotations

import pytest

from pvehooks.judge import judge_start
from pvehooks.settings.compiled import GuardSettings, StartSettings
from pvehooks.values import Cure, Finding, Severity

HARM = Finding("0000:01:00.0", "harm", rule="group-in-use-by-host", severity=Severity.BLOCK)
HINT = Finding("iommu", "hint", rule="interrupts-unsafe", severity=Severity.WARNING)
IDLE = Finding("0000:01:00.0", "not bound", rule="vfio-not-bound", severity=Severity.BLOCK, cure=Cure.BIND)
RISKY = Finding("0000:01:00.0", "on amdgpu", rule="vfio-not-bound", severity=Severity.WARNING, cure=Cure.BIND)
UNREAD = Finding("0000:01:00.0", "not examined: x", rule="group-in-use-by-host", severity=Severity.INFO, examined=False)
UNREAD_HINT = UNREAD._replace(rule="interrupts-unsafe")
BLOCKING = {"group-in-use-by-host", "vfio-not-bound"}


def names(settings: StartSettings, *findings: Finding) -> dict[str, list[str]]:
    """The messages of each kind, of those that there are."""
    verdict = judge_start(findings, BLOCKING, settings)._asdict()
    verdict["ignored"] = [item.finding for item in verdict["ignored"]]
    return {kind: [finding.message for finding in found] for kind, found in verdict.items() if found}


@pytest.mark.parametrize(
    ("settings", "finding", "expected"),
    [
        (StartSettings(), HARM, {"refusing": ["harm"]}),
        (StartSettings(severities={HARM.rule: "warning"}), HARM, {"warning": ["harm"]}),
        (StartSettings(severities={HARM.rule: "info"}), HARM, {}),
        (StartSettings(severities={HINT.rule: "block"}), HINT, {"refusing": ["hint"]}),
        (StartSettings(ignored={HARM.rule: "why"}), HARM, {"ignored": ["harm"]}),
        (StartSettings(), IDLE, {"to_bind": ["not bound"]}),
        (StartSettings(GuardSettings(unbound="block")), IDLE, {"refusing": ["not bound"]}),
        (StartSettings(GuardSettings(unbound="leave")), IDLE, {"warning": ["not bound"]}),
        (StartSettings(GuardSettings(unbound="block"), {IDLE.rule: "warning"}), IDLE, {"warning": ["not bound"]}),
        (StartSettings(severities={IDLE.rule: "block"}), IDLE, {"to_bind": ["not bound"]}),
        (StartSettings(ignored={IDLE.rule: "why"}), IDLE, {"ignored": ["not bound"]}),
        (StartSettings(), UNREAD, {"unexamined": ["not examined: x"]}),
        (StartSettings(severities={UNREAD.rule: "warning"}), UNREAD, {}),
        (StartSettings(ignored={UNREAD.rule: "why"}), UNREAD, {"ignored": ["not examined: x"]}),
        (StartSettings(), UNREAD_HINT, {}),
        (StartSettings(severities={UNREAD_HINT.rule: "block"}), UNREAD_HINT, {"unexamined": ["not examined: x"]}),
    ],
)
def test_one_finding(settings: StartSettings, finding: Finding, expected: dict[str, list[str]]) -> None:
    assert names(settings, finding) == expected


@pytest.mark.parametrize(
    ("unbound", "expected"),
    [
        ("bind", {"warning": ["on amdgpu"], "to_bind": ["on amdgpu"]}),
        ("leave", {"warning": ["on amdgpu"]}),
        ("block", {"refusing": ["on amdgpu"]}),
    ],
)
def test_a_driver_that_lets_go_badly(unbound: str, expected: dict[str, list[str]]) -> None:
    """The guard binds the device, and warns of it."""
    assert names(StartSettings(GuardSettings(unbound=unbound)), RISKY) == expected
