"""The examples for Ansible, Terraform and Packer: the role is linted and run twice against a node's tree, the others are read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.beds import pci, uses
from tests.beds.tree import Content, Link, make_fake_tree
from tests.cli.test_cli import pvehooks
from tests.lint.source import PROJECT

EXAMPLES = PROJECT / "doc/examples"
PLAYBOOK = EXAMPLES / "ansible/site.yml"
CONFIGS = "etc/pve/nodes/pve1/qemu-server"
BUS = """
0000:01:00.0 class=030000 id=10de:2204 subsystem=1043:87d0 driver=vfio-pci group=14
0000:03:00.0 class=010802 id=144d:a808 driver=vfio-pci group=16
0000:06:00.0 class=020000 id=8086:10c9 driver=igb group=5 net=ens6/52:54:00:00:00:06
"""
FILES: dict[str, Content] = {
    f"{CONFIGS}/100.conf": "hostpci0: mapping=gpu,pcie=1\nname: gpu\nmachine: q35\n",
    "etc/pve/local": Link("nodes/pve1"),
    "etc/pvehooks/": None,
    "var/lib/vz/": None,
    f"{pci.ROOT}/0000:06:00.0/sriov_totalvfs": "7\n",
    f"{pci.ROOT}/0000:06:00.0/sriov_numvfs": "0\n",
}
PVESH = """#!/usr/bin/python3
import sys
words = sys.argv[1:]
assert words[:3] == ["create", "/cluster/mapping/pci", "--id"], words
maps = [value for flag, value in zip(words[4::2], words[5::2]) if flag == "--map"]
with open({file!r}, "a") as file:
    file.write("\\n" + "\\n".join((words[3], *("\\tmap " + value for value in maps))) + "\\n")
