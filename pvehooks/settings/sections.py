"""The sections of the settings as values; [guard] is in compiled.py, for the hookscript."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple


class RngSettings(NamedTuple):
    """[rng] for a guest."""

    mode: str
    source: str
    # Per period.
    max_bytes: int
    # In milliseconds.
    period: int
    scope: str
    existing: str
    skip_with_rdrand: bool
    writer: str

    @property
    def value(self) -> str:
        """The property string for rng0."""
        return f"source={self.source},max_bytes={self.max_bytes},period={self.period}"


class WatchSettings(NamedTuple):
    """[watch], all in seconds."""

    interval: int
    settle: float
    detach_after: int


class MetricsSettings(NamedTuple):
    """[metrics]; `textfile` is auto, off or a directory."""

    textfile: str


class ClusterSettings(NamedTuple):
    """[cluster]."""

    publish: bool


class NotifySettings(NamedTuple):
    """[notify]: what messages are sent about."""

    refused_starts: bool
    failed_starts: str
    dead_devices: bool
    boot: bool
    errors: bool
    # Messages at most.
    per_hour: int
    # Whether a summary of the node is sent once a week.
    digest: bool


class GuiSettings(NamedTuple):
    """[gui]: what Proxmox VE's web interface shows of us."""

    # Whether guests with findings have a tag.
    tags: bool
    # Whether the node's notes have a block of ours.
    node_notes: bool


class FirmwareSettings(NamedTuple):
    """[firmware]; `on_change` is the severity of a changed image."""

    on_change: str
