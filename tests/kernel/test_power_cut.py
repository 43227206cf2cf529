"""A real kernel and a real ext4 say the same of a power cut as the model of tests/beds/powercut.py does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernel.image import COMMAND_LINE, Images
from tests.kernel.machine import Setup, boot

KIND = "power-cut"
# Nothing else is started.
WORDS = f"{COMMAND_LINE} quiet bed.machine={KIND} systemd.unit=bed-power-cut.service"


@pytest.fixture(scope="module")
def reported(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of all cuts, by how pvehooks wrote."""
    directory: Path = tmp_path_factory.mktemp(KIND)
    outcome = boot(images, directory, Setup(KIND, False, command_line=WORDS))
    assert not outcome.trouble(), outcome.trouble()
    return {each["name"]: each for each in outcome.all("power-cut")}


def test_each_cut_leaves_a_fix_that_can_be_undone(reported: dict[str, dict[str, Any]]) -> None:
    found = reported["as it is"]
    assert found["cuts"] > 15 and found["troubles"] == [], found


def test_without_the_directories_it_would_not(reported: dict[str, dict[str, Any]]) -> None:
    """The cuts are such that a missing fsync(2) of a directory shows."""
    assert reported["without directories"]["troubles"]
