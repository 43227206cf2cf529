"""Commands end at their limit, whatever they leave behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pvehooks.host import CommandTrouble, Host


@pytest.mark.parametrize("stream", ["", ">/dev/null", "2>/dev/null"])
def test_a_grandchild_that_keeps_the_pipes_open_keeps_no_one(stream: str, tmp_path: Path) -> None:
    """It is in a session of its own, so that the signal to the command's group does not reach it."""
    script = f'setsid sh -c "echo \\$\\$ >{tmp_path}/pid; exec sleep 300" {stream} & sleep 300'
    began = time.monotonic()
    with pytest.raises(CommandTrouble, match="did not end within 1 s and was killed"):
        Host().run(("sh", "-c", script), 1)
    assert time.monotonic() - began < 100
    grandchild = int((tmp_path / "pid").read_text())
    assert os.path.exists(f"/proc/{grandchild}")
    os.kill(grandchild, 9)


def test_a_command_that_ends_while_its_child_keeps_the_pipes(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CommandTrouble, match="did not end within 1 s"):
        Host().run(
            ("sh", "-c", f'setsid sh -c "echo \\$\\$ >{tmp_path}/pid; exec sleep 300" & while [ ! -s {tmp_path}/pid ]; do :; done'), 1
        )
    assert time.monotonic() - began < 100
    os.kill(int((tmp_path / "pid").read_text()), 9)
