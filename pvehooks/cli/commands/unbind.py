"""pvehooks unbind: returns PCI devices from vfio-pci to the host's drivers, or forgets what was recorded for boot."""

from __future__ import annotations

import argparse

from pvehooks.actions.pci import bind, persist, release
from pvehooks.cli import devices as shared
from pvehooks.cli.devices import DeviceReport
from pvehooks.derived import bindability
from pvehooks.derived.passthrough import devices_at, pci_devices
from pvehooks.errors import ActionFailed
from pvehooks.facts import hardware
from pvehooks.facts.pci import bindings
from pvehooks.host import Host
from pvehooks.values import PciDevice

SUMMARY = "return PCI devices to the drivers of the host"
EXAMPLE = "pvehooks unbind 0000:01:00.0 --now --persist"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "address", nargs="+", type=shared.address, metavar="ADDRESS", help="these devices; without a function (01:00), all functions"
    )
    parser.add_argument("--now", action="store_true", help="return them now (the default without --persist)")
    parser.add_argument("--persist", action="store_true", help="forget what bind --persist recorded for boot, virtual functions included")


def run(options: argparse.Namespace) -> int:
    """Returns one device after the other; the status shows whether one was refused or failed."""
    host, name = shared.own_host(options)
    now = options.now or not options.persist
    shared.only_notes_in_trees(host, now)
    node = hardware.gather(host, name)
    gone = [] if now else [address for address in options.address if not devices_at(address, node) and bindings.noted(host, address)]
    there = shared.named([address for address in options.address if address not in gone], node)
    with host.undisturbed():
        reports = [_forget_absent(host, address) for address in gone]
        reports += unbind_all(host, name, there, now, options.persist)
        shared.log_changes(host, name, "unbind", reports)
    return shared.finish(options, host, name, reports)


def unbind_all(host: Host, name: str, devices: list[PciDevice], now: bool, forget: bool) -> list[DeviceReport]:
    """Changes each device as requested; the others are changed even if one is refused."""
    if now:
        bind.finish_begun(host)
    reports = []
    for device in devices:
        try:
            forgotten = persist.forget(host, device.address) if forget else None
            reports.append(bind.looking_again(_unbind, host, name, device, now, forgotten))
        except ActionFailed as failed:
            reports.append(shared.report(host, device, "refused", f"{failed.message}. {failed.hint}".rstrip()))
    return reports


def _forget_absent(host: Host, address: str) -> DeviceReport:
    persist.forget(host, address)
    return DeviceReport(address, address, "done", "nothing is recorded for boot any more; the device is not on the bus", "", False)


def _unbind(host: Host, name: str, device: PciDevice, now: bool, forgotten: bool | None) -> DeviceReport:
    """`forgotten`: whether something that was recorded for boot was forgotten; None if that was not asked for."""
    # Read anew for each device: the facts of a Node are read only once.
    node = hardware.gather(host, name)
    device = pci_devices(node).get(device.address, device)
    words = [] if forgotten is None else ["nothing is recorded for boot any more" if forgotten else "nothing was recorded for boot"]
    driver, released = device.driver, False
    if now and not device.vfio:
        words.insert(0, f"is not on vfio-pci but on {driver}" if driver else "is not on vfio-pci, it has no driver")
    elif now:
        objection = bindability.to_release(device, node)
        if objection:
            return _refused(host, device, f"{objection.why}. {objection.remedy}", words)
        users = release.opened_by(host, device)
        if users:
            return _refused(host, device, f"is held open by {users}, unbinding would hang until that process ends", words)
        driver, released = release.release(host, device), True
        words.insert(0, f"is on {driver} now" if driver else "has no driver now: no driver of the host took it (blacklisted or missing?)")
    elif device.vfio:
        words.append(f"it stays on {driver} until the next boot; to return it now: pvehooks unbind {device.address}")
    if bindings.noted(host, device.address) is not None:
        words.append(f"it is recorded for boot; to forget that: pvehooks unbind {device.address} --persist")
    notes = shared.others_at_boot(host, device, node)
    return shared.report(host, device, "done" if released or forgotten else "nothing to do", "; ".join(words), notes, driver)


def _refused(host: Host, device: PciDevice, why: str, words: list[str]) -> DeviceReport:
    """The report of a device that was not released; what was recorded for boot may still have been forgotten."""
    return shared.report(host, device, "refused", "; ".join((why, *words)))
