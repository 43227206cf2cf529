"""Virtual functions of VMs that start at boot: are they made before?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.absent_vfs import late_sources
from pvehooks.derived.passthrough import PASSING, claims, passes_through, pci_devices
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(applies_to=passes_through, order=95, options=PASSING)


@RULES.rule(
    "vfs-made-late",
    Severity.WARNING,
    "Have them made before the VMs start: pvehooks bind ADDRESS --vfs N --persist",
    needs=("ha", "holders", "pci", "vf_support"),
)
def vfs_made_late(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM starts at boot with a virtual function (VF), and nothing makes VFs before the VMs start: the start may fail at boot.

    A service without an order before pve-guests.service, /etc/rc.local or a job of cron makes them. By hand the VM starts, because
    they are there by then. A VM that high availability keeps started starts at boot, too. `pvehooks bind --vfs --persist` makes them before pve-guests.service and pve-ha-lrm.service.
    Source: pve-manager, pve-guests.service; systemd.unit(5), Before=.
    """
    if not _starts_at_boot(guest, node):
        return
    seen: set[str] = set()
    for claim in claims(guest, node):
        for device in claim.whole:
            pf = pci_devices(node).get(device.physfn)
            if pf is None or pf.address in seen:
                continue
            seen.add(pf.address)
            late = late_sources(pf.address, node)
            if not late:
                continue
            place = late[0].place
            makes = "makes" if late[0].address else "seems to make"
            message = (
                f"{claim.entry.option}: {device.label} is a virtual function that {place} {makes} at boot, and nothing orders that before the"
                " VMs that start at boot: the start may fail then"
            )
            remedy = f"Have pvehooks make them in time: pvehooks bind {pf.address} --vfs {max(late[0].number, len(pf.virtfns))} --persist"
            if place.endswith(".service"):
                remedy += f" && systemctl disable {place}; or order the service: systemctl edit {place}, [Unit] Before=pve-guests.service pve-ha-lrm.service"
            else:
                remedy += f"; then remove what writes to sriov_numvfs from {place}"
            yield Finding(device.address, message, remedy)


def _starts_at_boot(guest: Guest, node: Node) -> bool:
    cared = None if isinstance(node.ha, Unread) else node.ha.guests.get(guest.vmid)
    return bool(guest.options.get("onboot")) or (cared is not None and cared.state == "started")
