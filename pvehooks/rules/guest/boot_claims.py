"""Passthrough and the rest of the node: VMs that want the same device at boot."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.passthrough import PASSING, devices_at, passes_through
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(applies_to=passes_through, order=90, options=PASSING)


@RULES.rule("device-claimed-twice", Severity.WARNING, "Start only one of them at boot: qm set {vmid} --onboot 0", needs=("onboot", "pci"))
def device_claimed_twice(guest: Guest, node: Node) -> Iterator[Finding]:
    """Two VMs that start at boot name the same PCI device: the second one does not start.

    Source: qemu-server, PCI.pm (reserve_pci_usage).
    """
    if not guest.options.get("onboot") or isinstance(node.onboot, Unread):
        return
    for entry in guest.hostpci:
        if entry.mdev or isinstance(entry.choices, Unread) or len(entry.choices) > 1:
            continue
        for device in (device for address in entry.choices[0] for device in devices_at(address, node)):
            rivals = [each.label for each in node.onboot.get(device.address, ()) if each.vmid != guest.vmid and not each.mdev]
            if rivals:
                message = f"{entry.option}: {device.label} is also wanted at boot by {', '.join(rivals)}: only the first one starts"
                yield Finding(device.address, message)
