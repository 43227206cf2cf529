"""A Proxmox VE that is newer than this version of pvehooks."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks import __version__
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, Severity, Unread

RULES = RuleSet(order=5)
_SHOWN = 8


@RULES.rule(
    "pve-newer",
    Severity.INFO,
    "Look for a newer version: apt update && apt list --upgradable pvehooks",
    needs=("newer_pve",),
    line="Proxmox VE",
)
def pve_newer(node: Node) -> Iterator[Finding]:
    """The node's Proxmox VE has options, properties, values or types that this version of pvehooks does not know.

    Where a VM uses them, they are reported as not examined, and nothing else is said about them. The daemon reads what the installed code
    declares after each update of qemu-server, pve-ha-manager, libpve-storage-perl, libpve-guest-common-perl and pve-qemu-kvm.
    Source: the node's own code: PVE::QemuServer::json_config_properties, PVE::HA::Rules, PVE::HA::Resources, PVE::Storage::Plugin.
    """
    if isinstance(node.newer_pve, Unread):
        yield not_examined("pve", f"whether Proxmox VE is newer than pvehooks is unknown: {node.newer_pve.why}")
    elif node.newer_pve:
        more = f"; and {len(node.newer_pve) - _SHOWN} more" if len(node.newer_pve) > _SHOWN else ""
        words = "; ".join(node.newer_pve[:_SHOWN])
        yield Finding("pve", f"pvehooks {__version__} does not know all that Proxmox VE on {node.name} has: {words}{more}")


@RULES.all_well("Proxmox VE")
def _known(node: Node) -> str:
    return "" if isinstance(node.newer_pve, Unread) or node.newer_pve is None else "declares nothing that pvehooks does not know"
