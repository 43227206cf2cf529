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


@pytest.mark.parametrize("hostpci", ["0000:01:00,pcie=1", bed.IDLE_DISK, bed.SHARED_WITH_PORT])
def test_the_hookscript_loads_little(hostpci: str, tmp_path: Path) -> None:
    from pvehooks.host import Host
    from pvehooks.settings import load as settings

    root = bed.node(tmp_path, hostpci=hostpci)
    settings.compile_to(Host(str(root)), settings.load(Host(str(root))))
    line = ["/usr/bin/python3", "-IS", "-c", PROGRAM.format(project=str(PROJECT)), "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "pvehooks.rules.start.groups" in loaded, done.stdout + done.stderr
    assert loaded & FORBIDDEN == set()


def test_a_clean_start_reads_no_uses_and_no_audit_rules(tmp_path: Path) -> None:
    from pvehooks.host import Host
    from pvehooks.settings import load as settings

    root = bed.node(tmp_path)
    settings.compile_to(Host(str(root)), settings.load(Host(str(root))))
    line = ["/usr/bin/python3", "-IS", "-c", PROGRAM.format(project=str(PROJECT)), "100", "pre-start", "--root", str(root)]
    done = subprocess.run(line, env=bed.environment(), capture_output=True, text=True, timeout=60, check=False)
    loaded = set(done.stdout.split())
    assert {
        "pvehooks.rules.catalogue",
        "pvehooks.rules.guest",
        "pvehooks.rules.node",
        "pvehooks.facts.uses.blockdevices",
        "pvehooks.settings.load",
        "pvehooks.actions.pci.bind",
    } & loaded == set()
