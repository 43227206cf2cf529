"""Findings as they are shown to people."""

from __future__ import annotations

import pytest

from pvehooks import wording
from pvehooks.cli import findings
from pvehooks.values import Finding, Judged, Severity


def of(*messages: str, remedy: str = "Do it: pvehooks trust 100") -> list[Judged]:
    return [Judged(Finding(message[:5], message, remedy, Severity.WARNING, "a-rule"), "") for message in messages]


def test_one_decision_is_one_row() -> None:
    """Three functions of a chipset that one command accepts."""
    form = "hostpci0 (0000:01:00.0) takes {} along from driver {}: it is in the same IOMMU group 14"
    rows = list(findings.rows("VM 100", of(*(form.format(*each) for each in (("LPC", "a"), ("SMBus", "b"), ("SPI", "c"))))))
    (row,) = rows
    listed = "LPC along from driver a, SMBus along from driver b and SPI along from driver c"
    assert row.message == f"hostpci0 (0000:01:00.0) takes {listed}: it is in the same IOMMU group 14"


def test_what_one_remedy_ends_stands_together() -> None:
    rows = list(findings.rows("VM 100", [*of("net0 is odd", "scsi0 has no room left"), *of("usb0 is odd", remedy="Other: qm unlock 100")]))
    assert [(row.message, row.remedy) for row in rows] == [
        ("net0 is odd; scsi0 has no room left", "Do it: pvehooks trust 100"),
        ("usb0 is odd", "Other: qm unlock 100"),
    ]


def test_one_command_is_one_row_whichever_rules_ask_for_it() -> None:
    give = "Give it an RNG device: pvehooks inject 100"
    asked = [
        Judged(Finding("rng0", "no network boot (net0)", give, Severity.WARNING, "rng-missing-netboot"), ""),
        Judged(Finding("usb0", "usb0 is odd", "Plug it in", Severity.WARNING, "usb-odd"), ""),
        Judged(Finding("hostpci0", "boots from an NVMe without rng0", give, Severity.WARNING, "rng-missing-nvme"), ""),
        Judged(Finding("usb1", "usb1 is absent", "Plug it in", Severity.WARNING, "usb-absent"), ""),
        Judged(Finding("rng0", "a UEFI VM without rng0", give, Severity.INFO, "rng-missing"), ""),
    ]
    rows = list(findings.rows("VM 100", asked))
    assert [(row.rules, row.message) for row in rows] == [
        (("rng-missing-netboot", "rng-missing-nvme"), "no network boot (net0); boots from an NVMe without rng0"),
        (("usb-odd",), "usb0 is odd"),
        (("usb-absent",), "usb1 is absent"),
        (("rng-missing",), "a UEFI VM without rng0"),
    ]
    assert rows[0].line == (
        "VM 100: warning: no network boot (net0); boots from an NVMe without rng0. Give it an RNG device: pvehooks inject 100"
        " [rng-missing-netboot] [rng-missing-nvme]"
    )


def test_the_same_message_stands_once() -> None:
    assert [row.message for row in findings.rows("VM 100", of("net0 is odd", "net0 is odd"))] == ["net0 is odd"]


@pytest.mark.parametrize(
    ("remedy", "steps"),
    [
        ("Give it an RNG device: pvehooks inject 100", [("Give it an RNG device:", "pvehooks inject 100")]),
        ("Say so: qm set 100 --boot 'order=scsi0; net0'. Or not", [("Say so:", "qm set 100 --boot 'order=scsi0; net0'"), ("Or not", "")]),
        ("Upgrade: apt update && apt full-upgrade", [("Upgrade:", "apt update && apt full-upgrade")]),
        ("Map it: Datacenter, Resource Mappings", [("Map it: Datacenter, Resource Mappings", "")]),
        ("First: qm unlock 100, then qm shutdown 100", [("First:", "qm unlock 100"), ("then", "qm shutdown 100")]),
        ("See: pvecm status; and there: systemctl status x", [("See:", "pvecm status"), ("and there:", "systemctl status x")]),
        ("If so: pvehooks attach 100 (it stays), or do nothing", [("If so:", "pvehooks attach 100"), ("(it stays), or do nothing", "")]),
        ("Take less: qm set 100 --hostpci0 ...,driver=keep", [("Take less:", "qm set 100 --hostpci0 ...,driver=keep")]),
        ("", []),
    ],
)
def test_steps_of_a_remedy(remedy: str, steps: list[tuple[str, str]]) -> None:
    assert list(wording.steps(remedy)) == steps
    assert wording.commands(remedy) == [command for _, command in steps if command]


@pytest.mark.parametrize(
    ("remedy", "typed"),
    [
        (
            "Fix the line (pvehooks guest VMID shows all of them), then: pvehooks inject VMID",
            ["pvehooks guest VMID", "pvehooks inject VMID"],
        ),
        ("Revert the changes (qm pending 100 lists them), or not", ["qm pending 100"]),
        ("Name the device behind it (pvehooks host groups), or take it", ["pvehooks host groups"]),
        ("Import it (pvehooks firmware import FILE --storage S): it is here", ["pvehooks firmware import FILE --storage S"]),
        ("Correct the file, then: update-grub, or proxmox-boot-tool refresh", ["update-grub", "proxmox-boot-tool refresh"]),
        ("Let pvehooks do it: [guard] unbound = bind", ["[guard] unbound = bind"]),
        ("The guard binds it ([guard] unbound = bind)", ["[guard] unbound = bind"]),
        (
            "Write it, then: update-grub && reboot; with systemd-boot: proxmox-boot-tool refresh && reboot",
            ["update-grub && reboot", "proxmox-boot-tool refresh && reboot"],
        ),
        ("Let pvehooks (and qm) do it", []),
        ("", []),
    ],
)
def test_what_is_typed_inside_of_a_sentence(remedy: str, typed: list[str]) -> None:
    pieces = list(wording.inline(remedy))
    assert "".join(piece for piece, _ in pieces) == remedy
    assert [piece for piece, is_typed in pieces if is_typed] == typed
