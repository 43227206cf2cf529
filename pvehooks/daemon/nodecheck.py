"""The node itself is looked at when the daemon starts, when settings change, and once an hour."""

from __future__ import annotations

from pvehooks.daemon.settings_in_force import SettingsInForce
from pvehooks.daemon.stats import Stats
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.journal.log import Log
from pvehooks.journal.reporter import Reporter
from pvehooks.judge import with_configured_severity
from pvehooks.rules import catalogue

# How it boots changes seldom, and looking at it costs more than at a guest.
_INTERVAL = 3600.0


class NodeCheck:
    """Reports what is wrong with the node itself."""

    def __init__(self, host: Host, node: str, settings: SettingsInForce, reporter: Reporter, stats: Stats, log: Log) -> None:
        self._host = host
        self._node = node
        self._settings = settings
        self._reporter = reporter
        self._stats = stats
        self._log = log
        self._due = 0.0

    def again(self) -> None:
        """The node is to be looked at anew."""
        self._due = 0.0

    def check(self) -> None:
        """Looks at the node if that is due."""
        if self._host.monotonic() < self._due:
            return
        self._due = self._host.monotonic() + _INTERVAL
        severities = self._settings.now.severities
        try:
            found = [
                with_configured_severity(each, severities, "bind")
                for each in catalogue.findings_of_node(hardware.gather(self._host, self._node))
            ]
        except Exception as bug:  # noqa: BLE001 - a bug in our view of the node must not end the care for its guests; it is reported
            self._log.bug(bug, "bug while looking at the node")
            return
        self._stats.note_node(found)
        self._reporter.of_node(found)
