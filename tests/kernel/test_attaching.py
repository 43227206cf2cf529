"""The package has attached the guard before Proxmox VE starts the guests of a booting node."""

from __future__ import annotations

import pytest

from tests.kernel.cases import CASES, STUB, Case
from tests.kernel.conftest import Outcomes
from tests.kernel.machine import Outcome

UNHOOKED = [case for case in CASES if not case.hooked]


@pytest.mark.parametrize("case", UNHOOKED, ids=[f"{case.machine}: {case.name}" for case in UNHOOKED])
def test_guests_with_devices_have_it_when_they_start(case: Case, outcomes: Outcomes) -> None:
    outcome = outcomes(case.machine)
    start = outcome.start(case.name)
    assert start["hookscript"] == (STUB if case.hostpci else None), outcome.journal


def test_daemon_does_not_miss_what_its_sandbox_hides(machine: Outcome) -> None:
    """The kernel's modules: they are there."""
    assert "node pve1: " in machine.journal, machine.journal
    assert "devices cannot be passed through" not in machine.journal, machine.journal
