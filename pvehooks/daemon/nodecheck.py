"""The node itself is checked when the daemon starts, when settings change, and once an hour."""

from __future__ import annotations

from pvehooks.daemon.parts import Parts
from pvehooks.facts import hardware
from pvehooks.judge import with_configured_severity
from pvehooks.rules import of_node
from pvehooks.settings.effective import Settings

# How it boots changes seldom, and checking it costs more than a guest.
_INTERVAL = 3600.0


class NodeCheck:
    """Reports what is wrong with the node itself."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._due = 0.0
        self._settings: Settings | None = None

    def due(self) -> None:
        """Has the next check be made at once."""
        self._due = 0.0

    def check(self) -> None:
        """Checks the node if that is due: it was long ago, or was with other settings."""
        parts, now = self._parts, self._parts.host.monotonic()
        if now < self._due and self._settings is parts.settings.current:
            return
        self._due, self._settings = now + _INTERVAL, parts.settings.current
        severities = parts.settings.current.severities
        try:
            node = hardware.gather(parts.host, parts.node)
            found = [with_configured_severity(each, severities, "bind") for each in of_node.findings_of_node(node)]
        except Exception as bug:  # noqa: BLE001 - a bug in our view of the node must not end the care for its guests; it is reported
            parts.log.bug(bug, "bug while looking at the node")
            return
        parts.stats.note_node(found)
        parts.reporter.of_node(found)
