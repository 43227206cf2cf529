"""Ids that vfio-pci takes at boot, and devices of the host that have the same."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.passthrough import blocking_uses, bus, named, passes_through
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(concerned=passes_through, order=60)


@RULES.rule(
    "ids-bind-host-device",
    Severity.WARNING,
    "Bind by address instead: pvehooks bind ADDRESS --persist",
    needs=("bound_ids", "pci", "holders", "uses"),
)
def ids_bind_host_device(guest: Guest, node: Node) -> Iterator[Finding]:
    """vfio-pci takes all devices of a kind at boot, and the host uses one of them, or has a twin of the VM's.

    `vfio-pci.ids=` and `options vfio-pci ids=` do not distinguish two cards of the same kind: at the next restart the host may
    lose its own, at the latest when the order changes in which drivers are loaded.
    Source: the kernel's Documentation/driver-api/vfio.rst; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.bound_ids, Unread):
        yield not_examined("vfio-pci", f"which ids vfio-pci takes at boot is unknown: {node.bound_ids.why}")
        return
    own = named(guest, node)
    for bound in node.bound_ids:
        for vendor, product in bound.ids:
            same = [device for device in bus(node).values() if (device.vendor, device.device) == (vendor, product)]
            twin_of_ours = any(device.address in own for device in same)
            for device in same:
                if device.address in own:
                    continue
                held = blocking_uses(device, guest, node)
                if not held and (not twin_of_ours or device.vfio):
                    continue
                why = f"which {held[0].sentence}" if held else "which no option of the VM names"
                message = f"{bound.place} has vfio-pci take every {vendor:04x}:{product:04x} at boot, also {device.label}, {why}"
                mine = " ".join(each.address for each in same if each.address in own)
                bind = f", and bind by address: pvehooks bind {mine} --persist" if mine else ""
                yield Finding(device.address, message, f"Take the id {vendor:04x}:{product:04x} out of {bound.place}{bind}")
