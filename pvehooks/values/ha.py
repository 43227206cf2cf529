"""High availability: which guests it manages, and where it may take them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class HaGuest(NamedTuple):
    """A VM that high availability manages.

    `state` is the one asked for: started, stopped, ignored or disabled. `nodes` are those it may run on, `first` those that it is
    to prefer (empty for all alike). `rule` names the node affinity rule, or the group, that decides this, '' without any; `negative` means
    that the nodes which that rule lists are those to keep away from, `priorities` are those that it gives to the nodes, `shared` are the
    other resources that it is for ("vm:101"). `rebalanced` is whether automatic rebalancing may move it.
    """

    state: str
    nodes: frozenset[str]
    first: frozenset[str] = frozenset()
    rule: str = ""
    negative: bool = False
    priorities: tuple[tuple[str, int], ...] = ()
    shared: tuple[str, ...] = ()
    rebalanced: bool = True

    @property
    def moved(self) -> bool:
        """Whether it is taken to another node when its own one fails."""
        return self.state in ("started", "stopped")


class Ha(NamedTuple):
    """High availability in the cluster: its VMs, whether its rules are known there (else groups), what a node's shutdown does with them.

    `nodes` are all nodes of the cluster, `rebalances` is whether it moves running VMs to balance the load.
    """

    guests: Mapping[int, HaGuest]
    has_rules: bool
    shutdown_policy: str
    nodes: frozenset[str] = frozenset()
    rebalances: bool = False
