"""A VM that is to start on another node: what would prevent it there, by what that node publishes.

These rules are not asked for a node's own guests; `pvehooks check VMID --target NODE` asks them.
"""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived import remedies
from pvehooks.derived.disks import disks, volume_of
from pvehooks.derived.passthrough import devices_at
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.bridges import bridges_of
from pvehooks.values import Finding, Guest, HostPci, Severity, Unread
from pvehooks.values.stubs import former_of, is_stub
from pvehooks.values.summaries import Target

RULES = RuleSet(order=10)


@RULES.rule("target-silent", Severity.WARNING, "See: pvecm status. On that node: systemctl status pvehooks")
def target_silent(guest: Guest, target: Target) -> Iterator[Finding]:
    """The other node is offline, or has published nothing for long, so that its summary may be out of date.

    A node that runs pvehooks publishes its summary when it changes, and every hour. Where that is missing for more than two hours, its daemon
    does not run, or the cluster has no quorum.
    """
    summary = target.summary
    if target.standing.online is False:
        since = f"; its summary is from {summary.ago(target.now)}" if summary else ""
        yield Finding("node", f"{target.name} is offline now, nothing starts there{since}")
    elif summary is not None and summary.silent(target.now):
        yield Finding("node", f"the summary of {target.name} is from {summary.ago(target.now)}: what follows is as it was then")


@RULES.rule(
    "target-lacks-pvehooks",
    Severity.BLOCK,
    "Install it there, from where this node has it: apt install pvehooks. Or take the guard out: pvehooks detach {vmid}",
)
def target_lacks_pvehooks(guest: Guest, target: Target) -> Iterator[Finding]:
    """The other node does not have pvehooks, and the VM has the guard as its hookscript: Proxmox VE would refuse to start it there.

    The hookscript is put on a node by the package and stays when that is removed; on a node that never had the package it is missing.
    Source: pve-guest-common, PVE/GuestHelpers.pm, check_hookscript.
    """
    if target.standing.version or target.summary is not None:
        return
    volid = str(guest.options.get("hookscript", ""))
    if is_stub(volid) and not _on_shared_storage(volid, target):
        yield Finding(
            "hookscript", f"{target.name} does not have pvehooks: PVE refuses to start the VM there unless {volid} is left from before"
        )
    elif guest.passes_through:
        words = f"{target.name} does not have pvehooks: the VM would start there without the guard"
        yield Finding(
            "hookscript", words, f"Install it on {target.name}, from where this node has it: apt install pvehooks", Severity.WARNING
        )


def _on_shared_storage(volid: str, target: Target) -> bool:
    storages = target.node.storages
    storage = None if isinstance(storages, Unread) else storages.get(volid.partition(":")[0])
    return storage is not None and storage.shared


@RULES.rule(
    "target-hookscript-missing", Severity.BLOCK, "Put the script there, or take it out of the VM: qm set {vmid} --delete hookscript"
)
def target_hookscript_missing(guest: Guest, target: Target) -> Iterator[Finding]:
    """The VM's hookscript is not on the other node, or cannot be executed there, so Proxmox VE would refuse to start it.

    A node publishes of each hookscript that a VM of the cluster names whether it has it. On shared storage it is the same everywhere.
    Source: pve-guest-common, PVE/GuestHelpers.pm, check_hookscript.
    """
    volid = str(guest.options.get("hookscript", ""))
    if not volid or guest.template:
        return
    for each in filter(None, (volid, former_of(volid))):
        if _on_shared_storage(each, target) or (target.summary is None and is_stub(each)):
            continue
        known = target.summary.hookscripts.get(each) if target.summary else None
        if known:
            how = f"runs {each} first, and" if each != volid else "cannot be run there:"
            yield Finding("hookscript", f"PVE refuses to start it on {target.name}: its hookscript {volid} {how} {known}")
            return
        if known is None:
            yield not_examined("hookscript", f"whether {target.name} has the hookscript {each} is unknown, its summary does not name it")
            return


@RULES.rule(
    "target-firmware-missing", Severity.BLOCK, "Import it there (pvehooks firmware import FILE --storage S): no migration takes it along"
)
def target_firmware_missing(guest: Guest, target: Target) -> Iterator[Finding]:
    """The firmware image that the VM was given cannot be used on the other node, or may not be there.

    Images lie on storages that are directories, of which each node has its own unless the storage is shared, and no migration copies
    them. Nodes do not publish which images they have. Without the image the guard refuses the start, and QEMU would not start either.
    Source: the VM's record below /etc/pve/pvehooks; QEMU's manual, -blockdev and -bios.
    """
    pinned, storages = guest.firmware, target.node.storages
    if pinned is None or guest.template or guest.image is None or not guest.image.in_args:
        return
    image = f"its firmware image {pinned.volid}"
    if isinstance(storages, Unread):
        yield not_examined("args", f"whether {target.name} has {image} is unknown: {storages.why}")
        return
    name, _, file = pinned.volid.replace(":efi-firmware/", ":").partition(":")
    storage = storages.get(name)
    if storage is None or not storage.serves(target.name):
        why = "does not exist" if storage is None else "is disabled" if storage.disabled else f"is not for {target.name}"
        yield Finding("args", f"{image} is not available on {target.name}: the storage '{name}' {why}", _other_image(guest))
    elif storage.shared:
        wrong = guest.image.trouble or ("" if guest.image.sha256 == pinned.sha256 else "it was changed since it was set")
        if wrong:
            yield Finding("args", f"{image} cannot be used on {target.name} either: {wrong}", f"See: pvehooks check {guest.vmid}")
    else:
        unknown = f"whether {image} is on {target.name} is unknown: '{name}' is each node's own, and no migration takes it along"
        cure = f"See on {target.name}: pvehooks firmware list. If it lacks it: pvehooks firmware import FILE --storage {name} --name {file}"
        yield not_examined("args", unknown)._replace(remedy=cure)


