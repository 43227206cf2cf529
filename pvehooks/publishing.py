"""What the daemon publishes beside the journal: each publisher is asked after every turn of the loop, and decides when it is due."""

from __future__ import annotations

from typing import Protocol

from pvehooks.host import Host
from pvehooks.metrics import Textfile
from pvehooks.settings.effective import Settings
from pvehooks.summary import Publisher as ClusterSummary
from pvehooks.tally import Tally


class Publisher(Protocol):
    """Writes what others read of us. Trouble in writing is its own: it is said in the returned words, once, and nothing is raised.

    `in_pmxcfs`: it writes below /etc/pve, and is not asked while pmxcfs does not answer.
    """

    @property
    def in_pmxcfs(self) -> bool: ...

    def publish(self, tally: Tally, settings: Settings) -> str: ...


def publishers(host: Host, node: str) -> tuple[Publisher, ...]:
    """All of them, in the order in which they are asked."""
    return (Textfile(host, node), ClusterSummary(host, node))
