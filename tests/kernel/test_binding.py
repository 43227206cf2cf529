"""The guard binds what is idle, it alone, and leaves nothing behind that would catch another device."""

from __future__ import annotations

import pytest

from tests.kernel.cases import CASES, Case
from tests.kernel.machine import Outcome
from tests.kernel.test_verdicts import shown

ALLOWED = [case for case in CASES if case.hostpci and not case.harm]
TAKEN_ALONG = {"one of two idle functions"}
UNSET = "(null)"


@pytest.mark.parametrize("case", ALLOWED, ids=[case.name for case in ALLOWED])
def test_idle_devices_are_bound(case: Case, machine: Outcome) -> None:
    start = machine.start(case.name)
    now = start["after_hookscript"]
    named = [device for device in now if any(device.startswith(entry.split(",")[0]) for entry in start["hostpci"])]
    assert named and all(now[device]["driver"] == "vfio-pci" for device in named), shown(start)
    others = {device: state for device, state in now.items() if device not in named}
    assert bool(others) == (case.name in TAKEN_ALONG), shown(start)
    for device, state in others.items():
        assert state == start["former"][device], f"nobody named {device}: {shown(start)}"


def test_no_override_is_left(machine: Outcome) -> None:
    found = {
        (start["name"], device): state["override"] for start in machine.all("start") for device, state in start["after_hookscript"].items()
    }
    assert found and set(found.values()) == {UNSET}, found


def test_no_id_is_left_to_vfio(machine: Outcome) -> None:
    """A device of the same kind is neither accepted by vfio-pci nor taken at the next look for a driver."""
    twin = machine.start("a device alone in its group")["twin"]
    assert twin == {"refusal": "No such device", "driver": "e1000e", "id_known": False}
    assert not any(start["ids_left"] for start in machine.all("start")), [start["ids_left"] for start in machine.all("start")]
    # PVE's way of binding was done where the guard had refused, and does leave them: the look can tell.
    (taken,) = [start["ids_known"] for start in machine.all("start") if "port" in start["lost"]]
    assert taken


def test_device_that_cannot_be_bound_has_its_driver_again(machine: Outcome) -> None:
    start = machine.start("a physical function with idle virtual ones")
    assert start["status"] == 1 and start["kernel"].endswith("Device or resource busy"), shown(start)
    (former,) = start["former"].values()
    assert former["driver"] == "nvme" and start["after_hookscript"] == start["former"], shown(start)
    assert "vfio-pci" in start["output"], shown(start)
