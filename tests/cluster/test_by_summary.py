"""A node by its summary: what the rules say of a start there is what they say on the node itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pvehooks.daemon.publish.summary import read_hardware, read_of_starts
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.cluster import summaries
from pvehooks.facts.guests import configs as guests
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.rules import catalogue, engine
from pvehooks.values import Finding, Node, Severity, Unread
from pvehooks.values.summaries import Standing
from tests.cluster.test_summary_text import SUMMARY
from tests.rules.example_tree import tree_of
from tests.rules.test_examples import examples, rule_of

# A summary does not tell serial numbers, and which ROM files there are.
SERIAL = "device-changed.failing-serial.txtar"
RULES = {rule.id for rule in catalogue.RULES.values() if rule.folder == engine.START and rule.severity is Severity.BLOCK} - {
    "romfile-missing"
}
ALL = [path for path in (*examples("failing"), *examples("passing")) if rule_of(path) in RULES and path.name != SERIAL]
EXAMPLES = [path for path in ALL if b"-- pci --" in path.read_bytes()]
# Nor the ids of bridges.
IDS = re.compile(r"(bridge) \[[0-9a-f:]{9}\]")


def found(host: Host, node: Node) -> set[tuple[str, str, str]]:
    """What refuses the start of the example's guest, with the words."""
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    found: tuple[Finding, ...] = catalogue.findings(guest, node)
    return {(each.rule, each.subject, IDS.sub(r"\1", each.message)) for each in found if each.rule in RULES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name[:-6])
def test_the_same_is_found(example: Path, tmp_path: Path) -> None:
    host = tree_of(example, tmp_path)
    here = hardware.gather(host, "pve1")
    there = by_summary(host, here)
    # What makes virtual functions, its kernel, and what is remembered of mappings, only the node itself knows.
    here.__dict__["vf_support"] = there.vf_support
    here.__dict__["kernel_release"] = there.kernel_release
    here.__dict__["remembered"] = there.remembered
    # Nor what has SR-IOV, how much room there is for vGPUs now, and what state a device is in that does not answer.
    for device in pci_devices(here).values():
        device.__dict__.update(total_vfs=0, vgpu_type=-1, power_state="")
    assert found(host, there) == found(host, here)


def by_summary(host: Host, here: Node) -> Node:
    """The node as another one knows it."""
    known = read_hardware(host, here)
    assert not isinstance(known, Unread)
    summary = text.load(text.dump(SUMMARY._replace(hardware=known)))
    return summaries.node(host, Standing("pve1", True, "1.0", summary))


VFS = [path for path in EXAMPLES if path.name.startswith("hostpci-device-missing.failing-vf-")]


@pytest.mark.parametrize("example", VFS, ids=lambda path: path.name[:-6])
def test_of_a_missing_virtual_function_no_cause_is_given(example: Path, tmp_path: Path) -> None:
    """Which devices have SR-IOV, and what makes their virtual functions, no summary holds."""
    host = tree_of(example, tmp_path)
    here = hardware.gather(host, "pve1")
    there, known = (
        {(subject, message) for rule, subject, message in found(host, node) if rule == "hostpci-device-missing"}
        for node in (by_summary(host, here), here)
    )
    assert there and {subject for subject, _ in known} <= {subject for subject, _ in there}
    for subject, message in there:
        assert re.fullmatch(rf"hostpci\d: there is no PCI device {subject} on pve1", message)


OF_STARTS = {"bridge-missing", "cpus-too-many", "machine-too-new"}
# Which revisions of machine versions PVE has, its own code says.
REVISION = "machine-too-new.failing-revision.txtar"
STARTS = [
    path
    for path in (*examples("failing"), *examples("passing"))
    if rule_of(path) in OF_STARTS and b"-- target --" not in path.read_bytes() and path.name != REVISION
]


@pytest.mark.parametrize("example", STARTS, ids=lambda path: path.name[:-6])
def test_the_same_is_missing(example: Path, tmp_path: Path) -> None:
    """Bridges, CPUs and QEMU: why a bridge is not there only the node itself knows."""
    host = tree_of(example, tmp_path)
    here = hardware.gather(host, "pve1")
    known = text.load(text.dump(SUMMARY._replace(**read_of_starts(here)._asdict())))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    there, found = (
        {(each.rule, each.subject, each.severity) for each in catalogue.findings(guest, node) if each.rule in OF_STARTS}
        for node in (summaries.node(host, Standing("pve1", True, "1.0", known)), here)
    )
    assert there == found
