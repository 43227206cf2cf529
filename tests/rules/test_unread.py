"""Rules on USB, virtiofs, shared memory and displays where a fact could not be read: they say so, once, and guess nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.host import Host
from pvehooks.records import baseline
from pvehooks.rules import catalogue
from pvehooks.rules.engine import TARGET, Rule, findings_at_start
from pvehooks.rules.guest import display, ha_migration, ivshmem, usb, virtiofs
from pvehooks.rules.node import shared_memory
from pvehooks.values import Finding, Unread
from tests.beds import pci
from tests.beds.tree import make_fake_tree
from tests.rules.example_tree import tree_of
from tests.rules.test_examples import examples, rule_of

CONFIG = """\
name: web
ostype: win11
machine: pc-q35-9.0
audio0: device=AC97
hostpci0: 0000:01:00.0
ivshmem: size=32
onboot: 1
serial0: /dev/ttyS0
usb0: host=1050:0407
usb1: mapping=key
usb2: spice
vga: virtio-gl
virtiofs0: share,expose-acl=1
virtiofs1: share
"""
GUESTS = "etc/pve/nodes/pve1/qemu-server"
MAPPINGS = {
    "etc/pve/mapping/usb.cfg": "key\n\tmap node=pve1,id=1050:0407\n\n",
    "etc/pve/mapping/directory.cfg": "share\n\tmap node=pve1,path=/srv\n\n",
    "etc/pve/ha/resources.cfg": "vm: 100\n\n",
}
RULESS = (usb.RULES, virtiofs.RULES, ivshmem.RULES, display.RULES, ha_migration.RULES)
RULES = [rule for rule_set in RULESS for rule in rule_set.rules]
# What is worth no word of its own where it is unknown: others say it, or it is only advice.
SILENT = {
    "usb-device-absent": {"pci", "holders"},
    "usb-hub": {"usb", "usb_mappings"},
    "usb-spice-without-display": {"cpu_flags"},
    "audio-spice-without-display": {"cpu_flags"},
    "spice-enhancements-idle": {"cpu_flags"},
    "usb-id-ambiguous": {"usb", "usb_mappings"},
    "usb-controller-passed-through": {"usb", "usb_mappings", "pci", "onboot"},
    "usb-claimed-twice": {"usb", "usb_mappings", "usb_claims"},
    "usb-mapping-mismatch": {"usb_mappings"},
    "virtiofs-path-missing": {"directories"},
    "ivshmem-file-too-small": {"memory_shares"},
    "ivshmem-sizes-differ": {"memory_shares"},
    "ivshmem-shared": {"memory_shares"},
    "ha-local-resource": {"ha"},
    "ha-mapping-incomplete": {"ha", "usb_mappings", "directories"},
    "ha-no-live-migration": {"ha", "usb_mappings", "directories"},
    "ha-rebalance-fails": {"ha", "mappings", "usb_mappings", "directories"},
}
NEEDS = [pytest.param(rule, fact, id=f"{rule.id}, {fact}") for rule in RULES for fact in sorted(rule.needs)]


@pytest.mark.parametrize(("rule", "fact"), NEEDS)
def test_not_examined(rule: Rule, fact: str, tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {**MAPPINGS, f"{GUESTS}/100.conf": CONFIG, "sys/bus/usb/devices": None})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node = hardware.gather(host, "pve1")
    node.__dict__[fact] = Unread("no reason at all")
    found = [finding for finding in rule.function(guest, node) if not finding.examined]
    assert len(found) == (fact not in SILENT.get(rule.id, ()))
    assert all("no reason at all" in finding.message for finding in found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_all_unread(rule: Rule, tmp_path: Path) -> None:
    """Nothing is claimed of a node of which nothing is known, but what the config alone tells."""
    host = Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": CONFIG})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node = hardware.gather(host, "pve1")
    node.__dict__.update(dict.fromkeys(rule.needs, Unread("no reason at all")))
    assert not rule.needs or not [finding for finding in rule.function(guest, node) if finding.examined]


@pytest.mark.parametrize("fact", ["memory_files", "memory_shares"])
def test_nothing_is_left_over_where_it_is_unknown(fact: str, tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": "cores: 1\n", "dev/shm/pve-shm-100": ""})))
    (rule,) = shared_memory.RULES.rules
    assert [finding.subject for finding in rule.function(hardware.gather(host, "pve1"))] == ["/dev/shm/pve-shm-100"]
    node = hardware.gather(host, "pve1")
    node.__dict__[fact] = Unread("no reason at all")
    assert not list(rule.function(node))


def test_devices_that_cannot_be_read_are_reported_once(tmp_path: Path) -> None:
    config = "ostype: l26\nusb0: host=1050:0407\nusb1: spice\nusb2: host=1-3.1\n"
    host = Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": config})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    (rule,) = (rule for rule in usb.RULES.rules if rule.id == "usb-device-absent")
    (found,) = rule.function(guest, hardware.gather(host, "pve1"))
    assert not found.examined
    assert "1050:0407, 1-3.1 are plugged in" in found.message


@pytest.mark.parametrize(("hostpci", "rules"), [("", ["ha-local-resource"]), ("hostpci0: 0000:01:00.0\n", ["ha-device-elsewhere"])])
def test_unknown_high_availability_is_reported_once(hostpci: str, rules: list[str], tmp_path: Path) -> None:
    host = Host(str(make_fake_tree(tmp_path, {f"{GUESTS}/100.conf": f"usb0: host=1050:0407\n{hostpci}", "etc/pve/ha/resources.cfg": None})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node = hardware.gather(host, "pve1")
    found = [finding for finding in catalogue.findings(guest, node) if finding.rule.startswith("ha-")]
    assert [finding.rule for finding in found] == rules
    assert not found[0].examined


def test_a_group_that_cannot_be_read_is_not_taken_for_clean(tmp_path: Path) -> None:
    files = pci.plant("0000:01:00.0 class=030000 id=10de:2204 driver=vfio-pci group=14\n0000:02:00.0 class=020000 driver=igb group=15\n")
    files["sys/devices/pci0000:00/0000:01:00.0/iommu_group"] = "14\n"
    host = Host(str(make_fake_tree(tmp_path, {**files, f"{GUESTS}/100.conf": "hostpci0: 0000:01:00.0\n"})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    of_device = [found for found in findings_at_start(guest, hardware.gather(host, "pve1")) if found.subject == "0000:01:00.0"]
    (found,) = (found for found in of_device if found.rule == "group-in-use-by-host")
    assert not found.examined
    assert "which devices share the IOMMU group of 0000:01:00.0 (graphics card [10de:2204]) is unknown" in found.message


def test_a_virtual_function_of_another_node_is_not_explained(tmp_path: Path) -> None:
    """Whether a device there has SR-IOV is not known here."""
    files = pci.plant("0000:00:02.0 class=030000 id=8086:3e98 driver=i915 group=1\n")
    host = Host(str(make_fake_tree(tmp_path, {**files, f"{GUESTS}/100.conf": "hostpci0: 0000:00:02.1\n"})))
    guest = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None))
    node = hardware.gather(host, "pve1")
    node.__dict__["vf_support"] = Unread("it is a fact of pve2, ask there")
    (found,) = (found for found in findings_at_start(guest, node) if found.rule == "hostpci-device-missing")
    assert "SR-IOV" not in found.message and found.message.startswith("hostpci0: there is no PCI device 0000:00:02.1")


def rule_findings(rule: Rule, host: Host, unread: str = "") -> list[Finding]:
    """What the rule finds of VM 100 or of the node, where one fact cannot be read."""
    node = hardware.gather(host, "pve1")
    if unread:
        node.__dict__[unread] = Unread("no reason at all")
    if rule.of_node:
        return list(rule.function(node))
    return list(rule.function(guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", baseline.read(host, "pve1"))), node))


EXAMPLES = [
    path for path in examples("failing") if catalogue.RULES[rule_of(path)].folder != TARGET and catalogue.RULES[rule_of(path)].needs
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name[:-6])
def test_without_a_fact_nothing_more_is_claimed(example: Path, tmp_path: Path) -> None:
    """Whichever fact cannot be read: the rule says so, or is silent, or says of the same things what it knows without."""
    rule, host = catalogue.RULES[rule_of(example)], tree_of(example, tmp_path)
    known = "".join(f"{finding.subject} {finding.message}\n" for finding in rule_findings(rule, host))
    for fact in sorted(rule.needs):
        found = rule_findings(rule, host, fact)
        assert all("no reason at all" in finding.message for finding in found if not finding.examined), fact
        examined = {finding.subject for finding in found if finding.examined}
        assert [subject for subject in examined if subject not in known] == [], fact
        assert examined.isdisjoint(finding.subject for finding in found if not finding.examined), fact
