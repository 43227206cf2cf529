"""The example role for Ansible, run against a booted system: from its repository, and with a .deb."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.node.builds import Builds
from tests.node.conftest import MakeNode
from tests.node.machine import Machine
from tests.node.trees import PROJECT

# Debian 12's ansible-core does not run on Debian 13's Python (its bundled `six`).
SUITES = ("bookworm",)
PLAYBOOK = PROJECT / "doc/examples/ansible/site.yml"


def changed(node: Machine, directory: Path, **values: object) -> list[str]:
    """Runs the playbook; the tasks that changed something."""
    (directory / "inventory").write_text("[proxmox]\npve1\n")
    given: dict[str, object] = {"ansible_connection": "bed", "ansible_python_interpreter": "/usr/bin/python3", **values}
    environment = {
        **os.environ,
        "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).parent / "ansible"),
        "ANSIBLE_HOME": str(directory / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "BED_AGENT": str(node.job / "agent"),
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
    }
    command = ["ansible-playbook", "-i", str(directory / "inventory"), "-e", json.dumps(given), str(PLAYBOOK)]
    done = subprocess.run(
        command, cwd=PLAYBOOK.parent, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:] + node.state()
    parts = re.split(r"^(?:TASK|RUNNING HANDLER) \[pvehooks : (.+?)\].*$", done.stdout, flags=re.MULTILINE)
    return [name for name, lines in zip(parts[1::2], parts[2::2], strict=True) if re.search("^changed:", lines, re.MULTILINE)]


def test_role_sets_a_node_up_once(make_node: MakeNode, builds: Builds, tmp_path: Path) -> None:
    node = make_node()
    node.sh("mkdir -p /var/lib/vz/snippets")
    # The daemon attaches the guard to no VM without devices: the role does.
    node.write(100, "name: web\nsmbios1: uuid=b3247ab1-1fe6-428e-965b-08a1b64a0100\n")
    wanted: dict[str, object] = {"pvehooks_settings": "[guard]\nmode = audit\n", "pvehooks_guarded": [100]}
    everything = ["Install the package", "Write the settings", "Attach the guard", "Reload pvehooks"]
    assert changed(node, tmp_path, **wanted) == everything
    node.wait_active()
    assert node.run("cat", "/etc/pvehooks/pvehooks.conf").out == "[guard]\nmode = audit\n"
    assert "hookscript: local:snippets/pvehooks-guard\n" in node.read(100)
    assert changed(node, tmp_path, **wanted) == []

    node.apt("purge", "pvehooks")
    wanted["pvehooks_deb"] = str(builds.deb)
    assert changed(node, tmp_path, **wanted) == ["Copy the package", *everything]
    node.wait_active()
    assert changed(node, tmp_path, **wanted) == []
