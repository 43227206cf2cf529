"""PCI mappings of a node, from /etc/pve/mapping/pci.cfg."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.facts.cluster import mappings
from pvehooks.facts.pci import hostpci
from pvehooks.formats import sectionconfig
from pvehooks.host import Host
from pvehooks.values import MappingEntry, PciMapping, Unread
from tests.beds.tree import Content, make_fake_tree

FILE = "etc/pve/mapping/pci.cfg"
CONFIG = """\
gpu
\tdescription two of a kind
\tmap node=pve1,path=0000:01:00.0;0000:01:00.1,id=10de:2204,iommugroup=14,subsystem-id=1043:87d0
\tmap node=pve2,path=0000:41:00,id=10de:2204
\tmap node=pve1,path=0000:02:00,id=10de:2204
\tmdev 1

nic
\tmap node=pve2,path=0000:03:00.0,id=8086:1572
\tmdev 0

"""


def tree(path: Path, content: Content) -> Host:
    return Host(str(make_fake_tree(path, {FILE: content})))


def test_the_entries_for_the_node_in_order(tmp_path: Path) -> None:
    assert mappings.read(tree(tmp_path, CONFIG), "pve1") == {
        "gpu": PciMapping(
            "gpu",
            (
                MappingEntry(("0000:01:00.0", "0000:01:00.1"), "10de:2204", "1043:87d0", "14"),
                MappingEntry(("0000:02:00",), "10de:2204", "", ""),
            ),
            True,
            frozenset({"pve1", "pve2"}),
            written=(
                "node=pve1,path=0000:01:00.0;0000:01:00.1,id=10de:2204,iommugroup=14,subsystem-id=1043:87d0",
                "node=pve2,path=0000:41:00,id=10de:2204",
                "node=pve1,path=0000:02:00,id=10de:2204",
            ),
        ),
        "nic": PciMapping("nic", (), False, frozenset({"pve2"}), written=("node=pve2,path=0000:03:00.0,id=8086:1572",)),
    }


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    assert mappings.read(Host(str(tmp_path)), "pve1") == {}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert mappings.read(tree(tmp_path, None), "pve1") == Unread("/etc/pve/mapping/pci.cfg: Is a directory")


def test_one_bad_section_spoils_no_other(tmp_path: Path) -> None:
    broken = b"bad name here\n\tmap x\n\n\xff\xfe\n\tmap node=pve1\n\ngpu\n\tmap node=pve1,path=0000:01:00.0,id=10de:2204\n"
    assert list(mappings.read(tree(tmp_path, broken), "pve1")) == ["gpu"]


@pytest.mark.parametrize(
    ("text", "trouble", "entries"),
    [
        pytest.param("gpu\n\tmap node=pve1,path=0000:01:00.0,id=10de\n", "line 2: map: ", 0, id="the only entry"),
        pytest.param("# old\ngpu\n#\tmap x\n\tmdev 2\n\tmap x\n", "line 4: mdev ", 0, id="two lines, and comments"),
        pytest.param("gpu\n\tdescription none\n", "line 1: 'gpu' has no map", 0, id="no entry at all"),
        pytest.param("gpu\n\tmap path=0000:01:00.0\n\tmap node=pve1,path=0000:01:00.0,id=10de:2204\n", "line 2: map: ", 1, id="one of two"),
    ],
)
def test_a_malformed_mapping_is_there(tmp_path: Path, text: str, trouble: str, entries: int) -> None:
    found = mappings.read(tree(tmp_path, f"nic\n\tmap node=pve1,path=0000:02:00.0,id=8086:1533\n\n{text}\n"), "pve1")
    assert not isinstance(found, Unread)
    assert found["nic"].trouble == ""
    number = int(trouble.split()[1].rstrip(":")) + 3
    assert found["gpu"].trouble.startswith(f"line {number}:{trouble.partition(':')[2]}")
    assert len(found["gpu"].entries) == entries


def test_one_reading_serves_all_and_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = tree(tmp_path, CONFIG)
    calls = []
    parse = sectionconfig.parse_mapping
    monkeypatch.setattr(sectionconfig, "parse_mapping", lambda raw, **more: calls.append(raw) or parse(raw, **more))
    known = hostpci.Mappings(host, "pve1")
    assert calls == []
    assert known.read() is known.read()
    assert len(calls) == 1
