"""How the guard is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guard import bed


@pytest.mark.parametrize("phase", ["post-start", "pre-stop", "post-stop"])
def test_other_phases_are_silent(phase: str, tmp_path: Path) -> None:
    root = bed.node(tmp_path, hostpci=bed.SHARED_WITH_PORT)
    assert bed.guard("100", phase, "--root", str(root)) == (0, "")
    status, words = bed.guard("x/../y", phase, "--root", str(root))
    assert status == 0 and ("is no VMID" in words if phase == "post-stop" else not words)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["100", "pre-freeze"], 0, "'pre-freeze' is no phase of a hookscript"),
        (["100", "\x1b[2J"], 0, "'\\x1b[2J' is no phase of a hookscript"),
        (["web", "pre-start"], 1, "'web' is no VMID"),
        (["0100", "pre-start"], 1, "'0100' is no VMID"),
        (["../100", "pre-start"], 1, "'../100' is no VMID"),
        (["9" * 5000, "pre-start"], 1, "is no VMID"),
        (["\u0661\u0660\u0660", "pre-start"], 1, "is no VMID"),
        (["100"], 1, "usage: guard VMID PHASE"),
        ([], 1, "usage: guard VMID PHASE"),
        (["100", "pre-start", "--rot", "/"], 1, "usage: guard VMID PHASE"),
    ],
)
def test_bad_arguments(arguments: list[str], status: int, words: str) -> None:
    ran = bed.guard(*arguments)
    assert ran.status == status
    assert words in ran.out and ran.out.count("\n") == 1


def test_a_tree_that_is_none(tmp_path: Path) -> None:
    ran = bed.start(tmp_path)
    assert ran.status == 1 and "is not a tree of a Proxmox VE node" in ran.out
