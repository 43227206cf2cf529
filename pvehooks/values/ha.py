"""High availability: which guests it manages, and where it may move them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class HaGuest(NamedTuple):
    """A VM that high availability manages.

    `state` is the requested one: started, stopped, ignored or disabled. `nodes` are those it may run on, `first` those with the highest
    priority (empty if all have the same); `rule` is the node affinity rule, or the group, that sets this, '' without one.
    """

    state: str
    nodes: frozenset[str]
    first: frozenset[str] = frozenset()
    rule: str = ""

    @property
    def moved(self) -> bool:
        """Whether it is moved to another node when its own one fails."""
        return self.state in ("started", "stopped")


class Ha(NamedTuple):
    """High availability in the cluster: its VMs, whether it uses rules (else groups), and what the shutdown of a node does with the VMs."""

    guests: Mapping[int, HaGuest]
    has_rules: bool
    shutdown_policy: str
