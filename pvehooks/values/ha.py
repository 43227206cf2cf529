"""High availability: which guests it manages, and where it may move them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple


class HaGuest(NamedTuple):
    """A VM that high availability manages."""

    # The one asked for: started, stopped, ignored or disabled.
    state: str
    # Those that it may run on.
    nodes: frozenset[str]
    # The nodes that it is to prefer, empty for all alike.
    first: frozenset[str] = frozenset()
    # The name of the node affinity rule, or of the group, that decides this; '' without any.
    rule: str = ""
    # Whether the nodes which that rule lists are those to keep away from.
    negative: bool = False
    # Those that the rule gives to the nodes.
    priorities: tuple[tuple[str, int], ...] = ()
    # The other resources that the rule is for ("vm:101").
    shared: tuple[str, ...] = ()
    # Whether automatic rebalancing may move it.
    rebalanced: bool = True

    # What of its configuration only a newer Proxmox VE knows, in words: what high availability does with it is unknown then.
    newer: str = ""

    @property
    def moved(self) -> bool:
        """Whether it is surely moved to another node when its own one fails."""
        return self.state in ("started", "stopped") and not self.newer


class Ha(NamedTuple):
    """High availability in the cluster."""

    # By VMID.
    guests: Mapping[int, HaGuest]
    # Whether its rules are known there, else groups.
    has_rules: bool
    # What a node's shutdown does with the VMs.
    shutdown_policy: str
    # All nodes of the cluster.
    nodes: frozenset[str] = frozenset()
    # Whether it moves running VMs to balance the load.
    rebalances: bool = False
