"""The private mount namespace: the tests' files are not the machine's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.beds.namespace import EMPTY_DIRECTORIES, enter_private_namespace, is_private

enter_private_namespace()


def test_directories_of_a_node_are_there() -> None:
    assert is_private()
    assert [path for path in EMPTY_DIRECTORIES if not os.path.isdir(path)] == []


def test_files_of_the_machine_are_still_there() -> None:
    assert Path("/etc/passwd").read_text().startswith("root:")
    assert Path("/var/lib/dpkg/status").exists()


def test_writes_and_mounts_stay_in_the_namespace() -> None:
    mounts = [line.split(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    kinds = {before.split()[4]: after.split()[0] for before, after in mounts}
    assert (kinds["/etc"], kinds["/var/lib"], kinds["/run"]) == ("overlay", "overlay", "tmpfs")
    # proc_pid_mountinfo(5): a mount that propagates says `shared:N` or `master:N` there.
    assert [before for before, _ in mounts if "shared:" in before or "master:" in before] == []


def test_entering_twice_changes_nothing() -> None:
    before = Path("/proc/self/mountinfo").read_text()
    enter_private_namespace()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_command_gets_one_too() -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.beds.namespace", "ls", "-d", "/etc/pve"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "/etc/pve\n"
