"""Network devices of a VM, and the bridges that they are to be attached to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from pvehooks.derived.once import once
from pvehooks.derived.prepared import is_prepared
from pvehooks.derived.remedies import for_shell
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.starting import NoBridge

_NET = re.compile(r"net(?:[0-9]|[12][0-9]|3[01])", re.ASCII)
_BRIDGE = re.compile(r"(?:^|,)bridge=([^,]+)")
_SHOWN = 12


@once
def bridges_of(guest: Guest) -> tuple[tuple[str, str], ...]:
    """(option, bridge) of its network devices; those without a bridge are behind QEMU's own NAT."""
    wanted = [(option, _BRIDGE.search(str(value))) for option, value in guest.options.items() if option.startswith("net")]
    return tuple((option, match[1]) for option, match in wanted if match and _NET.fullmatch(option))


def _is_bridged(guest: Guest) -> bool:
    return not guest.template and bool(bridges_of(guest))


RULES = RuleSet(applies_to=_is_bridged, order=180, options=("net",))


@RULES.rule(
    "bridge-missing",
    Severity.BLOCK,
    "Give the device a bridge that is there: qm set {vmid} --OPTION VALUE,bridge=NAME",
    needs=("bridges",),
)
def bridge_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The bridge of a network device is not on this node, or is no bridge: Proxmox VE refuses the start, also with link_down=1.

    This happens after a restore, a migration or a change of the network's configuration. A bridge that is configured and does not exist was
    not brought up, or failed; a VNet of SDN exists once its configuration is applied. A hookscript, or for VMs with the guard a script in
    /etc/pvehooks/hooks.d, may make the bridge before the start: with one of these, the finding is a warning.
    Source: pve-common, Network.pm (read_bridge_mtu, tap_plug); pve-network, SDN/Zones.pm (tap_plug); qemu-server, pve-bridge.
    """
    if isinstance(node.bridges, Unread):
        return
    missing: dict[str, list[str]] = {}
    for option, bridge in bridges_of(guest):
        # A value that PVE cannot read has no properties.
        if node.bridges.lacks(bridge) is not None and guest.properties(option).get("bridge") == bridge:
            missing.setdefault(bridge, []).append(option)
    for bridge, options in missing.items():
        lacks = node.bridges.lacks(bridge) or NoBridge()
        prepared = is_prepared(guest, node.bridges)
        start = "Unless its hookscript makes it, PVE refuses" if prepared else "PVE refuses"
        message = f"{start} to start it: {_words(options, bridge, lacks, node.name)}"
        yield Finding(
            options[0],
            f"{message}. {there(node.bridges.names(), node.name)}",
            _remedy(guest, options, bridge, lacks, node.bridges.names()),
            Severity.WARNING if prepared else Severity.UNSET,
        )


def there(names: Collection[str], node: str) -> str:
    """Which bridges a node has, in words."""
    if not names:
        return f"{node} has no bridge at all"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{node} has {', '.join(sorted(names)[:_SHOWN])}{more}"


def _words(options: list[str], bridge: str, lacks: NoBridge, node: str) -> str:
    whose = f"the bridge '{bridge}' of {', '.join(options)}"
    if lacks.instead:
        return f"{whose} is no bridge on {node} but {lacks.instead}"
    if lacks.zone and not lacks.here:
        return f"{whose} is a VNet of the SDN zone '{lacks.zone}', which is not for {node}"
    if lacks.zone:
        return f"{whose} is a VNet of the SDN zone '{lacks.zone}' and is not on {node}"
    if lacks.file:
        return f"{whose} is in {lacks.file} and is not up on {node}"
    return f"{whose} does not exist on {node}"


def _remedy(guest: Guest, options: list[str], bridge: str, lacks: NoBridge, names: Collection[str]) -> str:
    if not names:
        make = "Make a bridge: the node's System, Network, Create, Linux Bridge, then Apply Configuration"
        return f"Bring it up, and see what fails: ifup {bridge}" if lacks.file else make
    other = f"take another: {with_bridge(guest, options, names)}"
    if lacks.instead:
        return f"{other[0].upper()}{other[1:]}. Or make a bridge over it: the node's System, Network"
    if lacks.zone and not lacks.here:
        return f"Let the zone be on {guest.node} (Datacenter, SDN, Zones), then apply: pvesh set /cluster/sdn. Or {other}"
    if lacks.zone:
        return f"Apply the SDN configuration: pvesh set /cluster/sdn. If it stays away: ifreload -a. Or {other}"
    if lacks.file:
        return f"Bring it up, and see what fails: ifup {bridge}. Or {other}"
    return f"{other[0].upper()}{other[1:]}. Or make it: the node's System, Network, Create, Linux Bridge, then Apply Configuration"


def with_bridge(guest: Guest, options: list[str], names: Collection[str]) -> str:
    """What to type so that the devices are at another bridge, all else as it is."""
    bridge = next((name for name in sorted(names) if name.startswith("vmbr")), min(names))
    values = [(option, re.sub(r"(?<![^,])bridge=[^,]*", f"bridge={bridge}", str(guest.options[option]))) for option in options]
    return f"qm set {guest.vmid} " + " ".join(f"--{option} {for_shell(value)}" for option, value in values)