def _other_image(guest: Guest) -> str:
    return f"Give it one on a storage of both: pvehooks firmware set {guest.vmid} VOLID. The node's own firmware instead: pvehooks firmware unset {guest.vmid}"


@RULES.rule(
    "target-devices-unknown",
    Severity.WARNING,
    "See whether the daemon runs there: systemctl status pvehooks. See whether [cluster] publish is on there: pvehooks config",
    undecided=True,
)
def target_devices_unknown(guest: Guest, target: Target) -> Iterator[Finding]:
    """The devices of the other node are not known here, so that it is unknown whether the VM would start there with its own.

    Its daemon has published no summary: the package is not there, is older, or `[cluster] publish = no`.
    """
    if not guest.passes_through or target.hardware is not None:
        return
    summary = target.standing.summary
    if isinstance(summary, Unread):
        why = summary.why
    elif summary is None:
        why = f"{target.name} has published no summary"
    else:
        why = f"{target.name} could not read its devices: {summary.hardware.why}" if isinstance(summary.hardware, Unread) else ""
    options = ", ".join(entry.option for entry in guest.hostpci)
    yield Finding("hostpci", f"whether it would start on {target.name} with its {options} is unknown: {why}")


@RULES.rule("target-bridges-unknown", Severity.INFO, "Look there: ip -br link show type bridge", undecided=True)
def target_bridges_unknown(guest: Guest, target: Target) -> Iterator[Finding]:
    """The bridges of the other node are not known here: whether the VM's network devices find theirs there is unknown.

    Nodes publish their bridges, except those with older versions of the package, and those with hundreds of bridges.
    """
    if guest.template or not isinstance(target.node.bridges, Unread):
        return
    wanted = dict.fromkeys(bridge for _, bridge in bridges_of(guest))
    if wanted:
        words = f"whether {target.name} has the {'bridge' if len(wanted) == 1 else 'bridges'} {', '.join(wanted)} is unknown"
        yield Finding(bridges_of(guest)[0][0], f"{words}: {target.node.bridges.why}")


@RULES.rule(
    "target-address-unmapped",
    Severity.WARNING,
    "Map it on each node that has one: Datacenter, Resource Mappings; then: qm set {vmid} --OPTION mapping=NAME",
    needs=("pci",),
)
def target_address_unmapped(guest: Guest, target: Target) -> Iterator[Finding]:
    """The VM names a PCI address, and an address is each node's own: on another node it is another device, or none.

    Proxmox VE does not migrate such a VM unless forced, and high availability restarts it with whatever is at that address. A mapping
    names the right device on each node, and says what it has to be.
    Source: qemu-server, QemuMigrate.pm (prepare); the administrator's manual, "Resource Mapping".
    """
    if guest.template:
        return
    for entry in guest.hostpci:
        if entry.mapping or isinstance(entry.addresses, Unread):
            continue
        there = [device.label for address in entry.addresses for device in devices_at(address, target.node)]
        what = ", ".join(there[:2]) if there else "nothing" if target.hardware else "another device, or none"
        message = f"{entry.option} names an address of one node, {', '.join(entry.addresses)}; on {target.name} that is {what}"
        yield Finding(entry.option, message, _mapping(guest, entry))


def _mapping(guest: Guest, entry: HostPci) -> str:
    command = remedies.by_mapping(guest, entry.option, "NAME")
    return f"Map it on each node that has one (Datacenter, Resource Mappings), then: {command}"


@RULES.rule("target-disk-local", Severity.WARNING, "Move it to shared storage: qm disk move {vmid} DISK STORAGE")
def target_disk_local(guest: Guest, target: Target) -> Iterator[Finding]:
    """A disk of the VM is on storage that each node has for itself: only a migration takes it along.

    After a move by high availability, or of the config by hand, the disk is missing, and Proxmox VE refuses the start.
    With replication (pvesr) a copy may be there, which is not looked at.
    Source: qemu-server, QemuMigrate.pm (scan_local_volumes); the administrator's manual, "Storage Replication".
    """
    if guest.template or isinstance(target.node.storages, Unread) or target.here == target.name:
        return
    local: dict[str, list[str]] = {}
    for option in (*disks(guest), "efidisk0", "tpmstate0"):
        if option not in guest.options:
            continue
        storage = target.node.storages.get(volume_of(guest, option)[0])
        if storage is not None and not storage.shared and storage.serves(target.name):
            local.setdefault(storage.name, []).append(option)
    for name, options in local.items():
        which = f"{', '.join(options)} {'is' if len(options) == 1 else 'are'} on '{name}'"
        message = f"{which}, which each node has for itself: the VM starts on {target.name} only after a migration that copies its disks"
        yield Finding(options[0], message, f"Move it to shared storage: qm disk move {guest.vmid} {options[0]} STORAGE")


@RULES.rule("target-other-version", Severity.INFO, "Upgrade the older one: apt update && apt install pvehooks")
def target_other_version(guest: Guest, target: Target) -> Iterator[Finding]:
    """The other node has another version of pvehooks, whose guard may judge a start otherwise than this one does.

    The findings here are those of the version that runs here.
    """
    there = target.summary.version if target.summary else target.standing.version
    if there and there != target.own_version:
        yield Finding("pvehooks", f"{target.name} has pvehooks {there}, this node {target.own_version}")
