"""What the command line shows where systemd does not run."""

from __future__ import annotations

from typing import Any

import pytest

from pvehooks.cli import booted
from pvehooks.cli.commands.bind import Wanted, with_boot
from pvehooks.cli.devices import DeviceReport


class Init:
    """A node, or a tree, that systemd runs or not."""

    def __init__(self, is_node: bool, *directories: str) -> None:
        self.is_node = is_node
        self._directories = directories

    def is_dir(self, path: str) -> bool:
        return path in self._directories


OTHER: Any = Init(True)
SYSTEMD: Any = Init(True, "/run/systemd/system")
TREE: Any = Init(False)


@pytest.mark.parametrize(("host", "without"), [(OTHER, True), (SYSTEMD, False), (TREE, False)])
def test_without_systemd(host: Any, without: bool) -> None:
    assert booted.without_systemd(host) is without


@pytest.mark.parametrize(
    ("host", "persist", "result", "noted"),
    [(OTHER, True, "done", True), (OTHER, False, "done", False), (OTHER, True, "refused", False), (SYSTEMD, True, "done", False)],
)
def test_what_is_recorded_for_boot(host: Any, persist: bool, result: str, noted: bool) -> None:
    report = DeviceReport("0000:01:00.0", "a card", result, "is given to vfio-pci at every boot", "", persistent=True)
    (shown,) = with_boot(host, Wanted(now=False, persist=persist), [report])
    assert any("pvehooks bind --boot" in note for note in shown.notes) is noted
