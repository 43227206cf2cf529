"""Equal findings of several VMs as one row."""

from __future__ import annotations

import pytest

from pvehooks.cli import findings
from pvehooks.cli.finding_groups import FindingGroups
from pvehooks.values import Finding, Judged, Severity


def together(found: dict[int, tuple[str, str]], severity: Severity = Severity.WARNING) -> list[findings.FindingRow]:
    """The rows of VMs that each have a finding: (message, remedy)."""
    groups = FindingGroups()
    for vmid, (message, remedy) in found.items():
        item = Judged(Finding("net0", message, remedy, severity, "a-rule"), "")
        groups.add(findings.rows(f"VM {vmid} (n{vmid})", [item], vmid))
    return groups.take()


@pytest.mark.parametrize(
    ("remedy", "vmids", "commands"),
    [
        pytest.param("Do: pvehooks inject VMID", [100, 101], ["pvehooks inject 100 101"], id="a verb that takes many"),
        pytest.param("Do: pvehooks inject VMID", [100, 101, 102, 105], ["pvehooks inject {100..102} 105"], id="a range"),
        pytest.param("Do: pvehooks guest VMID", [100, 101], ["for vm in 100 101; do pvehooks guest $vm; done"], id="one that takes one"),
        pytest.param("Do: qm set VMID --cpu host", [100, 101], ["for vm in 100 101; do qm set $vm --cpu host; done"], id="qm"),
        pytest.param("Do: pvesm status", [100, 101], ["pvesm status"], id="the same for all"),
        pytest.param(
            "Do: qm set VMID --args '-name vVMID -id VMID'",
            [100, 101],
            ["qm set 100 --args '-name v100 -id 100'", "qm set 101 --args '-name v101 -id 101'"],
            id="no variable in quotes",
        ),
        pytest.param(
            "Do: qm set VMID --net0 m=VMID0", [100, 101], ["qm set 100 --net0 m=1000", "qm set 101 --net0 m=1010"], id="they differ"
        ),
        pytest.param("Look at it", [100, 101], [], id="words"),
    ],
)
def test_commands_for_all_of_them(remedy: str, vmids: list[int], commands: list[str]) -> None:
    (row,) = together({vmid: ("it is odd", remedy.replace("VMID", str(vmid))) for vmid in vmids})
    assert [command for _, command in row.steps if command] == commands
    assert row.label == ", ".join(f"VM {vmid} (n{vmid})" for vmid in vmids)


def test_a_command_for_each_names_no_more_than_can_be_read() -> None:
    (row,) = together({vmid: ("it is odd", f"Do: qm set {vmid} --net0 m={vmid}0") for vmid in range(100, 200)})
    assert row.label == "100 VMs (100-199)"
    *commands, (words, last) = row.steps
    assert [command for _, command in commands] == [f"qm set {vmid} --net0 m={vmid}0" for vmid in range(100, 120)]
    assert (words, last) == ("What to type for the other 80 is in:", "pvehooks check --rule a-rule --format jsonl")


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        pytest.param(
            ["local:100/vm-100-disk-0 is missing", "local:101/vm-101-disk-0 is missing"],
            ["local:VMID/vm-VMID-disk-0 is missing"],
            id="a volume",
        ),
        pytest.param(["it expires in 101", "it expires in 101"], ["it expires in 101"], id="a year"),
        pytest.param(["it has 100 MiB", "it has 101 MiB"], ["it has 100 MiB", "it has 101 MiB"], id="a size"),
        pytest.param(["version 1.100.2", "version 1.101.2"], ["version 1.100.2", "version 1.101.2"], id="a version"),
        pytest.param(["net0 is odd", "net1 is odd"], ["net0 is odd", "net1 is odd"], id="another device"),
    ],
)
def test_which_messages_are_equal(messages: list[str], shown: list[str]) -> None:
    rows = together({100 + at: (message, "Look") for at, message in enumerate(messages)})
    assert [row.message for row in rows] == shown


def test_the_most_severe_comes_first_and_what_blocks_need_not_wait() -> None:
    groups = FindingGroups()

    def add(vmid: int, severity: Severity) -> None:
        groups.add(findings.rows(f"VM {vmid}", [Judged(Finding("x", f"it is {severity.value}", "", severity, severity.value), "")], vmid))

    for vmid, severity in ((100, Severity.INFO), (101, Severity.WARNING), (102, Severity.BLOCK)):
        add(vmid, severity)
    assert [row.label for row in groups.take_blocking()] == ["VM 102"]
    add(103, Severity.BLOCK)
    assert groups.take_blocking() == []
    assert [(row.label, row.severity) for row in groups.take()] == [("VM 103", "block"), ("VM 101", "warning"), ("VM 100", "info")]


def test_what_the_node_has_is_no_finding_of_a_guest() -> None:
    groups = FindingGroups()
    item = Judged(Finding("x", "it is odd", "", Severity.WARNING, "a-rule"), "")
    groups.add(findings.rows("pve1", [item]))
    assert [(row.label, row.whose) for row in groups.take()] == [("pve1", ())]
