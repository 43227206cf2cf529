"""What a rule finds of a config on a node, in a line: for values at their limits, and for entries that are none of the rule's matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pvehooks.rules import catalogue, of_node
from tests.beds import pci
from tests.beds.tree import Content
from tests.derived.bed import CONFIGS, guest_on_node

TABLE = """\
0000:01:00.0 class=030000 id=10de:2684 driver=nouveau group=14
0000:02:00.0 class=010802 id=144d:a80a driver=nvme group=15
0000:03:00.0 class=020000 id=8086:1572 driver=i40e group=16
0000:04:00.0 class=030000 id=1002:73bf driver=amdgpu group=17
0000:05:00.0 class=010802 id=144d:a80a driver=nvme group=18
"""
GPU, NVME, NIC, AMD, NVME2 = (f"0000:0{number}:00.0" for number in range(1, 6))


def found(
    directory: Path, rule: str, config: str, files: Mapping[str, Content] | None = None, table: str = TABLE, **facts: Any
) -> list[str]:
    """What the rule says of VM 100 or of pve1: "subject: message. remedy"; "?" stands before what was not examined."""
    guest, node = guest_on_node(directory, config, {**pci.plant(table), **(files or {})})
    node.__dict__.update(facts)
    findings = of_node.findings_of_node(node) if catalogue.RULES[rule].of_node else catalogue.findings(guest, node)
    return [f"{'' if each.examined else '?'}{each.subject}: {each.message}. {each.remedy}" for each in findings if each.rule == rule]


def assert_findings(found: list[str], expected: list[str]) -> None:
    """Each finding has its phrases, which are joined by ' ... '."""
    assert len(found) == len(expected), found
    for text, phrases in zip(found, expected, strict=True):
        for phrase in phrases.split(" ... "):
            assert phrase in text, text


def other_guest(vmid: int, config: str) -> dict[str, Content]:
    """The file of another VM of the node."""
    return {f"{CONFIGS}/{vmid}.conf": config}
