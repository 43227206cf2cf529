"""Standard streams that the caller closed."""

from __future__ import annotations

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
