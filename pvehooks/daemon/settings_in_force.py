"""The settings in force, and when their files are read again."""

from __future__ import annotations

import contextlib
import gc
import sys

from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import pmxcfs
from pvehooks.host import Host
from pvehooks.rules import catalogue
from pvehooks.settings import load as settings
from pvehooks.settings.effective import Settings

# A SIGHUP that comes within so many seconds of a poll that read the files, with the same files, was sent for that edit.
_SAME_EDIT = 10.0
# configobj and what that brings along: 2 MB that are needed only while settings are read.
_NEEDED_TO_READ = frozenset(("ast", "configobj", "dataclasses", "dis", "inspect", "opcode", "pprint", "six"))


class SettingsInForce:
    """`now` are the settings in force."""

    def __init__(self, host: Host, loaded: Settings) -> None:
        self.current = loaded
        self._host = host
        self._mark = settings.mark(host)
        self._read_by_poll = float("-inf")

    def take_due(self, asked: bool) -> bool:
        """Whether the files are to be read: they have changed, or the administrator `asked` for it. The next call compares with this one.

        Without pmxcfs the cluster's file cannot be read, or is not there, and has not changed.
        """
        now, mark = self._host.monotonic(), settings.mark(self._host)
        if mark == self._mark and (not asked or now < self._read_by_poll + _SAME_EDIT):
            return False
        if not asked and self._is_pmxcfs_away():
            return False
        self._mark = mark
        self._read_by_poll = float("-inf") if asked else now
        return True

    def _is_pmxcfs_away(self) -> bool:
        """Asked after the files: it may have ended since the poll. A tree needs none."""
        if not self._host.is_node:
            return False
        try:
            pmxcfs.version(self._host)
        except PmxcfsAway:
            return True
        return False

    def read(self) -> None:
        """Puts the files in force; raises SettingsError, and those of before stay in force."""
        self.current = load(self._host)


def load(host: Host) -> Settings:
    """The settings of the files, compiled for the hookscript as well; raises SettingsError."""
    before = frozenset(sys.modules)
    try:
        loaded = settings.checked(host, catalogue.RULES)
    finally:
        _unload(before)
    with contextlib.suppress(OSError):
        # Without them the hookscript reads the files itself, which takes longer.
        settings.compile_to(host, loaded)
    return loaded


def _unload(before: frozenset[str]) -> None:
    """Gives back the memory of modules that were imported to read the settings; the next reading imports them again."""
    for name in sys.modules.keys() - before:
        if name.partition(".")[0] in _NEEDED_TO_READ:
            del sys.modules[name]
    gc.collect()
