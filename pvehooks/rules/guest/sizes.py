"""Whether the node has as many CPUs as the VM, and a QEMU with its machine version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.ostype import named_version
from pvehooks.rules.engine import RuleSet, no_template
from pvehooks.values import Finding, Guest, Node, Severity, Unread

RULES = RuleSet(applies_to=no_template, order=190)


def _number(guest: Guest, option: str) -> int:
    value = guest.options.get(option, 0)
    return value if isinstance(value, int) else 0


@RULES.rule("cpus-too-many", Severity.BLOCK, "Give it fewer: qm set {vmid} --sockets 1 --cores NUMBER", needs=("cpus",))
def cpus_too_many(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has more CPUs than the node: Proxmox VE refuses the start ("MAX ... vcpus allowed per VM on this node").

    Sockets times cores count, also where `vcpus` plugs fewer in. More `vcpus` than that are refused too, by QEMU.
    Source: qemu-server, QemuServer.pm (config_to_command); QEMU's manual, -smp.
    """
    sockets = _number(guest, "sockets") or _number(guest, "smp") or 1
    cores = _number(guest, "cores") or 1
    count, plugged = sockets * cores, _number(guest, "vcpus")
    how = f"{sockets} {'socket' if sockets == 1 else 'sockets'} with {cores} {'core' if cores == 1 else 'cores'}"
    if plugged > count:
        message = f"QEMU refuses to start it: vcpus is {plugged}, and {how} are {count} CPUs at most"
        yield Finding("vcpus", message, f"Lower it: qm set {guest.vmid} --vcpus {count}")
    if isinstance(node.cpus, Unread) or count <= node.cpus:
        return
    message = f"PVE refuses to start it: {how} are {count} CPUs, and {node.name} has {node.cpus}"
    fewer = f"qm set {guest.vmid} --sockets 1 --cores {node.cpus}{f' --vcpus {node.cpus}' if plugged > node.cpus else ''}"
    yield Finding("cores" if cores > 1 else "sockets", message, f"Give it no more than that: {fewer}")


@RULES.rule(
    "machine-too-new",
    Severity.BLOCK,
    "Upgrade the node: apt update && apt full-upgrade",
    needs=("machines", "qemu"),
    options=("machine", "runningmachine"),
)
def machine_too_new(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM is held to a machine version that the node's QEMU does not have yet: Proxmox VE refuses the start.

    This happens after a restore or a migration from a node with a newer QEMU, or a newer qemu-server, whose revisions of a version end its name
    (+pve1). A suspended VM is held to the version that it ran with.
    Source: qemu-server, QemuServer.pm (config_to_command); Machine.pm (get_vm_machine).
    """
    if isinstance(node.qemu, Unread):
        return
    suspended = "vmstate" in guest.options and "runningmachine" in guest.options
    named = str(guest.options["runningmachine"]) if suspended else str(guest.properties("machine").get("type", ""))
    version = _running_version(named) if suspended else named_version(guest)
    if version is None:
        return
    has, newest = ".".join(map(str, node.qemu)), _newest_revision(named, version, node)
    if version <= node.qemu and newest is None:
        return
    subject = "runningmachine" if suspended else "machine"
    message = f"PVE refuses to {'resume' if suspended else 'start'} it: its machine is {named}, and the QEMU of {node.name} is {has}"
    if version <= node.qemu:
        has = f"{version[0]}.{version[1]}" + (f"+pve{newest}" if newest else "")
        message = f"PVE refuses to {'resume' if suspended else 'start'} it: its machine is {named}, and the newest revision that {node.name} has of it is {has}"
    upgrade = f"Upgrade {node.name}: apt update && apt full-upgrade"
    yield Finding(
        subject, message, upgrade if suspended else f"{upgrade}. Or give the VM an older machine version: {_older(guest, named, has)}"
    )


def _newest_revision(named: str, version: tuple[int, int], node: Node) -> int | None:
    """The newest revision (+pveN) of the version that Proxmox VE has, where the machine names a newer one."""
    revisions = None if isinstance(node.machines, Unread) else node.machines.revisions
    match = re.search(r"\+pve(\d{1,4})", named, re.ASCII)
    if match is None or revisions is None:
        return None
    newest = revisions.get(f"{version[0]}.{version[1]}", 0)
    return newest if int(match[1]) > newest else None


def _running_version(named: str) -> tuple[int, int] | None:
    match = re.match(r"(?:pc(?:-i440fx|-q35)?|virt)-(\d{1,4})\.(\d{1,4})", named, re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


def _older(guest: Guest, named: str, version: str) -> str:
    base = re.split(r"-\d", named, maxsplit=1)[0]
    more = "".join(f",{key}={value}" for key, value in guest.properties("machine").items() if key != "type")
    return f"qm set {guest.vmid} --machine {base}-{version}{more}"
