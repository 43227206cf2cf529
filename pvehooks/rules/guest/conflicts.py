"""What passthrough makes impossible: ballooning, snapshots with memory, live migration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.derived import remedies
from pvehooks.derived.passthrough import PASSING, claims, passes_through
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Guest, HostPci, Node, Options, PciMapping, Severity, Unread

RULES = RuleSet(applies_to=passes_through, order=140, options=PASSING)
# PVE's default (qemu-server, Memory.pm).
_DEFAULT_MEMORY = 512


def _mappings(node: Node) -> Mapping[str, PciMapping]:
    """The PCI mappings; none where they cannot be read (mapping-missing says so)."""
    return {} if isinstance(node.mappings, Unread) else node.mappings


def migratable(entry: HostPci, node: Node) -> bool:
    """Whether PVE lets a running guest with the device move to another node."""
    mapping = _mappings(node).get(entry.mapping)
    return mapping is not None and mapping.migratable


def _fixed(guest: Guest, node: Node) -> list[str]:
    """The guest's devices that the kernel cannot save: bound to vfio-pci, which has no means to."""
    return [entry.option for entry in guest.hostpci if entry.taken_whole and not entry.trouble and not migratable(entry, node)]


@RULES.rule("balloon-without-effect", Severity.INFO, "Give it a fixed amount: qm set {vmid} --balloon 0")
def balloon_without_effect(guest: Guest, node: Node) -> Iterator[Finding]:
    """Ballooning is on, and the VM has passed-through devices: it loses memory that the node never gets.

    A device may write to all of the VM's memory at any time, so all of it is pinned, and QEMU ignores what the balloon
    returns. PVE inflates the balloon at every start, down to the minimum.
    Source: QEMU, hw/virtio/virtio-balloon.c (virtio_balloon_inhibited), hw/vfio; qemu-server, QemuServer.pm (vm_start_nolock).
    """
    least, memory = guest.number("balloon", 0), guest.number("memory", _DEFAULT_MEMORY)
    if 0 < least < memory:
        message = (
            f"with passed-through devices all of its {memory} MiB are pinned: ballooning down to {least} MiB takes memory from the VM,"
            f" and {node.name} does not get it"
        )
        yield Finding("balloon", message)


@RULES.rule("ksm-without-effect", Severity.INFO, "To have KSM skip it (from PVE 9.1 on): qm set {vmid} --allow-ksm 0", needs=("ksm",))
def ksm_without_effect(guest: Guest, node: Node) -> Iterator[Finding]:
    """Kernel samepage merging runs, and leaves out VMs with passed-through devices: their memory is pinned.

    The kernel spends time on scanning that memory, and merges nothing. All of it is used.
    Source: the kernel's mm/ksm.c (write_protect_page); the administrator's manual, "Kernel Samepage Merging (KSM)".
    """
    if isinstance(node.ksm, Unread) or not node.ksm.runs or guest.options.get("allow-ksm") == 0:
        return
    if any(entry.taken_whole for entry in guest.hostpci):
        yield Finding("memory", "KSM cannot merge any of its memory, which is pinned because devices are passed through")