"""


def ran(directory: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(directory),
        "ANSIBLE_HOME": str(directory / "ansible"),
        # Not below HOME, but below the home directory of the user.
        "ANSIBLE_REMOTE_TEMP": str(directory / "remote"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    environment |= {"ANSIBLE_RETRY_FILES_ENABLED": "0", "NO_COLOR": "1", "PYTHONPATH": str(PROJECT), "ANSIBLE_LOCALHOST_WARNING": "0"}
    return subprocess.run(
        [*command], cwd=PLAYBOOK.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )


def test_role_is_clean(tmp_path: Path) -> None:
    """In a copy: the linter makes directories beside what it reads."""
    copied = shutil.copytree(PLAYBOOK.parent, tmp_path / "copy")
    done = ran(tmp_path, "ansible-lint", "--offline", "--strict", "-p", copied / "site.yml", copied / "roles/pvehooks")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_fake_tree(tmp_path / "tree", uses.idle() | pci.plant(BUS) | FILES)


def played(tree: Path, directory: Path, **more: object) -> subprocess.CompletedProcess[str]:
    pvesh = directory / "pvesh"
    pvesh.write_text(PVESH.format(file=str(tree / "etc/pve/mapping/pci.cfg")))
    pvesh.chmod(0o755)
    values = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "/usr/bin/python3",
        "pvehooks_install": False,
        "pvehooks_command": ["/usr/bin/python3", "-m", "pvehooks"],
        "pvehooks_options": ["--root", str(tree)],
        "pvehooks_settings_file": str(tree / "etc/pvehooks/pvehooks.conf"),
        "pvehooks_pvesh": str(pvesh),
        **more,
    }
    inventory = directory / "inventory"
    inventory.write_text("[proxmox]\npve1\n")
    return ran(directory, "ansible-playbook", "-i", inventory, "-e", json.dumps(values), PLAYBOOK)


def test_role_does_it_once(tree: Path, tmp_path: Path) -> None:
    entry = "id=144d:a808,iommugroup=3,node=pve2,path=0000:07:00.0"
    wanted = {
        "pvehooks_bind": [{"address": "0000:03:00.0"}, {"address": "0000:06:00.0", "vfs": 2, "vf": ["all:vlan=100", "1:trust=on"]}],
        "pvehooks_devices": [{"name": "gpu", "addresses": ["0000:01:00"]}],
        "pvehooks_mappings": [{"name": "disk", "map": [entry], "mdev": False}],
        "pvehooks_guarded": [100],
    }
    first = played(tree, tmp_path, **wanted)
    assert first.returncode == 0 and "failed=0" in first.stdout and "changed=5" in first.stdout, first.stdout + first.stderr
    assert (tree / "etc/pvehooks/pvehooks.conf").read_text() == "[guard]\nmode = enforce\n"
    assert "trust=on" in (tree / "etc/pvehooks/bind.d/0000:06:00.0").read_text()
    mappings = (tree / "etc/pve/mapping/pci.cfg").read_text()
    assert "gpu\n\tmap id=10de:2204" in mappings and f"disk\n\tmap {entry}\n" in mappings
    assert "hookscript: local:snippets/pvehooks-guard" in (tree / CONFIGS / "100.conf").read_text()
    second = played(tree, tmp_path, **wanted)
    assert second.returncode == 0 and "changed=0" in second.stdout, second.stdout + second.stderr


def test_role_takes_what_is_exported(tree: Path, tmp_path: Path) -> None:
    pvehooks(tree, "mapping", "add", "gpu", "01:00")
    text = pvehooks(tree, "mapping", "export", "--ansible")
    (tree / "etc/pve/mapping/pci.cfg").unlink()
    (tmp_path / "mappings.yml").write_text(text)
    pvehooks(tree, "mapping", "add", "other", "0000:03:00.0")
    done = played(
        tree, tmp_path, pvehooks_mappings="{{ (lookup('file', '" + str(tmp_path / "mappings.yml") + "') | from_yaml).pvehooks_mappings }}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "gpu\n\tmap id=10de:2204,iommugroup=14,node=pve1,path=0000:01:00,subsystem-id=1043:87d0\n"
        in (tree / "etc/pve/mapping/pci.cfg").read_text()
    )


def test_settings_with_an_error_end_it(tree: Path, tmp_path: Path) -> None:
    done = played(tree, tmp_path, pvehooks_settings="[guard]\nmode = strict\n")
    assert done.returncode != 0 and "mode" in done.stdout, done.stdout


# -- HCL ------------------------------------------------------------------------------------------------------------------

OPENING = re.compile(r'(?:[a-z_]\w*(?: "[\w-]+")* \{|[a-z_]\w* += [{\[]|\{)')
INSIDE = re.compile(r'[a-z_]\w* += (?:"[^"$%]*"|[0-9]+|true|false|\["[^"]*"\]|[a-z_]\w*(?:\.[\w]+)+)|[}\]],?')


@pytest.mark.parametrize("path", ["terraform/main.tf", "packer/template.pkr.hcl"])
def test_blocks_are_closed_and_hold_assignments(path: str) -> None:
    depth = 0
    for line in filter(None, map(str.strip, (EXAMPLES / path).read_text().splitlines())):
        if line.startswith("#"):
            continue
        assert OPENING.fullmatch(line) or INSIDE.fullmatch(line), line
        depth += bool(OPENING.fullmatch(line)) - (line.rstrip(",") in ("}", "]"))
        assert depth >= 0, line
    assert depth == 0


@pytest.mark.parametrize("path", ["terraform/main.tf", "packer/template.pkr.hcl"])
def test_guest_has_rng0_from_the_beginning(path: str) -> None:
    text = (EXAMPLES / path).read_text()
    assert re.search(r"^  bios += \"ovmf\"$", text, re.MULTILINE) and re.search(r"^  rng0? \{$", text, re.MULTILINE)


def test_terraform_mapping_is_as_it_is_exported(tree: Path) -> None:
    pvehooks(tree, "mapping", "add", "gpu", "01:00")
    exported = re.sub(r" +", " ", pvehooks(tree, "mapping", "export", "--terraform"))
    assert exported in re.sub(r" +", " ", (EXAMPLES / "terraform/main.tf").read_text())
