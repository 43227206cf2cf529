"""libexec/pve-schema, with stand-ins for PVE's modules that declare more than our tables have; and what becomes of that."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pvehooks.actions import pve_schema
from pvehooks.facts import hardware
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.node import pveschema
from pvehooks.host import Host
from pvehooks.rules import catalogue, of_node
from pvehooks.values import Finding, Severity, Unread
from tests.beds import pveschema as bed
from tests.beds.tree import Content, make_fake_tree

PROJECT = Path(__file__).parents[2]
READER = PROJECT / "libexec/pve-schema"
GUESTS = "etc/pve/nodes/pve1/qemu-server"
NEWER: dict[str, Any] = {
    "options": ["gadget0"],
    "properties": {"hostpci": {"lanes": [], "driver": ["newdriver"]}, "vga": {"type": ["holo"]}, "net": {"warp": []}},
    "mapping": ["tier"],
    "cpu_models": ["FutureLake"],
    "ha_rules": {"node-affinity": {"affinity": ["avoid"], "weight": []}, "time-affinity": {"resources": []}},
    "ha_resource": ["pause"],
    "storages": ["holofs"],
    "sections": ["holo"],
    "machine_revisions": {"11.0": 3, "12.0": 1},
}
WORDS = (
    "the option gadget0",
    "the key lanes of hostpci",
    "the value newdriver for driver of hostpci",
    "the key warp of net",
    "the value holo for type of vga",
    "the key tier of pci mappings",
    "the CPU model FutureLake",
    "the machine versions 11.0+pve3, 12.0+pve1",
    "the type time-affinity of HA rules",
    "the key weight of HA rules of the type node-affinity",
    "the value avoid for affinity of HA rules of the type node-affinity",
    "the key pause of HA resources (vm)",
    "the storage type holofs",
    "the section [special:holo]",
)


def read(directory: Path, **more: Any) -> dict[str, Any]:
    """What pve-schema answers."""
    perl = bed.install(directory / "perl5", bed.modules(**more))
    done = subprocess.run([READER], env={**os.environ, "PERL5LIB": str(perl)}, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def tree(directory: Path, answer: dict[str, Any] | None, files: dict[str, Content] | None = None) -> Host:
    """A node with such a record."""
    record: dict[str, Content] = {}
    if answer is not None:
        record[pveschema.PATH[1:]] = json.dumps(pveschema.document_of(answer, {}))
    return Host(str(make_fake_tree(directory / "tree", {**record, **(files or {})})))


def findings(host: Host, vmid: int = 100) -> list[Finding]:
    context = guests.gather_context(host, "pve1", None)
    return list(catalogue.findings(guests.read(host, "pve1", vmid, context), hardware.gather(host, "pve1")))


def test_what_our_tables_have_is_not_newer(tmp_path: Path) -> None:
    answer = read(tmp_path)
    assert answer["troubles"] == {}
    assert pveschema.newer(tree(tmp_path, answer)) == ()


def test_what_is_older_is_not_newer(tmp_path: Path) -> None:
    """As qemu-server 8.0 to 8.3 declares it."""
    texts = bed.modules(properties={"ide": {"cyls": [], "heads": [], "secs": [], "trans": ["none", "lba"], "format": ["cow"]}})
    code = texts["PVE/QemuServer.pm"]
    (schemas,) = [line for line in code.splitlines() if "$special_schemas" in line]
    texts["PVE/QemuServer.pm"] = code.replace(schemas, r"sub opens { return $_[0] =~ m/^\[special:cloudinit\]\s*$/i }")
    texts["PVE/QemuServer/Machine.pm"] = "package PVE::QemuServer::Machine;\nour $PVE_MACHINE_VERSION = {\n    '4.1' => 2,\n};\n1;\n"
    perl = bed.install(tmp_path / "perl5", texts)
    done = subprocess.run([READER], env={**os.environ, "PERL5LIB": str(perl)}, capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert (answer["machine_revisions"], answer["sections"], answer["troubles"], done.stderr) == ({"4.1": 2}, ["cloudinit"], {}, "")
    assert pveschema.newer(tree(tmp_path, answer)) == ()


def test_what_is_newer_is_named(tmp_path: Path) -> None:
    host = tree(tmp_path, read(tmp_path, **NEWER))
    assert pveschema.newer(host) == WORDS
    (found,) = (each for each in of_node.findings_of_node(hardware.gather(host, "pve1")) if each.rule == "pve-newer")
    assert found.severity is Severity.INFO and found.examined
    assert "the option gadget0; the key lanes of hostpci" in found.message and found.message.endswith("; and 6 more")


def test_sections_that_pve_knows(tmp_path: Path) -> None:
    config = "memory: 512\n\n[special:holo]\nx: 1\n"
    host = tree(tmp_path, read(tmp_path, **NEWER), {f"{GUESTS}/100.conf": config})
    assert guests.parse(host, config.encode()).dropped == ()
    assert [each.section for each in guests.parse(tree(tmp_path / "old", None), config.encode()).dropped] == ["special:holo"] * 2


def test_a_mapping_with_what_is_newer(tmp_path: Path) -> None:
    """It names its device; without the record it is malformed for us, and the VM would not start."""
    line = "gpu\n\tmap node=pve1,path=0000:01:00.0,id=10de:2204,tier=2\n"
    files: dict[str, Content] = {"etc/pve/mapping/pci.cfg": line, f"{GUESTS}/100.conf": "hostpci0: mapping=gpu\n"}
    host = tree(tmp_path, read(tmp_path, **NEWER), files)
    (entry,) = guests.read(host, "pve1", 100, guests.gather_context(host, "pve1", None)).hostpci
    assert entry.addresses == ("0000:01:00.0",)
    old = tree(tmp_path / "old", None, files)
    assert isinstance(guests.read(old, "pve1", 100, guests.gather_context(old, "pve1", None)).hostpci[0].addresses, Unread)


# -- the record ---------------------------------------------------------------------------------------------------------

INSTALLED: dict[str, Content] = {path[1:]: "x" for path in pveschema.SOURCES}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, None, id="no Proxmox VE"),
        pytest.param(INSTALLED, "has not read yet what the installed version declares", id="not read yet"),
        pytest.param({pveschema.PATH[1:]: "{"}, "pve-schema.json is damaged", id="damaged"),
        pytest.param({pveschema.PATH[1:]: "[" * 10000}, "is damaged", id="nested"),
        pytest.param({pveschema.PATH[1:]: '{"version": 2}'}, "is of another version", id="another version"),
        pytest.param({pveschema.PATH[1:]: '{"version": 1, "schema": 1}'}, "holds no declarations", id="no declarations"),
        pytest.param({pveschema.PATH[1:]: '{"version": 1, "schema": {"troubles": 1, "options": 1, "properties": {"a": 1}, "ha_rules": {"node-affinity": {"x": 1}}}}'}, ("the key x of HA rules of the type node-affinity",), id="odd"),
        pytest.param({pveschema.PATH[1:]: '{"version": 1, "schema": {"troubles": {"storages": "x", "ha_rules": "y"}}}'}, "could not be read: ha_rules, storages", id="parts unread"),
        pytest.param({pveschema.PATH[1:]: None}, "Is a directory", id="a directory"),
    ],
)  # fmt: skip
def test_odd_records(files: dict[str, Content], expected: tuple[str, ...] | str | None, tmp_path: Path) -> None:
    host = tree(tmp_path, None, files)
    found = pveschema.newer(host)
    assert expected in found.why if isinstance(found, Unread) and isinstance(expected, str) else found == expected
    if isinstance(found, Unread):
        (finding,) = (each for each in of_node.findings_of_node(hardware.gather(host, "pve1")) if each.rule == "pve-newer")
        assert not finding.examined


def test_a_record_of_other_packages_counts_no_more(tmp_path: Path) -> None:
    host = tree(tmp_path, None, {**INSTALLED, "var/lib/pvehooks/": None})
    answer = read(tmp_path)
    host.replace(pveschema.PATH, json.dumps(pveschema.document_of(answer, pveschema.marks(host))).encode())
    assert pveschema.newer(host) == ()
    host.replace(pveschema.SOURCES[2], b"yy")
    assert isinstance(pveschema.newer(host), Unread)


@pytest.mark.parametrize("broken", ["PVE/HA/Rules.pm", "PVE/Storage.pm", "PVE/Mapping/USB.pm", "PVE/QemuServer/CPUFlags.pm"])
def test_a_module_that_fails_leaves_the_rest(broken: str, tmp_path: Path) -> None:
    perl = bed.install(tmp_path / "perl5", {**bed.modules(**NEWER), broken: "die 'no';"})
    done = subprocess.run([READER], env={**os.environ, "PERL5LIB": str(perl)}, capture_output=True, text=True, timeout=60, check=True)
    answer = json.loads(done.stdout)
    assert "gadget0" in answer["options"] and "newdriver" in answer["properties"]["hostpci"]["driver"]


def test_without_proxmox_ve_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERL5LIB", "/nowhere")
    assert pve_schema.record(Host()).startswith("Proxmox VE's code cannot be loaded: Can't locate PVE/QemuServer.pm in @INC")
    assert pveschema.read(Host()) is None


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param('[{"id": "pc-q35-11.2"}]', (), id="known"),
        pytest.param(
            '[{"id": "pc-q35-11.2"}, {"id": "pc-q35-12.0"}, {"id": "pc-i440fx-12.1"}]', ("the machine versions 12.0, 12.1",), id="newer"
        ),
        pytest.param("[1", (), id="damaged"),
    ],
)
def test_machine_versions_of_a_newer_qemu(listed: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    assert pveschema.newer(tree(tmp_path, read(tmp_path), {"usr/share/kvm/machine-versions-x86_64.json": listed})) == expected