@RULES.rule(
    "ram-snapshot-impossible",
    Severity.WARNING,
    "Take snapshots without memory: qm snapshot {vmid} NAME --vmstate 0. Shut it down instead of hibernating it",
    needs=("mappings",),
)
def ram_snapshot_impossible(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has snapshots with memory, or hibernating it was tried, and it has passed-through devices now: QEMU cannot save their state.

    A snapshot with memory then fails, and is cleaned up. A try to hibernate leaves the VM locked. Going back to a snapshot
    with memory from before works, and takes the devices out of the VM, as they are not in that snapshot's config.
    Source: QEMU, hw/vfio/migration.c (vfio_block_migration); qemu-server, QemuConfig.pm, QemuServer/RunState.pm (vm_suspend).
    """
    fixed = _fixed(guest, node)
    if not fixed or guest.config is None:
        return
    if guest.options.get("lock") == "suspending":
        message = f"it is locked because hibernating it was tried, which {remedies.listed(fixed)} makes impossible"
        yield Finding("lock", message, f"Unlock it: qm unlock {guest.vmid}. Then shut it down instead of hibernating it")
    # Its device was in one of them: then that works with its driver.
    if any("vmstate" in snapshot and _has(snapshot, fixed) for snapshot in guest.config.snapshots.values()):
        return
    names = [name for name, snapshot in guest.config.snapshots.items() if "vmstate" in snapshot]
    if names:
        old = f"'{names[0]}'" if len(names) == 1 else f"'{names[0]}' and {len(names) - 1} more"
        message = (
            f"snapshots with memory, such as {old}, cannot be made any more, nor can it be hibernated, because of {remedies.listed(fixed)};"
            f" going back to {'it' if len(names) == 1 else 'them'} takes {remedies.listed(fixed)} out of the VM"
        )
        yield Finding("snapshots", message)


def _has(snapshot: Options, options: list[str]) -> bool:
    return any(option in snapshot for option in options)


@RULES.rule(
    "live-migration-impossible",
    Severity.WARNING,
    "Take these out of the VM, or shut it down before it is migrated",
    needs=("mappings",),
)
def live_migration_impossible(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has a device whose mapping is marked live-migration-capable, and something else that PVE never migrates while running.

    Those are devices by address or by a mapping without that mark, USB devices and ports of the host, ivshmem, virtiofs. Or no
    other node has a device in the mapping.
    Source: qemu-server, QemuMigrate/Helpers.pm (check_local_resources), QemuMigrate.pm (prepare).
    """
    able = [entry for entry in guest.hostpci if migratable(entry, node)]
    if not able:
        return
    wanted = f"{able[0].option} is to be live-migrated (mapping '{able[0].mapping}')"
    against = [entry.option for entry in guest.hostpci if entry not in able]
    against += [option for option in guest.options if _local(guest, option)]
    if against:
        yield Finding(able[0].option, f"{wanted}, and PVE refuses to migrate the running VM because of {remedies.listed(against)}")
    for entry in able:
        if not _mappings(node)[entry.mapping].nodes - {node.name}:
            remedy = f"Map a device of another node: Datacenter, Resource Mappings, {entry.mapping}"
            yield Finding(
                entry.option, f"{entry.option} is to be live-migrated, and the mapping '{entry.mapping}' has no other node", remedy
            )


def _local(guest: Guest, option: str) -> bool:
    """Whether the option ties a running guest to its node, hostpciN apart."""
    kind = option.rstrip("0123456789")
    if kind == "usb":
        return str(guest.properties(option).get("host", "")).lower() != "spice"
    if kind == "serial":
        return guest.options[option] != "socket"
    return kind in ("parallel", "virtiofs") or option == "ivshmem"


@RULES.rule(
    "mapping-migration-unsupported",
    Severity.BLOCK,
    "Take the mark off: pvesh set /cluster/mapping/pci/MAPPING --live-migration-capable 0",
    needs=("holders", "mappings", "pci"),
)
def mapping_migration_unsupported(guest: Guest, node: Node) -> Iterator[Finding]:
    """A mapping is marked live-migration-capable, and its device is bound to vfio-pci at the start: QEMU then refuses to run.

    vfio-pci cannot save a device's state. Only a vendor's own driver can (then with `driver=keep`), or a mediated device's. PVE makes
    QEMU insist on it (enable-migration=on).
    Source: qemu-server, PCI.pm (print_hostpci_devices); QEMU, hw/vfio/migration.c (vfio_block_migration).
    """
    for claim in claims(guest, node):
        entry = claim.entry
        if not claim.whole or entry.trouble or not migratable(entry, node):
            continue
        remedy = (
            f"Take the mark off: pvesh set /cluster/mapping/pci/{entry.mapping} --live-migration-capable 0. If its own driver can do it:"
            f" {remedies.replacing(guest, entry.option, 'driver', 'keep')}"
        )
        message = (
            f"{entry.option}: the mapping '{entry.mapping}' is marked live-migration-capable, and PVE binds {claim.whole[0].label} to"
            " vfio-pci, with which it is not: QEMU would refuse to start"
        )
        yield Finding(entry.option, message, remedy)


@RULES.rule("display-beside-primary-gpu", Severity.INFO, "Remove the virtual display: qm set {vmid} --vga none")
def display_beside_primary_gpu(guest: Guest, node: Node) -> Iterator[Finding]:
    """A passed-through graphics card is the VM's primary one (x-vga), and the VM has another display beside it.

    With SeaBIOS that does not work: both claim the memory of a VGA, and the card often stays dark. With OVMF the VM has two
    screens, and may put its desktop on the virtual one. PVE leaves the virtual display out automatically only where the option vga is
    not set at all.
    Source: qemu-server, PCI.pm (print_hostpci_devices); the administrator's manual, "PCI(e) Passthrough" (x-vga).
    """
    primary = [entry.option for entry in guest.hostpci if entry.properties.get("x-vga")]
    if not primary:
        return
    if not guest.uefi and len(primary) > 1:
        remedy = f"Leave x-vga=1 to one of them: {remedies.without(guest, primary[1], 'x-vga')}"
        yield Finding(
            primary[1],
            f"{remedies.listed(primary)} are both to be its primary graphics card, which only one can be",
            remedy,
            Severity.WARNING,
        )
    display = str(guest.properties("vga").get("type", "std")) if "vga" in guest.options else "none"
    if display == "none" or display.startswith("serial"):
        return
    if guest.uefi:
        yield Finding("vga", f"beside its graphics card {primary[0]} it has a virtual display ({display}), on which its desktop may show")
    else:
        message = f"beside its primary graphics card {primary[0]} it has a virtual display ({display}): both claim the VGA memory, and the card may stay dark"
        yield Finding("vga", message, severity=Severity.WARNING)
