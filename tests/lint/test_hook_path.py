"""What the hookscript's path loads: each import is paid at every start of a guest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.guard import bed
from tests.lint.source import PROJECT

# Too dear, or a second way to the system; asyncio and argparse stand for what would come with a careless import.
FORBIDDEN = {
    "dataclasses",
    "configobj",
    "subprocess",
    "logging",
    "pathlib",
    "typing",
    "inspect",
    "argparse",
    "asyncio",
    "hashlib",
    "systemd",
}
PROGRAM = """
import os, sys
sys.path.insert(0, {project!r})
before = set(sys.modules)
from pvehooks.guard import main, start
examine = start.examine
def examined(*arguments):
    status = examine(*arguments)
    print(*sorted(set(sys.modules) - before))
    sys.stdout.flush()
    return status
start.examine = examined
main.run()
"""


# How many modules of ours a start may load, each 0.2 to 0.4 ms. Where a number grows: import what only a finding or a failing start needs
# in the function that needs it, or put a small module into the one whose subject it is; raise it only for a new rule or a new kind of use.
MOST_MODULES = {"0000:01:00,pcie=1": 57, bed.IDLE_DISK: 81, bed.SHARED_WITH_PORT: 71}


@pytest.mark.parametrize("hostpci", MOST_MODULES)
def test_the_hookscript_loads_little(hostpci: str, tmp_path: Path) -> None:
    loaded = loaded_at_start(tmp_path, hostpci)
    assert "pvehooks.rules.start.groups" in loaded
    assert loaded & FORBIDDEN == set()
    ours = sorted(name for name in loaded if name.partition(".")[0] == "pvehooks")
    assert len(ours) <= MOST_MODULES[hostpci], "see at MOST_MODULES what to do:\n" + "\n".join(ours)


def loaded_at_start(directory: Path, hostpci: str) -> set[str]:
    """The modules that the guard has loaded once it has examined a start."""
    from pvehooks.host import Host
    from pvehooks.settings import load as settings

    root = bed.node(directory, hostpci=hostpci)
    settings.compile_to(Host(str(root)), settings.load(Host(str(root))))
    line = ["/usr/bin/python3", "-IS", "-c", PROGRAM.format(project=str(PROJECT)), "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_a_clean_start_reads_no_uses_no_mappings_and_no_audit_rules(tmp_path: Path) -> None:
    assert {
        "pvehooks.rules.catalogue",
        "pvehooks.rules.guest",
        "pvehooks.rules.node",
        "pvehooks.derived.absent_vfs",
        "pvehooks.derived.unbinding",
        "pvehooks.facts.cluster.mappings",
        "pvehooks.facts.uses.blockdevices",
        "pvehooks.settings.load",
        "pvehooks.actions.pci.bind",
    } & loaded_at_start(tmp_path, "0000:01:00,pcie=1") == set()
