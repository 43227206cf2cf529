"""Standard streams that the caller closed, or that have few characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.beds.tree import make_fake_tree
from tests.lint.source import PROJECT


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_bug_and_gets_no_file(closed: str, tmp_path: Path) -> None:
    """A status of 1 would say that a guest would not start; what is printed must not go into a file that was opened in its place."""
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": "memory: 512\nname: a\n"})
    start = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from pvehooks.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-I", "-c", start, "check", "--root", str(tree), "--node", "pve1"]
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_that_the_encoding_does_not_have_is_no_bug(encoding: str, tmp_path: Path) -> None:
    name = "b\N{LATIN SMALL LETTER U WITH DIAERESIS}ro\N{SNOWMAN}"
    tree = make_fake_tree(tmp_path, {"etc/pve/nodes/pve1/qemu-server/100.conf": f"memory: 512\nname: {name}\n"})
    command = [sys.executable, "-m", "pvehooks", "check", "100", "--root", str(tree), "--node", "pve1"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, timeout=60, check=False)
    assert done.stderr == b"" and done.returncode == 0
    assert b"'name: " + name.encode(encoding, "backslashreplace") + b"'" in done.stdout
