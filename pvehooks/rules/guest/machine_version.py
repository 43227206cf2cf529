"""Machine versions that QEMU no longer has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.rules.engine import RuleSet, no_template
from pvehooks.values import Finding, Guest, Node, Options, Severity, Unread

RULES = RuleSet(applies_to=no_template, order=195)
# QEMU registers no machine version whose sixth year has come: MACHINE_VER_DELETION_MAJOR of include/hw/boards.h, in force since 10.1.
_YEARS = 6
_IN_FORCE = (10, 1)
# What Proxmox VE asks for before the upgrade to a QEMU (pve-manager, pve8to9): nothing older than this from QEMU 11 on.
_KEPT_FROM_11 = (6, 0)
_SHOWN = 3

Version = tuple[int, int]


def _oldest(qemu: Version) -> Version:
    """The oldest machine version that a QEMU has."""
    if qemu < _IN_FORCE:
        return (0, 0)
    oldest = (qemu[0] - _YEARS, qemu[1] + 1)
    return max(oldest, _KEPT_FROM_11) if qemu[0] >= 11 else oldest


def _named(options: Options) -> str:
    """The machine that a config is held to: that of a saved state, else the one that `machine` names."""
    if "vmstate" in options and "runningmachine" in options:
        return str(options["runningmachine"])
    machine = str(options.get("machine", ""))
    return next((part.removeprefix("type=") for part in machine.split(",") if "=" not in part or part.startswith("type=")), "")


def _version(machine: str) -> Version | None:
    match = re.match(r"(?:pc(?:-i440fx|-q35)?|virt)-(\d{1,4})\.(\d{1,4})", machine, re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


@RULES.rule("machine-too-old", Severity.BLOCK, "Give the VM a newer machine version: qm set {vmid} --machine TYPE", needs=("qemu",))
def machine_too_old(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM, or a snapshot of it, is held to a machine version that the node's QEMU no longer has: QEMU refuses the start.

    Since 10.1 QEMU drops a machine version six years after its release. A newer version shows the VM partly other hardware: Windows
    may set up its network anew. A snapshot with memory of a dropped version cannot be resumed any more.
    Source: QEMU, include/hw/boards.h, docs/about/deprecated; pve-manager, pve8to9.
    """
    if isinstance(node.qemu, Unread):
        return
    oldest, has = _oldest(node.qemu), ".".join(map(str, node.qemu))
    machine = _named(guest.options)
    version = _version(machine)
    if version is not None and version < oldest:
        message = f"its machine is {machine}, and the QEMU {has} of {node.name} has none older than {'.'.join(map(str, oldest))}: the VM would not start"
        yield Finding("machine", message, f"Give it a newer machine version: {_newer(guest, machine, has)}")
    old = []
    for name, snapshot in (guest.config.snapshots if guest.config else {}).items():
        version = _version(_named(snapshot))
        if version is not None and version < oldest:
            old.append(f"{name} ({_named(snapshot)})")
    if old:
        listed = ", ".join(old[:_SHOWN]) + (f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else "")
        message = f"snapshots have machine versions that the QEMU {has} of {node.name} no longer has: {listed}. After a rollback the VM would not start"
        first = _named(guest.config.snapshots[old[0].partition(" ")[0]]) if guest.config else ""
        yield Finding("snapshots", message, f"Give the VM a newer machine version then: {_newer(guest, first, has)}", Severity.WARNING)


def _newer(guest: Guest, machine: str, version: str) -> str:
    """The command that names the node's own version and keeps all other parts of `machine`."""
    base = re.split(r"-\d", machine, maxsplit=1)[0]
    base = "pc-i440fx" if base == "pc" else base
    more = "".join(f",{key}={value}" for key, value in guest.properties("machine").items() if key != "type")
    return f"qm set {guest.vmid} --machine {base}-{version}{more}"
