"""High availability: which guests it cares for, and where it may take them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class HaGuest(NamedTuple):
    """A VM that high availability cares for.

    `state` is the one asked for: started, stopped, ignored or disabled. `nodes` are those it may run on, `first` those that it is
    to prefer (empty for all alike); `rule` names the node affinity rule, or the group, that says so, '' without any.
    """

    state: str
    nodes: frozenset[str]
    first: frozenset[str] = frozenset()
    rule: str = ""

    @property
    def moved(self) -> bool:
        """Whether it is taken to another node when its own one fails."""
        return self.state in ("started", "stopped")


class Ha(NamedTuple):
    """High availability in the cluster: its VMs, whether its rules are known there (else groups), what a node's shutdown does with them."""

    guests: Mapping[int, HaGuest]
    has_rules: bool
    shutdown_policy: str
