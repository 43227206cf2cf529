"""The package has attached the guard before Proxmox VE starts the guests of a booting node."""

from __future__ import annotations

import pytest

from tests.kernel.cases import CASES, STUB, Case
from tests.kernel.conftest import Outcomes

UNHOOKED = [case for case in CASES if not case.hooked]


@pytest.mark.parametrize("case", UNHOOKED, ids=[f"{case.machine}: {case.name}" for case in UNHOOKED])
def test_guests_with_devices_have_it_when_they_start(case: Case, outcomes: Outcomes) -> None:
    outcome = outcomes(case.machine)
    start = outcome.start(case.name)
    assert start["hookscript"] == (STUB if case.hostpci else None), outcome.journal
