"""What high availability cannot take to another node: USB devices, shared directories and memory, ports of the node."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.conflicts import migratable
from pvehooks.rules.guest.ha import keep_on, unknown_to_us, with_others
from pvehooks.rules.guest.usb import usb_options
from pvehooks.rules.guest.virtiofs import shares
from pvehooks.values import Finding, Guest, Node, Severity, Unread
from pvehooks.values.ha import HaGuest

_LOCAL = ("hostpci", "usb", "virtiofs", "ivshmem", "serial", "parallel")


def _concerned(guest: Guest) -> bool:
    return not guest.template and any(name.startswith(_LOCAL) for name in guest.options)


RULES = RuleSet(applies_to=_concerned, order=240, options=_LOCAL)


def _cared_for(guest: Guest, node: Node) -> HaGuest | None:
    """The guest as high availability sees it; None where it would not move it, or has nowhere to."""
    cared = None if isinstance(node.ha, Unread) else node.ha.guests.get(guest.vmid)
    return cared if cared and cared.moved and cared.nodes - {node.name} else None


def bound(guest: Guest) -> list[str]:
    """The options that make PVE refuse every migration (qemu-server, QemuMigrate/Helpers.pm, check_local_resources)."""
    usb = [option for option in usb_options(guest) if str(guest.properties(option).get("host", "spice")).lower() != "spice"]
    ports = [name for name in sorted(guest.options) if name.startswith(("serial", "parallel")) and guest.options[name] != "socket"]
    return [*usb, *(["ivshmem"] if "ivshmem" in guest.options else []), *ports]


def _mapped(guest: Guest, node: Node) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """The options with a mapping of a USB device or a directory: option, name, the nodes it is for (None where that is not known)."""
    for option in usb_options(guest):
        name = guest.properties(option).get("mapping")
        if name is not None:
            usb = None if isinstance(node.usb_mappings, Unread) else node.usb_mappings.get(str(name))
            yield option, str(name), usb.nodes if usb else None
    for option, dirid in shares(guest):
        directory = None if isinstance(node.directories, Unread) else node.directories.get(dirid)
        yield option, dirid, directory.nodes if directory else None


@RULES.rule(
    "ha-local-resource",
    Severity.WARNING,
    "Take the VM out of high availability: ha-manager remove vm:{vmid}. Or map its USB devices: Datacenter, Resource Mappings",
    needs=("ha",),
)
def ha_local_resource(guest: Guest, node: Node) -> Iterator[Finding]:
    """High availability manages a VM that is bound to this node: PVE refuses to migrate it.

    A USB device without a mapping, shared memory, or a serial or parallel port of the node hold a VM back also when it is
    stopped. When the node fails the VM is started on another one, where the same id or port is another device or none: without
    a serial or parallel port that it names PVE refuses the start there.
    Source: qemu-server, QemuMigrate/Helpers.pm (check_local_resources), QemuServer.pm (config_to_command); the administrator's manual,
    "USB Passthrough".
    """
    unknown = unknown_to_us(guest, node)
    # Of a guest with passed-through devices ha-device-elsewhere reports that.
    if unknown and not guest.passes_through:
        yield unknown
    options = bound(guest)
    if not options:
        return
    if isinstance(node.ha, Unread):
        if not guest.passes_through:
            yield not_examined(options[0], f"whether high availability manages it is unknown: {node.ha.why}")
    elif _cared_for(guest, node):
        values = ", ".join(f"{option} ({guest.options[option]})" for option in options)
        ports = [str(guest.options[option]) for option in options if option.startswith(("serial", "parallel"))]
        after = f"does not start on a node without {', '.join(ports)}" if ports else "starts elsewhere without them"
        message = f"high availability cannot migrate it, because of {values}; after a failure of {node.name} it {after}"
        remedy = f"Take the VM out of high availability: ha-manager remove vm:{guest.vmid}"
        if all(option.startswith("usb") for option in options):
            remedy += f". Or map {', '.join(options)}: Datacenter, Resource Mappings"
        yield Finding(options[0], message, remedy)


@RULES.rule(
    "ha-mapping-incomplete",
    Severity.WARNING,
    "Map it on the other nodes (Datacenter, Resource Mappings), or keep the VM on those that have it",
    needs=("ha", "usb_mappings", "directories"),
)
def ha_mapping_incomplete(guest: Guest, node: Node) -> Iterator[Finding]:
    """High availability may take the VM to a node where a mapping of it has no entry: the start there is refused.

    Source: qemu-server, USB.pm (parse_usb_device); pve-guest-common, Mapping/Dir.pm (find_on_current_node).
    """
    cared = _cared_for(guest, node)
    if cared is None or isinstance(node.ha, Unread):
        return
    mapped = list(_mapped(guest, node))
    there = cared.nodes.intersection(*(nodes for _, _, nodes in mapped if nodes is not None))
    keep = f"Map it on the other nodes (Datacenter, Resource Mappings), or keep the VM where it has all{with_others(cared)}: {keep_on(guest, cared, there, node.ha)}"
    for option, name, nodes in mapped:
        without = sorted(cared.nodes - nodes) if nodes is not None else []
        if without:
            message = f"{option}: high availability may take it to {', '.join(without)}, where the mapping '{name}' has no entry"
            yield Finding(option, message, keep)


@RULES.rule(
    "ha-no-live-migration",
    Severity.INFO,
    "Plan for it to be stopped and started when its node is emptied",
    needs=("ha", "usb_mappings", "directories"),
)
def ha_no_live_migration(guest: Guest, node: Node) -> Iterator[Finding]:
    """High availability manages a VM that cannot be moved while it runs: it has mapped USB devices, or shares directories.

    PVE migrates it when it is stopped, and only to nodes that the mappings have entries for.
    Source: qemu-server, QemuMigrate.pm (prepare); the administrator's manual, "USB Passthrough", "Virtiofs".
    """
    mapped = [option for option, _, _ in _mapped(guest, node)]
    if mapped and not bound(guest) and _cared_for(guest, node):
        yield Finding(mapped[0], f"PVE refuses to migrate it while it runs, because of {', '.join(mapped)}")


@RULES.rule(
    "ha-rebalance-fails",
    Severity.WARNING,
    "Leave it out of automatic rebalancing: ha-manager set vm:{vmid} --auto-rebalance 0",
    needs=("directories", "ha", "mappings", "usb_mappings"),
)
def ha_rebalance_fails(guest: Guest, node: Node) -> Iterator[Finding]:
    """Automatic rebalancing queues the running VM for a migration that its local devices forbid, and does so again and again.

    The scheduler goes by the load and the rules of high availability, and does not look at devices. Only PCI devices that are mapped
    as capable of live migration, and VMs without local devices, can be moved while they run.
    Source: pve-ha-manager 5.2 (`auto-rebalance` of a resource, `ha-auto-rebalance` of `crs` in datacenter.cfg); qemu-server,
    QemuMigrate.pm ("can't migrate VM which uses local devices").
    """
    if isinstance(node.ha, Unread) or not node.ha.rebalances:
        return
    cared = _cared_for(guest, node)
    if cared is None or cared.state != "started" or not cared.rebalanced:
        return
    tied = [entry.option for entry in guest.hostpci if not migratable(entry, node)] + bound(guest)
    tied += [option for option, _, _ in _mapped(guest, node)]
    if tied:
        message = f"automatic rebalancing may queue it for migration, which fails again and again while it runs with {', '.join(tied)}"
        yield Finding("ha", message)
