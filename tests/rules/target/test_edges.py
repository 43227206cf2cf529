"""What prevents a start on another node, by what that node publishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pvehooks.rules import catalogue
from pvehooks.rules.engine import not_examined
from pvehooks.values import Finding, Unread
from pvehooks.values.images import ImageFile, PinnedFirmware
from pvehooks.values.storages import Storage
from pvehooks.values.summaries import Standing, Target
from tests.beds import pci
from tests.cluster.test_summary_text import HARDWARE, SUMMARY
from tests.derived.bed import guest_on_node
from tests.rules.edges import NIC, TABLE, assert_findings

UNKNOWN = Unread("no reason at all")
NOW = SUMMARY.written + 60
OWN, SHARED = Storage("local", "dir", frozenset(), False, False, "/x", {}), Storage("nfs", "nfs", frozenset(), False, True, "/y", {})
STORAGES = {each.name: each for each in (OWN, SHARED)}
STUB, FORMER = "local:snippets/pvehooks-guard", "local:snippets/pvehooks-guard-local+gpu.sh"
GUARD = f"hookscript: {STUB}\n"
PINNED = PinnedFirmware("nfs:efi-firmware/app.fd", "ab" * 32, "pflash", "-blockdev x", 1, "pve1")
HERE = PINNED._replace(volid="local:efi-firmware/app.fd")
IMAGE = ImageFile(PINNED.volid, "/x/app.fd", sha256=PINNED.sha256)
OK = Standing("pve2", True, "0.1.0", SUMMARY._replace(version="0.1.0"))


def publishes(**known: Any) -> Standing:
    return OK._replace(summary=SUMMARY._replace(**known))


@pytest.mark.parametrize(
    ("rule", "config", "standing", "facts", "given", "expected"),
    [
        # -- the node
        pytest.param("target-silent", "", OK, {}, {}, [], id="it publishes"),
        pytest.param("target-silent", "", OK._replace(online=False), {}, {}, ["pve2 is offline now, nothing starts there; its summary is from 1 min ago"], id="offline"),
        pytest.param("target-silent", "", OK._replace(online=False, summary=None), {}, {}, ["nothing starts there. "], id="offline, and no summary"),
        pytest.param("target-silent", "", publishes(written=NOW - 86400), {}, {}, ["the summary of pve2 is from 24 h ago: what"], id="silent"),
        pytest.param("target-silent", "", OK._replace(summary=UNKNOWN), {}, {}, [], id="its summary cannot be read"),
        pytest.param("target-lacks-pvehooks", GUARD, Standing("pve2", True, "", None), {}, {}, ["PVE refuses to start the VM there unless local:snippets/pvehooks-guard is left"], id="without the package"),
        pytest.param("target-lacks-pvehooks", GUARD.replace("local:", "nfs:"), Standing("pve2", True, "", None), {}, {}, [], id="a stub on shared storage"),
        pytest.param("target-lacks-pvehooks", f"hookscript: local:snippets/x\nhostpci0: {NIC}\n", Standing("pve2", True, "", None), {}, {}, ["the VM would start there without the guard"], id="unguarded there"),
        pytest.param("target-lacks-pvehooks", "cores: 1\n", Standing("pve2", True, "", None), {}, {}, [], id="nothing to guard"),
        pytest.param("target-lacks-pvehooks", GUARD, Standing("pve2", True, "0.1.0", None), {}, {}, [], id="the package without a summary"),
        pytest.param("target-lacks-pvehooks", GUARD, OK._replace(version=""), {}, {}, [], id="a summary alone"),
        pytest.param("target-other-version", "", OK, {}, {}, [], id="the same version"),
        pytest.param("target-other-version", "", publishes(version="0.2.0"), {}, {}, ["pve2 has pvehooks 0.2.0, this node 0.1.0"], id="another version, by its summary"),
        pytest.param("target-other-version", "", Standing("pve2", True, "0.2.0", None), {}, {}, ["pve2 has pvehooks 0.2.0"], id="another version, without a summary"),
        pytest.param("target-other-version", "", Standing("pve2", True, "", None), {}, {}, [], id="no version"),
        # -- hookscripts
        pytest.param("target-hookscript-missing", "cores: 1\n", OK, {}, {}, [], id="no hookscript"),
        pytest.param("target-hookscript-missing", GUARD, publishes(hookscripts={STUB: ""}), {}, {}, [], id="it is there"),
        pytest.param("target-hookscript-missing", GUARD, publishes(hookscripts={STUB: "it does not exist"}), {}, {}, [f"its hookscript {STUB} cannot be run there: it does not exist"], id="it is not there"),
        pytest.param("target-hookscript-missing", f"{GUARD}template: 1\n", publishes(hookscripts={STUB: "it does not exist"}), {}, {}, [], id="of a template"),
        pytest.param("target-hookscript-missing", f"hookscript: {FORMER}\n", publishes(hookscripts={FORMER: "", "local:snippets/gpu.sh": "it does not exist"}), {}, {}, [f"{FORMER} runs local:snippets/gpu.sh first, and it does not exist"], id="the former one is not there"),
        pytest.param("target-hookscript-missing", f"hookscript: {FORMER}\n", publishes(hookscripts={FORMER: ""}), {}, {}, ["?hookscript: not examined: whether pve2 has the hookscript local:snippets/gpu.sh is unknown"], id="the former one is unknown"),
        pytest.param("target-hookscript-missing", f"hookscript: {FORMER}\n", publishes(hookscripts={}), {}, {}, [f"?hookscript: not examined: whether pve2 has the hookscript {FORMER} is unknown"], id="both are unknown"),
        pytest.param("target-hookscript-missing", f"hookscript: {FORMER}\n", publishes(hookscripts={FORMER: "x", "local:snippets/gpu.sh": "y"}), {}, {}, [f"{FORMER} cannot be run there: x"], id="both are not there"),
        pytest.param("target-hookscript-missing", GUARD, Standing("pve2", True, "", None), {}, {}, [], id="a stub, and no summary"),
        pytest.param("target-hookscript-missing", "hookscript: local:snippets/gpu.sh\n", Standing("pve2", True, "", None), {}, {}, ["?hookscript: "], id="another one, and no summary"),
        pytest.param("target-hookscript-missing", "hookscript: nfs:snippets/gpu.sh\n", publishes(hookscripts={"nfs:snippets/gpu.sh": "x"}), {}, {}, [], id="on shared storage"),
        # -- firmware
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": PINNED, "image": IMAGE}, [], id="a shared image"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {"storages": UNKNOWN}, {"firmware": PINNED, "image": IMAGE}, ["?args: not examined: whether pve2 has its firmware image nfs:efi-firmware/app.fd is unknown: no reason at all"], id="its storages are unknown"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {"storages": {}}, {"firmware": PINNED, "image": IMAGE}, ["is not available on pve2: the storage 'nfs' does not exist"], id="no storage"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {"storages": {"nfs": SHARED._replace(disabled=True)}}, {"firmware": PINNED, "image": IMAGE}, ["the storage 'nfs' is disabled"], id="a disabled storage"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {"storages": {"nfs": SHARED._replace(nodes=frozenset({"pve1"}))}}, {"firmware": PINNED, "image": IMAGE}, ["the storage 'nfs' is not for pve2"], id="a storage of others"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": PINNED, "image": IMAGE._replace(trouble="it is a link")}, ["cannot be used on pve2 either: it is a link"], id="a shared image with trouble"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": PINNED, "image": IMAGE._replace(sha256="cd" * 32)}, ["either: it was changed since it was set"], id="a shared image that was changed"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": HERE, "image": IMAGE}, ["?args: ... 'local' is each node's own ... pvehooks firmware import FILE --storage local --name app.fd"], id="an image of its own"),
        pytest.param("target-firmware-missing", "bios: ovmf\ntemplate: 1\n", OK, {}, {"firmware": HERE, "image": IMAGE}, [], id="of a template"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": HERE, "image": IMAGE._replace(in_args=False)}, [], id="not in its args"),
        pytest.param("target-firmware-missing", "bios: ovmf\n", OK, {}, {"firmware": HERE, "image": None}, [], id="not looked at"),
        # -- devices and disks
        pytest.param("target-address-unmapped", f"hostpci0: mapping=x\nhostpci1: {NIC}\n", OK, {}, {}, [f"hostpci1 names an address of one node, {NIC}; on pve2 that is {NIC} (Ethernet controller"], id="behind a mapping"),
        pytest.param("target-address-unmapped", "hostpci0: 0000:09:00.0\n", OK, {}, {}, ["on pve2 that is nothing"], id="nothing there"),
        pytest.param("target-address-unmapped", "hostpci0: 0000:09:00.0\n", Standing("pve2", True, "", None), {}, {}, ["on pve2 that is another device, or none"], id="nothing is known"),
        pytest.param("target-address-unmapped", "hostpci0: 0000:09:00.0\ntemplate: 1\n", OK, {}, {}, [], id="an address in a template"),
        pytest.param("target-address-unmapped", f"hostpci0: {NIC};0000:01:00.0;0000:02:00.0\n", OK, {}, {}, ["(Ethernet controller [8086:1572]), 0000:01:00.0 (graphics card [10de:2684]). Map"], id="three devices"),
        pytest.param("target-disk-local", "scsi0: local:100/a.raw\nscsi1: nfs:100/b.raw\nefidisk0: local:100/c.raw\n", OK, {}, {}, ["scsi0: scsi0, efidisk0 are on 'local' ... qm disk move 100 scsi0 STORAGE"], id="two disks of its own"),
        pytest.param("target-disk-local", "tpmstate0: local:100/a.raw\n", OK, {}, {}, ["tpmstate0 is on 'local'"], id="the TPM"),
        pytest.param("target-disk-local", "scsi0: local:100/a.raw\n", OK, {"storages": {"local": OWN._replace(disabled=True)}}, {}, [], id="a storage that is not there has its own rule"),
        pytest.param("target-disk-local", "scsi0: local:100/a.raw\n", OK, {"storages": UNKNOWN}, {}, [], id="storages are unknown"),
        pytest.param("target-disk-local", "scsi0: local:100/a.raw\n", OK._replace(node="pve1"), {}, {}, [], id="the same node"),
        pytest.param("target-disk-local", "scsi0: local:100/a.raw\ntemplate: 1\n", OK, {}, {}, [], id="of a template"),
    ],
)  # fmt: skip
def test_edge(
    rule: str, config: str, standing: Standing, facts: dict[str, Any], given: dict[str, Any], expected: list[str], tmp_path: Path
) -> None:
    findings = catalogue.findings_on_target(*on_target(tmp_path, config, standing, facts, given))
    shown = [f"{'' if each.examined else '?'}{each.subject}: {each.message}. {each.remedy}" for each in findings if each.rule == rule]
    assert_findings(shown, expected)


def on_target(directory: Path, config: str, standing: Standing, facts: dict[str, Any], given: dict[str, Any]) -> tuple[Any, Target]:
    guest, node = guest_on_node(directory, config, pci.plant(TABLE))
    guest.__dict__.update(given)
    node.__dict__.update({"storages": STORAGES, **facts})
    return guest, Target(node, standing, "pve1", NOW, "0.1.0")


@pytest.mark.parametrize(("left_out", "address", "shown"), [
    (0, "0000:09:00.0", "on pve2: hostpci0: there is no PCI device 0000:09:00.0 on pve1"),
    (3, "0000:09:00.0", "not examined: the summary of pve2 leaves out 3 of its devices, perhaps 0000:09:00.0"),
])  # fmt: skip
def test_a_device_that_a_summary_may_have_left_out(left_out: int, address: str, shown: str, tmp_path: Path) -> None:
    standing = publishes(hardware=HARDWARE._replace(left_out=left_out))
    found = catalogue.findings_on_target(*on_target(tmp_path, f"hostpci0: {address}\n", standing, {}, {}))
    assert [each.message for each in found if each.rule == "hostpci-device-missing"] == [shown]


def test_which_rules_are_asked(tmp_path: Path) -> None:
    """Of those for any node the ones that refuse a start, and those of a start; what hangs on devices only where these are known."""
    config = "hostpci0: 0000:09:00.0\ncores: 99\nnet0: virtio=BC:24:11:2C:69:EC,bridge=gone\nboot: order=net0\nhookscript: local:snippets/gone\nscsi0: gone:1\n"
    for standing, known in ((OK, True), (Standing("pve2", True, "0.1.0", None), False)):
        found = catalogue.findings_on_target(
            *on_target(tmp_path / standing.state(NOW), config, standing, {"cpus": 4, "iommu": UNKNOWN}, {})
        )
        rules = [each.rule for each in found]
        assert ("hostpci-device-missing" in rules) is known
        assert "cpus-too-many" in rules and "boot-network-first" not in rules and "hookscript-missing" not in rules
        assert all(each.message.startswith("on pve2: ") for each in found if each.rule == "cpus-too-many")
        # A rule that refuses nothing is silent about what it does not know.
        assert not [
            each.rule
            for each in found
            if not each.examined and catalogue.RULES[each.rule].severity.value != "block" and not each.rule.startswith("target-")
        ]


def test_a_finding_that_was_not_examined_stays_so() -> None:
    assert not_examined("x", "y") == Finding(
        "x", "not examined: y", "If it stays so, look at the reason", not_examined("x", "y").severity, examined=False
    )
