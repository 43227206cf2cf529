"""A start is refused if, and only if, it would take something from the host or the kernel would refuse it: the start is really made to find out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.kernel.cases import CASES, IOMMU, KERNEL, MOUNT, Case
from tests.kernel.conftest import Outcomes
from tests.kernel.machine import Outcome

EACH = pytest.mark.parametrize("case", CASES, ids=[f"{case.machine}: {case.name}" for case in CASES])


def shown(start: dict[str, Any], journal: str = "") -> str:
    """All that is known of a start."""
    rest = {key: value for key, value in start.items() if key != "output"}
    return f"{start['output']}\n{json.dumps(rest, indent=1)}\n{journal}"


def test_machines_did_their_job(machine: Outcome, plain_machine: Outcome) -> None:
    for outcome in (machine, plain_machine):
        assert outcome.trouble() == ""


def test_devices_are_as_the_cases_need_them(machine: Outcome) -> None:
    (set_up,) = machine.all("set-up")
    signatures, groups = set_up["signatures"], set_up["groups"]
    assert (
        signatures["guest-lvm"] == signatures["host-lvm"] == signatures["vm-lvm"] == "LVM2_member"
        and signatures["guest-zfs"] == "zfs_member"
    )
    for one, other in (("wanted", "uplink"), ("pair", "pair-second"), ("mounted", "beside-mounted")):
        assert groups[one] == groups[other], groups
    alone = [groups[name] for name in ("clean", "twin", "bare", "root", "vm-lvm", "host-lvm", "guest-lvm", "guest-zfs", "pf", "vf0", "vf1")]
    assert all(alone) and len(set(alone)) == len(alone), groups
    had = machine.start("a device alone in its group")["had"]
    assert had["mount"] == ["/", "/mnt/backup", "/mnt/data"] and len(had["port"]) == 1, had
    assert had["volume"] == ["backup-files", "vmdata-vm--120--disk--0"], "the guest's own is idle"


@EACH
def test_the_start_does_what_the_case_is_for(case: Case, outcomes: Outcomes) -> None:
    """Otherwise the verdict's test says less than it seems to."""
    start = outcomes(case.machine).start(case.name)
    lost = set(start["lost"]) - ({"volume"} if case.harm == MOUNT else set())
    assert lost | ({KERNEL} if start["kernel"] else set()) == ({case.harm} if case.harm else set()), shown(start)


@EACH
def test_verdict(case: Case, outcomes: Outcomes) -> None:
    outcome = outcomes(case.machine)
    start = outcome.start(case.name)
    harmful = bool(start["lost"] or start["kernel"])
    assert start["status"] == (1 if harmful else 0), shown(start, outcome.journal)


@EACH
def test_hookscript_itself_takes_nothing_away(case: Case, outcomes: Outcomes) -> None:
    start = outcomes(case.machine).start(case.name)
    assert not start["lost_by_hookscript"], shown(start)
    if start["status"] != 0:
        assert start["after_hookscript"] == start["former"], shown(start)


@EACH
def test_refusal_names_guest_device_and_what_to_do(case: Case, outcomes: Outcomes) -> None:
    start = outcomes(case.machine).start(case.name)
    output = start["output"]
    assert "Traceback" not in output, output
    if not case.harm:
        assert case.hostpci or not output, "a guest without devices is not talked about"
        return
    address = start["hostpci"][0].split(",")[0]
    device = address.removeprefix("0000:") if case.machine == IOMMU else "no IOMMU"
    assert str(case.vmid) in output and device in output, shown(start)
    assert "pvehooks allow" in output or "dmesg" in output, "what to type"
