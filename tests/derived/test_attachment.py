"""Whether the guard can become a guest's hookscript, and when it has nothing left to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvehooks.derived.attachment import attached, superfluous, why_not
from pvehooks.derived.prepared import is_prepared
from pvehooks.values.guests import Attachment
from tests.derived.bed import guest_on_node

GUARD = "hookscript: local:snippets/pvehooks-guard\n"


class Hooks:
    """Whether the node has scripts in hooks.d."""

    def __init__(self, there: bool) -> None:
        self._there = there

    def hooks(self) -> bool:
        return self._there


@pytest.mark.parametrize(
    ("config", "is_attached"),
    [("", False), (GUARD, True), ("hookscript: local:snippets/mine.sh\n", False), ("hookscript: local:snippets/pvehooks-guard-local+mine.sh\n", True)],
)
def test_attached(config: str, is_attached: bool, tmp_path: Path) -> None:
    assert attached(guest_on_node(tmp_path, config)[0]) is is_attached


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GUARD, True),
        ("", False),
        (f"{GUARD}hostpci0: 0000:01:00.0\n", False),
        (f"{GUARD}template: 1\n", False),
        (f"{GUARD}args: -s\n", True),
        (f"{GUARD}args: -device vfio-pci,host=01:00.0\n", False),
        (f"{GUARD}hostpci0: 0000:01:00.0\n[PENDING]\ndelete: hostpci0\n", False),
        (f"{GUARD}[PENDING]\nhostpci0: 0000:01:00.0\n", False),
        (f"{GUARD}args: -device vfio-pci,host=01:00.0\n[PENDING]\nargs: -s\n", False),
        (f"{GUARD}description: vfio-pci\n", True),
    ],
)
def test_superfluous(config: str, expected: bool, tmp_path: Path) -> None:
    assert superfluous(guest_on_node(tmp_path, config)[0]) is expected


@pytest.mark.parametrize(("kept", "expected"), [("true", False), ("false", True)])
def test_what_an_administrator_keeps_is_not_superfluous(kept: str, expected: bool, tmp_path: Path) -> None:
    attachment = f'{{"volid": "local:snippets/pvehooks-guard", "former": "", "when": 1, "kept": {kept}}}'
    files = {"etc/pve/pvehooks/guests/100.json": f'{{"version": 1, "uuid": null, "ctime": null, "attachment": {attachment}}}'}
    guest = guest_on_node(tmp_path, GUARD, files)[0]
    assert isinstance(guest.attachment, Attachment)
    assert superfluous(guest) is expected


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("name: web\n", ""),
        ("name: web\nnonsense\n", "PVE would lose a line of its config, 'nonsense' (not a config line)"),
        ("[PENDING]\nmemory: 512\n", "it is stopped and other changes are pending (memory), which would be applied with it"),
        ("memory: 256\ncores: 1\n[PENDING]\nmemory: 512\ndelete: cores\n", "it is stopped and other changes are pending (cores, memory), which would be applied with it"),
        ("[PENDING]\nhookscript: local:snippets/x\n", ""),
        ("hookscript: local:snippets/a b\n", "its own hookscript cannot be run before it: the name of 'local:snippets/a b' contains other characters than letters, digits and _ @ = . + -"),
    ],
)  # fmt: skip
def test_why_not(config: str, why: str, tmp_path: Path) -> None:
    found, remedy = why_not(guest_on_node(tmp_path, config)[0])
    assert (found, bool(remedy)) == (why, why != "")


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    guest, _ = guest_on_node(tmp_path, "description: " + "x" * (1 << 20))
    assert guest.config is None
    assert why_not(guest) == (guest.problems[0][1], "See: pvehooks check {vmid}")
    assert not superfluous(guest)


def test_pending_changes_of_a_running_guest_wait(tmp_path: Path) -> None:
    files = {"run/qemu-server/100.pid": "4711\n", "proc/4711/cmdline": "/usr/bin/kvm\0-id\x00100\0"}
    guest, _ = guest_on_node(tmp_path, "[PENDING]\nmemory: 512\n", files)
    assert guest.running
    assert why_not(guest) == ("", "")


@pytest.mark.parametrize(
    ("config", "hooks", "expected"),
    [
        ("", True, False),
        (GUARD, False, False),
        (GUARD, True, True),
        ("hookscript: local:snippets/pvehooks-guard-local+mine.sh\n", False, True),
        ("hookscript: local:snippets/mine.sh\n", False, True),
    ],
)
def test_what_may_make_things_before_a_start(config: str, hooks: bool, expected: bool, tmp_path: Path) -> None:
    assert is_prepared(guest_on_node(tmp_path, config)[0], Hooks(hooks)) is expected  # type: ignore[arg-type]
