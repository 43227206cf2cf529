"""Why a VM that lacks an rng0 is left as it is."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.config_lines import quoted
from pvehooks.derived.disks import is_disk
from pvehooks.rules.engine import RuleSet
from pvehooks.rules.guest.entropy import STORAGE_CLASS, boot_networks, lacks_rng, may_lack_network_boot, passed_through
from pvehooks.values import Finding, Guest, Node, Rng0Veto, Severity

RULES = RuleSet(applies_to=lacks_rng, order=30)
ASK = "If you want it: pvehooks inject {vmid}"


@RULES.rule(
    "rng-held-lines-dropped", Severity.WARNING, "Fix the line (pvehooks guest {vmid} shows all of them), then: pvehooks inject {vmid}"
)
def rng_held_lines_dropped(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because PVE would lose lines of this config when it rewrites it.

    Every `qm set` rewrites the whole file; lines and sections that PVE's parser cannot read are gone afterwards.
    Source: qemu-server, parse_vm_config and write_vm_config.
    """
    if guest.config and guest.config.dropped:
        first = guest.config.dropped[0]
        yield Finding(
            "rng0",
            f"not given an rng0: PVE would lose a line of the config, {quoted(first.text)} ({first.reason})",
            rng0_veto=Rng0Veto.NEVER,
        )


@RULES.rule(
    "rng-held-pending", Severity.INFO, "Start the VM, or revert the changes (qm pending {vmid} lists them), then: pvehooks inject {vmid}"
)
def rng_held_pending(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because other changes wait in [PENDING] and the VM is stopped.

    On a stopped VM `qm set` applies everything that is pending together with its own change. That is for the
    administrator to decide.
    Source: qemu-server, the API's update_vm.
    """
    config = guest.config
    if config is None or guest.running:
        return
    waiting = sorted({*config.pending, *config.pending_delete})
    if waiting:
        yield Finding(
            "rng0",
            f"not given an rng0: it is stopped and other changes are pending ({', '.join(waiting)}), which would be applied with it",
            rng0_veto=Rng0Veto.NEVER,
        )


@RULES.rule(
    "rng-held-template",
    Severity.INFO,
    "Set it yourself, its clones will have it: qm set {vmid} --rng0 source=/dev/urandom,max_bytes=1024,period=1000",
)
def rng_held_template(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because the VM is a template.

    Templates never start. Each clone is examined when it is made.
    Source: the administrator's manual, "Virtual Machine Templates".
    """
    if guest.template:
        yield Finding("rng0", "not given an rng0: it is a template", rng0_veto=Rng0Veto.NEVER)


@RULES.rule("rng-removed-by-admin", Severity.INFO, ASK)
def rng_removed_by_admin(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because the VM had one, and an administrator removed it (or rolled back to a time before it).

    What an administrator removes is not put back, whether pvehooks or the administrator gave it.
    """
    known = guest.recorded_rng
    if known and known.done:
        had = "pvehooks gave it one and it was removed" if known.given else "it had one, and it was removed"
        yield Finding("rng0", f"not given an rng0 again: {had}", rng0_veto=Rng0Veto.UNLESS_ASKED_BY_NAME)


@RULES.rule("rng-held-netboot-first", Severity.WARNING, ASK, needs=("cpu_flags", "cpu_models", "firmware_networks", "pci"))
def rng_held_netboot_first(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because an old VM would boot from the network before its disks again.

    The VM was there before pvehooks (or was restored from such a time), and a network card comes before every disk
    in its boot order (a passed-through storage controller counts as a disk). Its network boot does not work now. With an rng0 it
    would work again, and a server for network installations could overwrite the disks.
    """
    if not guest.baseline_status.old or not (networks := boot_networks(guest)) or not may_lack_network_boot(guest, node):
        return
    before = guest.boot.devices[: guest.boot.devices.index(networks[0])]
    if any(is_disk(guest, name) or _is_storage(guest, name, node) for name in before):
        return
    yield Finding(
        "rng0",
        f"not given an rng0 automatically: {networks[0]} comes before every disk in its boot order. Network boot would work again,"
        " and an installation server on that network could overwrite the disks",
        rng0_veto=Rng0Veto.UNLESS_ASKED_BY_NAME,
    )


def _is_storage(guest: Guest, name: str, node: Node) -> bool:
    """Whether it is a passed-through storage controller; one that cannot be read counts as none."""
    found = [
        passed_through(entry, node, lambda device: device.class_code >> 16 == STORAGE_CLASS)
        for entry in guest.hostpci
        if entry.option == name and not entry.mdev
    ]
    return any(isinstance(address, str) and address for address in found)


@RULES.rule("rng-held-existing", Severity.INFO, ASK + "; for all of them: pvehooks inject --all")
def rng_held_existing(guest: Guest, node: Node) -> Iterator[Finding]:
    """No rng0 is written because the VM was there before pvehooks and has not been edited since.

    With `[rng] existing = inject` such VMs are treated like all others.
    """
    if guest.baseline_status.untouched:
        yield Finding(
            "rng0",
            "not given an rng0 automatically: it was there before pvehooks and has not been edited since",
            rng0_veto=Rng0Veto.EXISTING,
        )
