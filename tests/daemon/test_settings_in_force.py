"""The settings are read again when their files have changed, which a pmxcfs that has ended does not mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pvehooks.daemon.settings_in_force import SettingsInForce, load
from pvehooks.host import Host
from tests.daemon.bed import NodeBed

Make = Callable[..., NodeBed]
FILE = "pvehooks/pvehooks.conf"


@pytest.mark.parametrize("ends", ["kill", "stop"])
def test_a_pmxcfs_that_ends_changes_no_settings(node: Make, ends: str) -> None:
    """It may end between the poll and the look at the files: that is no error in them, and the built-in settings do not come in force."""
    bed = node(others={FILE: "[rng]\nmode = warn\n"})
    settings = SettingsInForce(Host(), load(Host()))
    getattr(bed.pve, ends)()
    assert not settings.take_due(asked=False)
    assert settings.take_due(asked=True), "who asks for it is told why that is not possible"
    settings = SettingsInForce(Host(), settings.current)
    bed.pve.restart()
    bed.pve.remote_write(FILE, "[rng]\nmode = off\n")
    assert settings.take_due(asked=False)
    settings.read()
    assert settings.current.rng().mode == "off" and not settings.take_due(asked=False)
