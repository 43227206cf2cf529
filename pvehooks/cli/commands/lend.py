"""pvehooks lend: hands PCI devices over, to a VM or back to the node, with every check of the guard; it stops nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pvehooks import judge
from pvehooks.actions.pci import bind, persist, release, started
from pvehooks.cli import devices as shared
from pvehooks.cli import view as views
from pvehooks.cli.devices import DeviceReport
from pvehooks.derived import bindability, passthrough
from pvehooks.derived.passthrough import pci_devices
from pvehooks.errors import ActionFailed, UsageError
from pvehooks.facts import hardware
from pvehooks.host import Host
from pvehooks.rules import engine
from pvehooks.settings.compiled import StartSettings
from pvehooks.values import Guest, Node, PciDevice, Severity

SUMMARY = "hand PCI devices over, to a VM or back to the node"
EXAMPLE = "pvehooks lend 0000:01:00.0 --to host"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "address", nargs="+", type=shared.address, metavar="ADDRESS", help="these devices; without a function (01:00), all functions"
    )
    parser.add_argument("--to", metavar="VMID", help="the VM that gets them at its next start; `host`: the drivers of this node")


def run(options: argparse.Namespace) -> int:
    """Hands one device over after the other; the status shows whether one was refused or failed."""
    vmid = _receiver(options.to)
    seen = views.view(options, own=True)
    host, name = seen.host, seen.node
    shared.only_notes_in_trees(host, now=True, hint="Run it on the node itself, without --root.")
    guest = seen.guest(vmid) if vmid else None
    devices = shared.named(options.address, hardware.gather(host, name))
    with host.undisturbed():
        reports = lend_all(host, name, devices, guest, seen.settings.start_settings(vmid))
        shared.log_changes(host, name, "lend", reports)
    return shared.finish(options, host, name, reports)


def _receiver(text: str | None) -> int:
    """The VMID, 0 for the node; raises UsageError."""
    if text == "host":
        return 0
    if text is None or not (text.isascii() and text.isdecimal() and 3 <= len(text) <= 9):
        what = "say to whom" if text is None else f"'{text}' is neither a VMID nor `host`"
        raise UsageError(f"{what}: --to VMID or --to host", hint=f"Example: {EXAMPLE}")
    return int(text)


def lend_all(host: Host, name: str, devices: Iterable[PciDevice], guest: Guest | None, settings: StartSettings) -> list[DeviceReport]:
    """Hands each device over, to the guest or (None) to the node; the others are handed over even if one is refused."""
    bind.finish_begun(host)
    reports = []
    for device in devices:
        try:
            reports.append(bind.looking_again(_lend, host, name, device, guest, settings))
        except ActionFailed as failed:
            reports.append(shared.report(host, device, "refused", f"{failed.message}. {failed.hint}".rstrip()))
    return reports


def _lend(host: Host, name: str, device: PciDevice, guest: Guest | None, settings: StartSettings) -> DeviceReport:
    # Read anew for each device: the facts of a Node are read only once.
    node = hardware.gather(host, name)
    device = pci_devices(node).get(device.address, device)
    return _to_node(host, node, device) if guest is None else _to_guest(host, node, device, guest, settings)


# -- to the node ------------------------------------------------------------------------------------------------------


def _to_node(host: Host, node: Node, device: PciDevice) -> DeviceReport:
    if device.driver and not device.vfio:
        persist.forget_former(host, device.address)
        return shared.report(host, device, "nothing to do", f"is on {device.driver} already")
    objection = bindability.to_release(device, node)
    if objection:
        return shared.report(host, device, "refused", f"{objection.why}. {objection.remedy}")
    if device.dead:
        return shared.report(host, device, "refused", "does not answer, and a driver could hang with it. See: pvehooks devices")
    parent = pci_devices(node).get(device.physfn) if device.physfn else None
    if parent is not None and parent.vfio:
        return shared.report(host, device, "refused", f"is a function of {parent.label}, which is on {parent.driver} itself")
    users = release.opened_by(host, device) if device.driver else ""
    if users:
        return shared.report(host, device, "refused", f"is held open by {users}, and would be waited for until that process ends")
    notes = [
        start.devices[device.address]
        for vmid in started.vmids(host)
        if (start := started.read(host, vmid)) and device.address in start.devices
    ]
    now = release.release(host, device, next((note.back_to for note in notes if note.back_to), ""))
    words = f"is on {now} now" if now else "has no driver now: no driver of the host took it (blacklisted or missing?)"
    return shared.report(host, device, "done", words, shared.others_at_boot(host, device, node), now)


# -- to a guest -------------------------------------------------------------------------------------------------------


def _to_guest(host: Host, node: Node, device: PciDevice, guest: Guest, settings: StartSettings) -> DeviceReport:
    own = passthrough.named(guest, node)
    members = {each.device.address for each in passthrough.group_members(guest, node)}
    if device.address not in own and device.address not in members:
        why = f"is not among the devices of {guest.label}. Give it one: qm set {guest.vmid} --hostpciN {device.address}"
        return shared.report(host, device, "refused", why)
    objection = bindability.to_release(device, node) if device.vfio else None
    objection = objection or bindability.to_binding(device, node) or bindability.to_binding_now(device, node)
    if objection:
        return shared.report(host, device, "refused", f"{objection.why}. {objection.remedy}")
    verdict = judged(guest, node, settings)
    against = [found for found in verdict.refusing if found.subject == device.address]
    if against:
        return shared.report(
            host,
            device,
            "refused",
            f"stays where it is, {guest.label} would be refused: {against[0].message}. {against[0].remedy}".rstrip(),
        )
    notes = tuple(f"{guest.label} would not start all the same: {found.message}" for found in verdict.refusing)
    if device.vfio:
        return shared.report(host, device, "nothing to do", f"is on {device.driver} already, for {guest.label}", notes)
    # Before it is bound: what was bound by one that was killed is given back after the stop all the same.
    persist.remember_former(host, device.address, device.driver)
    persist.remember_lent(host, device.address, guest.vmid)
    try:
        bind.take(host, device)
    except ActionFailed:
        persist.forget_former(host, device.address)
        raise
    words = f"is on vfio-pci now, for {guest.label}" + (f"; it was on {device.driver}" if device.driver else "")
    return shared.report(host, device, "done", words, notes, bind.VFIO)


def judged(guest: Guest, node: Node, settings: StartSettings) -> judge.StartJudgement:
    """What the guard would make of a start now; that a device is not bound yet counts for nothing here."""
    blocking = {rule.id for rules in engine.rule_sets(engine.START) for rule in rules.rules if rule.severity is Severity.BLOCK}
    findings = (found for found in engine.findings_at_start(guest, node) if found.rule != "vfio-not-bound")
    return judge.judge_start(findings, blocking, settings)
