"""Machine versions that QEMU no longer has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.rules.engine import RuleSet, no_template, not_examined
from pvehooks.values import Finding, Guest, Node, Options, Severity, Unread
from pvehooks.values.base import NamedTuple
from pvehooks.values.pveschema import NEWEST_MACHINE

RULES = RuleSet(applies_to=no_template, order=195)
# Proxmox VE's QEMU registers no machine version older than six years: MACHINE_VER_DELETION_MAJOR of include/hw/core/boards.h as pve-qemu's patch
# "adapt machine version deprecation for Proxmox VE" has it, in force since 10.1. It counts where the node has no list of its versions.
_YEARS = 6
_IN_FORCE = (10, 1)
# MACHINE_VER_BASELINE_PVE_MAJOR of that patch: what no QEMU of Proxmox VE 9 drops. The last one of it, 11.2, drops all that is older.
_BASELINE, _LAST_OF_PVE_9 = (6, 0), NEWEST_MACHINE
_VERSION = re.compile(r"(pc(?:-i440fx|-q35)?|virt)-(\d{1,4})\.(\d{1,4})", re.ASCII)
_SHOWN = 3

Version = tuple[int, int]


class _Offered(NamedTuple):
    """The machine versions of the node's QEMU."""

    qemu: Version
    # By kind, "pc-q35"; none of a kind of which there is no list.
    listed: dict[str, frozenset[Version]]

    def has(self, machine: str) -> bool | None:
        """Whether it has the version that a machine names; True where it names none, None where that is not known."""
        match = _VERSION.match(machine)
        if match is None:
            return True
        version, known = (int(match[2]), int(match[3])), self.listed.get(_kind(match[1]))
        if known is not None:
            # One that is newer is machine-too-new.
            return version in known or version > max(known)
        if self.qemu > _LAST_OF_PVE_9:
            return None
        return self.qemu < _IN_FORCE or version >= (self.qemu[0] - _YEARS, self.qemu[1])

    def drops_later(self, machine: str) -> bool:
        """Whether a later QEMU of this Proxmox VE does not have the version any more."""
        match = _VERSION.match(machine)
        return match is not None and _IN_FORCE <= self.qemu <= _LAST_OF_PVE_9 and (int(match[2]), int(match[3])) < _BASELINE

    def oldest(self, machine: str) -> str:
        """The oldest one of the machine's kind."""
        match = _VERSION.match(machine)
        known = self.listed.get(_kind(match[1])) if match else None
        return ".".join(map(str, min(known) if known else (self.qemu[0] - _YEARS, self.qemu[1])))


def _kind(name: str) -> str:
    return "pc-i440fx" if name == "pc" else name


def _offered(node: Node, qemu: Version) -> _Offered:
    listed: dict[str, frozenset[Version]] = {}
    for name in () if isinstance(node.machines, Unread) else node.machines.names:
        match = _VERSION.match(name)
        if match:
            listed[_kind(match[1])] = listed.get(_kind(match[1]), frozenset()) | {(int(match[2]), int(match[3]))}
    return _Offered(qemu, listed)


def _named(options: Options) -> str:
    """The machine that a config is held to: that of a saved state, else the one that `machine` names."""
    if "vmstate" in options and "runningmachine" in options:
        return str(options["runningmachine"])
    machine = str(options.get("machine", ""))
    return next((part.removeprefix("type=") for part in machine.split(",") if "=" not in part or part.startswith("type=")), "")


@RULES.rule(
    "machine-too-old", Severity.BLOCK, "Give the VM a newer machine version: qm set {vmid} --machine TYPE", needs=("machines", "qemu")
)
def machine_too_old(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM, or a snapshot of it, is held to a machine version that the node's QEMU no longer has, or that a later QEMU of Proxmox VE 9 drops.

    QEMU refuses the start of such a VM. Since 10.1 it drops a machine version six years after its release; the package lists those that it has.
    A newer version shows the VM partly other hardware: Windows may set up its network anew. A snapshot with memory of a dropped version cannot
    be resumed any more.
    Source: /usr/share/kvm/machine-versions-x86_64.json; pve-qemu, "adapt machine version deprecation for Proxmox VE"; pve-manager, pve8to9.
    """
    if isinstance(node.qemu, Unread):
        return
    offered, has = _offered(node, node.qemu), ".".join(map(str, node.qemu))
    machine = _named(guest.options)
    there = offered.has(machine)
    if there is None:
        yield not_examined(
            "machine", f"whether the QEMU {has} of {node.name} still has {machine} is unknown: it is newer than this version of pvehooks"
        )
    elif not there:
        message = f"its machine is {machine}, and the QEMU {has} of {node.name} has none older than {offered.oldest(machine)}: the VM would not start"
        yield Finding("machine", message, f"Give it a newer machine version: {_newer(guest, machine, has)}")
    elif offered.drops_later(machine):
        message = (
            f"its machine is {machine}, which a later QEMU of Proxmox VE 9 does not have any more: after that update the VM would not start"
        )
        yield Finding("machine", message, f"Give it a newer machine version: {_newer(guest, machine, has)}", Severity.WARNING)
    old = [
        f"{name} ({_named(snapshot)})"
        for name, snapshot in (guest.config.snapshots if guest.config else {}).items()
        if offered.has(_named(snapshot)) is False
    ]
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
