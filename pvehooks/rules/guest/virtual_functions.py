"""Virtual functions of VMs that start at boot: are they made before?"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.absent_vfs import late_sources
from pvehooks.derived.passthrough import bus, claims, passes_through
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, Node, Severity

RULES = RuleSet(concerned=lambda guest: passes_through(guest) and bool(guest.options.get("onboot")), order=95)


@RULES.rule(
    "vfs-made-late",
    Severity.WARNING,
    "Have them made before the VMs start: pvehooks bind ADDRESS --vfs N --persist",
    needs=("holders", "pci", "vf_support"),
)
def vfs_made_late(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM starts at boot with a virtual function (VF), and nothing makes VFs before the VMs start: the start may fail at boot.

    A service without an order before pve-guests.service, /etc/rc.local or a job of cron makes them. By hand the VM starts, because
    they are there by then. `pvehooks bind --vfs --persist` makes them before pve-guests.service and pve-ha-lrm.service.
    Source: pve-manager, pve-guests.service; systemd.unit(5), Before=.
    """
    seen: set[str] = set()
    for claim in claims(guest, node):
        for device in claim.whole:
            pf = bus(node).get(device.physfn)
            if pf is None or pf.address in seen:
                continue
            seen.add(pf.address)
            late = late_sources(pf.address, node)
            if not late:
                continue
            place = late[0].place
            message = (
                f"{claim.entry.option}: {device.label} is a virtual function that {place} makes at boot, and nothing orders that before the"
                " VMs that start at boot: the start may fail then"
            )
            number = max(late[0].number, len(pf.virtfns))
            remedy = f"Have pvehooks make them in time: pvehooks bind {pf.address} --vfs {number} --persist"
            if place.endswith(".service"):
                remedy += f"; or order the service: systemctl edit {place}, [Unit] Before=pve-guests.service pve-ha-lrm.service"
            yield Finding(device.address, message, remedy)
