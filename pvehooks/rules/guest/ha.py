"""VMs that high availability manages, and devices that are not on every node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.derived.passthrough import PASSING, passes_through
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.config import NEWER
from pvehooks.rules.guest.conflicts import migratable
from pvehooks.values import Finding, Guest, HostPci, Node, Severity, Unread
from pvehooks.values.ha import Ha, HaGuest

RULES = RuleSet(applies_to=passes_through, order=150, options=PASSING)


def _cared_for(guest: Guest, node: Node) -> HaGuest | None:
    """What high availability may do with the guest; None if nothing, or where that cannot be read."""
    if isinstance(node.ha, Unread):
        return None
    found = node.ha.guests.get(guest.vmid)
    return found if found and found.moved else None


def unknown_to_us(guest: Guest, node: Node) -> Finding | None:
    """The finding that high availability has something set for the guest which only a newer PVE knows; None where it has not."""
    found = None if isinstance(node.ha, Unread) else node.ha.guests.get(guest.vmid)
    if found is None or not found.newer:
        return None
    why = f"where high availability may start it is unknown: {found.newer}, which this version of pvehooks does not know"
    return not_examined("ha", why)._replace(remedy=NEWER)


@RULES.rule(
    "ha-device-elsewhere",
    Severity.WARNING,
    "Map the device on each node that has one (Datacenter, Resource Mappings), or keep the VM on the nodes that do",
    needs=("ha", "mappings"),
)
def ha_device_elsewhere(guest: Guest, node: Node) -> Iterator[Finding]:
    """High availability may move the VM to a node where its passed-through device is not.

    A PCI address is one of this node: on another one the same address may be any device, also one that the host needs. A mapping names a
    device for each node it knows; on the others the start fails, and the VM stays down. A stopped VM is moved, too. The
    administrator's manual advises mappings for VMs that high availability moves.
    Source: pve-ha-manager, Rules/NodeAffinity.pm; the administrator's manual, "PCI(e) Passthrough" (Usage in Clusters), "Resource Mapping".
    """
    if isinstance(node.ha, Unread):
        yield not_examined("ha", f"whether high availability moves the VM is unknown: {node.ha.why}")
        return
    unknown = unknown_to_us(guest, node)
    if unknown:
        yield unknown
    cared = _cared_for(guest, node)
    if cared is None:
        return
    found = [(entry, _nodes_with(entry, node)) for entry in guest.hostpci]
    at_home = cared.nodes.intersection(*(nodes for _, nodes in found if nodes))
    for entry, nodes in found:
        lacking = cared.nodes - nodes
        if not nodes or not lacking:
            continue
        # Where the guest comes only if no better node is up, the finding is information.
        severity = Severity.INFO if cared.first and not cared.first & lacking else Severity.WARNING
        yield Finding(entry.option, _words(entry, lacking, node), _remedy(guest, cared, at_home, node.ha), severity)


def _nodes_with(entry: HostPci, node: Node) -> frozenset[str]:
    """The nodes that have the device, as far as the cluster knows; none where nothing is known of the mapping (mapping-missing reports that)."""
    if not entry.mapping:
        return frozenset({node.name})
    mapping = None if isinstance(node.mappings, Unread) else node.mappings.get(entry.mapping)
    return mapping.nodes if mapping else frozenset()


def _words(entry: HostPci, lacking: Iterable[str], node: Node) -> str:
    nodes = ", ".join(sorted(lacking))
    if entry.mapping:
        return f"high availability may move it to {nodes}, where the mapping '{entry.mapping}' of {entry.option} has no device: it would not start there"
    addresses = "an address" if isinstance(entry.addresses, Unread) else ", ".join(entry.addresses)
    return f"high availability may move it to {nodes}, and {entry.option} is {addresses} of {node.name}: elsewhere that is another device, or none"


def _remedy(guest: Guest, cared: HaGuest, at_home: Iterable[str], ha: Ha) -> str:
    return f"Map the device on each node that has one (Datacenter, Resource Mappings), or keep the VM there{with_others(cared)}: {keep_on(guest, cared, at_home, ha)}"


def keep_on(guest: Guest, cared: HaGuest, there: Iterable[str], ha: Ha) -> str:
    """What to type so that high availability keeps the guest on these nodes, or on the one that it is on now where there is none."""
    kept = sorted(there) or [guest.node]
    nodes = ",".join(kept)
    kind, _, name = cared.rule.partition(" ")
    if kind and cared.negative:
        away = ",".join(sorted({*ha.nodes, *(node for node, _ in cared.priorities)}.difference(kept)))
        return f"ha-manager rules set node-affinity {name} --nodes {away} --strict 1"
    given = dict(cared.priorities)
    ranked = ",".join(f"{node}:{given[node]}" if given.get(node) else node for node in kept)
    if kind == "rule":
        return f"ha-manager rules set node-affinity {name} --nodes {ranked} --strict 1"
    if kind == "group":
        return f"ha-manager groupset {name} --nodes {ranked} --restricted 1"
    if ha.has_rules:
        return f"ha-manager rules add node-affinity vm{guest.vmid} --resources vm:{guest.vmid} --nodes {nodes} --strict 1"
    return f"ha-manager groupadd vm{guest.vmid} --nodes {nodes} --restricted 1, then: ha-manager set vm:{guest.vmid} --group vm{guest.vmid}"


def with_others(cared: HaGuest) -> str:
    """What else a change of its rule or group concerns, '' for nothing."""
    return f" (and with it {', '.join(cared.shared)}, of the same {cared.rule.partition(' ')[0]})" if cared.shared else ""


@RULES.rule(
    "ha-shutdown-hangs",
    Severity.WARNING,
    "Before the node is shut down: ha-manager set vm:{vmid} --state stopped. Or choose another policy: Datacenter, Options, HA Settings",
    needs=("ha", "mappings"),
)
def ha_shutdown_hangs(guest: Guest, node: Node) -> Iterator[Finding]:
    """A shutdown of the node waits until high availability has moved the running VM away, which its passed-through devices forbid.

    That is so with the shutdown policy `migrate`: the node goes down only once all such VMs have left it.
    Source: the administrator's manual, "High Availability", "Shutdown Policy"; pve-ha-manager, LRM.pm; qemu-server, QemuMigrate.pm.
    """
    cared = _cared_for(guest, node)
    if cared is None or isinstance(node.ha, Unread) or node.ha.shutdown_policy != "migrate" or cared.state != "started":
        return
    tied = [entry.option for entry in guest.hostpci if not migratable(entry, node)]
    if tied and cared.nodes - {node.name}:
        message = f"a shutdown of {node.name} waits for the VM to move away (shutdown_policy=migrate), which it cannot while it runs with {', '.join(tied)}"
        yield Finding("ha", message)
