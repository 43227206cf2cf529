"""pvehooks bind: gives PCI devices to vfio-pci, now or at every boot, by address and not by id; makes virtual functions."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Iterator

from pvehooks.actions.pci import bind, persist, vf_settings, vfs
from pvehooks.cli import boot_bindings, booted, bound_devices
from pvehooks.cli import devices as shared
from pvehooks.cli.devices import DeviceReport
from pvehooks.derived import bindability
from pvehooks.derived.passthrough import pci_devices
from pvehooks.errors import ActionFailed, UsageError
from pvehooks.facts import hardware
from pvehooks.facts.pci import bindings, vflinks
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.formats import vfsettings
from pvehooks.formats.vfsettings import VfSettings
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, PciDevice
from pvehooks.wording import counted

SUMMARY = "bind PCI devices to vfio-pci by address, now or at every boot"
EXAMPLE = "pvehooks bind 0000:01:00.0 --now --persist"
VF_EXAMPLE = "pvehooks bind 0000:01:00.0 --vfs 4 --vf all:driver=vfio-pci --vf 0:mac=52:54:00:12:34:56,vlan=100 --now --persist"


_AT_BOOT_BY_HAND = "systemd does not run here: at boot, something else has to run pvehooks bind --boot"


class Wanted(NamedTuple):
    """What is requested: now, and at every boot; with `vfs` not None that many virtual functions instead of vfio-pci."""

    now: bool
    persist: bool
    vfs: int | None = None
    # What virtual functions are given beside, by their number; None for all.
    vf: tuple[tuple[int | None, VfSettings], ...] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "address", nargs="*", type=shared.address, metavar="ADDRESS", help="these devices; without a function (01:00), all functions"
    )
    parser.add_argument("--now", action="store_true", help="do it now, until the next boot (the default without --persist)")
    parser.add_argument("--persist", action="store_true", help="do it at every boot from the next one on, with this same device only")
    parser.add_argument("--vfs", type=_count, metavar="N", help="do not bind; give the device N virtual functions (SR-IOV), 0 for none")
    parser.add_argument(
        "--vf",
        type=_vf,
        action="append",
        default=[],
        metavar="NUMBER:SETTINGS",
        help="with --vfs: what a virtual function (from 0 on, or all) is given: mac=, vlan=VLAN[:PRIORITY], trust=on|off, spoofchk=on|off,"
        " link-state=auto|enable|disable, rate=MBIT, driver=vfio-pci|host, with commas between; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="list what is bound now or at boot, by what, and what does not match")
    parser.add_argument("--boot", action="store_true", help="do now what --persist recorded, as the system does at boot")


def run(options: argparse.Namespace) -> int:
    """Binds, one device after the other; the status shows whether one was refused or failed."""
    if options.list + options.boot + (options.now or options.persist or options.vfs is not None) > 1:
        raise UsageError("--list and --boot cannot be combined with other options", hint=f"Example: {EXAMPLE}")
    if options.boot and options.json:
        raise UsageError(
            "--boot logs what it does in the journal, and prints nothing", hint="What is recorded for boot: pvehooks bind --list --json"
        )
    if options.vf and not options.vfs:
        raise UsageError("--vf is for virtual functions that --vfs N makes", hint=f"Example: {VF_EXAMPLE}")
    if not (options.address or options.list or options.boot):
        raise UsageError("name the devices by their addresses", hint=f"List them: pvehooks host groups. Example: {EXAMPLE}")
    host, name = shared.own_host(options)
    if options.list:
        return bound_devices.show(host, hardware.gather(host, name), options)
    if options.boot:
        shared.only_notes_in_trees(host, now=True)
        return boot_bindings.apply_all(host, name, options.address)
    wanted = Wanted(options.now or not options.persist, options.persist, options.vfs, tuple(options.vf))
    shared.only_notes_in_trees(host, wanted.now)
    devices = shared.named(options.address, hardware.gather(host, name))
    with host.undisturbed():
        reports = with_boot(host, wanted, bind_all(host, name, devices, wanted))
        shared.log_changes(host, name, "bind", reports)
    return shared.finish(options, host, name, reports)


def with_boot(host: Host, wanted: Wanted, reports: list[DeviceReport]) -> list[DeviceReport]:
    """The reports, with a note where nothing will do at boot what was recorded for it."""
    if not (wanted.persist and booted.without_systemd(host)):
        return reports
    return [each._replace(notes=(*each.notes, _AT_BOOT_BY_HAND)) if each.result == "done" else each for each in reports]


def bind_all(host: Host, name: str, devices: Iterable[PciDevice], wanted: Wanted) -> list[DeviceReport]:
    """Changes each device as requested; the others are changed even if one is refused."""
    if wanted.now:
        bind.finish_begun(host)
    reports = []
    for device in devices:
        try:
            with vfs.locked(host, device.address) if wanted.now and wanted.vfs is not None else contextlib.nullcontext():
                reports.append(bind.looking_again(_change, host, name, device, wanted))
        except ActionFailed as failed:
            reports.append(shared.report(host, device, "refused", f"{failed.message}. {failed.hint}".rstrip()))
    return reports


def _change(host: Host, name: str, device: PciDevice, wanted: Wanted) -> DeviceReport:
    # Read anew for each device: the change before may affect it, and the facts of a Node are read only once.
    node = hardware.gather(host, name)
    device = pci_devices(node).get(device.address, device)
    return (_bind if wanted.vfs is None else _give_vfs)(host, node, device, wanted)


# -- vfio-pci ---------------------------------------------------------------------------------------------------------


class _Bound(NamedTuple):
    """What a request to bind a device came to."""

    # Whether it was bound now, and the driver that had it then.
    now: bool
    former: str
    # Whether the note for the next boots is new.
    noted: bool
    # Why it was not bound now although that was requested, '' otherwise.
    not_now: str


def _bind(host: Host, node: Node, device: PciDevice, wanted: Wanted) -> DeviceReport:
    not_now = bindability.to_binding_now(device, node) if wanted.now else None
    objection = bindability.to_binding(device, node) or (None if wanted.persist else not_now)
    if objection:
        return shared.report(host, device, "refused", f"{objection.why}. {objection.remedy}")
    if wanted.persist:
        _require_no_other(host, device.address, vfs=False)
    remarks = (*bindability.remarks(device, node), *shared.others_at_boot(host, device, node))
    bound = _bound(host, device, wanted, not_now.why if not_now else "")
    driver = bind.driver(host, device.address) if bound.now else device.driver
    words = ", ".join(_bound_words(host, device, wanted, bound))
    return shared.report(host, device, "done" if bound.now or bound.noted else "nothing to do", words, remarks, driver)


def _bound(host: Host, device: PciDevice, wanted: Wanted, not_now: str) -> _Bound:
    """Binds the device and notes it for boot, as far as that is wanted and possible."""
    now, former = wanted.now and not device.vfio and not not_now, ""
    if now:
        former = bind.take(host, device).former
        persist.remember_former(host, device.address, former)
    return _Bound(now, former, wanted.persist and persist.note(host, device), not_now)


def _bound_words(host: Host, device: PciDevice, wanted: Wanted, bound: _Bound) -> Iterator[str]:
    """The phrases of the report."""
    if device.vfio:
        yield f"is on {device.driver} already"
    elif bound.now:
        yield "is on vfio-pci now" + (f"; it was on {bound.former}" if bound.former else "")
    if wanted.persist:
        since = " from the next one on" if bound.noted else ", as recorded before"
        more = ""
        if bound.not_now:
            more = f"; it {bound.not_now}"
        elif not wanted.now and not device.vfio:
            more = f"; to bind it now as well: pvehooks bind {device.address} --now"
        yield f"is given to vfio-pci at every boot{since}{more}"
    if bindings.noted(host, device.address) is None:
        yield f"until the next boot; permanently: pvehooks bind {device.address} --persist"


def _require_no_other(host: Host, address: str, vfs: bool) -> None:
    """Raises ActionFailed if the other of the two changes is recorded for boot."""
    note = bindings.noted(host, address)
    if isinstance(note, BootBinding) and (note.vfs is not None) is not vfs:
        raise ActionFailed(f"it is recorded for boot already, to get {note.purpose}", f"First: pvehooks unbind {address} --persist")


# -- virtual functions ------------------------------------------------------------------------------------------------


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of virtual functions")
    return int(text)


def _vf(text: str) -> tuple[int | None, VfSettings]:
    number, _, rest = text.partition(":")
    if number != "all" and not (number.isascii() and number.isdecimal() and len(number) < 6):
        raise argparse.ArgumentTypeError(f"'{text}' does not begin with a number, or all, and a colon")
    settings = vfsettings.parse(rest)
    if isinstance(settings, str):
        raise argparse.ArgumentTypeError(settings)
    if number == "all" and settings.mac:
        raise argparse.ArgumentTypeError("a MAC is for one virtual function")
    return None if number == "all" else int(number), settings


def _settings(host: Host, device: PciDevice, wanted: Wanted) -> dict[int, VfSettings]:
    """What each virtual function is given; raises ActionFailed."""
    count = wanted.vfs or 0
    given = {number: VfSettings() for number in range(count)}
    # What is for all gives way to what is for one, in whatever order they are written.
    for number, settings in sorted(wanted.vf, key=lambda each: each[0] is not None):
        if number is not None and number not in given:
            raise ActionFailed(f"there is no virtual function {number} of {count}: they are 0 to {count - 1}")
        for each in given if number is None else (number,):
            given[each] = settings.over(given[each])
    if any(each._replace(driver="").text for each in given.values()) and not vflinks.interface(host, device.address):
        raise ActionFailed(
            "has no network interface, so its virtual functions are given no MAC, VLAN or the like; only driver= is possible"
        )
    macs = [each.mac for each in given.values() if each.mac]
    if len(set(macs)) < len(macs):
        raise ActionFailed("two virtual functions would have the same MAC")
    return {number: each for number, each in given.items() if each.text}


def _given(host: Host, node: Node, device: PciDevice, settings: dict[int, VfSettings], count: int) -> bool:
    """Gives virtual functions what they are to have; whether something was changed. Raises ActionFailed."""
    try:
        return vf_settings.apply_all(host, node.name, device, settings)
    except ActionFailed as failed:
        failed.message = f"has {counted(count, 'virtual function')} now, but {failed.message}"
        raise


def _give_vfs(host: Host, node: Node, device: PciDevice, wanted: Wanted) -> DeviceReport:
    address, count = device.address, wanted.vfs or 0
    most = vfs.possible(host, device)
    if most is None and not device.physfn:
        return shared.report(host, device, "refused", "does not support SR-IOV: it cannot have virtual functions")
    if most is not None and count > most:
        return shared.report(host, device, "refused", f"can have at most {most} virtual functions")
    if device.physfn or (wanted.now and vfs.present(host, address) != count):
        objection = bindability.to_change_of_vfs(device, node)
        if objection:
            return shared.report(host, device, "refused", f"{objection.why}. {objection.remedy}")
    asked = _settings(host, device, wanted)
    settings = {number: each for number, each in vf_settings.with_macs(host, device, count, asked).items() if each.text}
    if wanted.persist:
        _require_no_other(host, address, vfs=True)
    words, changed = [], False
    if wanted.now:
        vf_settings.bring_up(host, device)
        with vfs.without_drivers(host, device, vf_settings.for_vfio(settings), bool(settings)):
            changed = vfs.change(host, device, count) != count
            # Of virtual functions that are there already, a VM may use some: they get no other MAC that was not asked for.
            changed |= _given(host, node, device, settings if changed else asked, count)
        words.append(f"has {counted(count, 'virtual function')} {'now' if changed else 'already'}")
    if wanted.persist:
        changed |= persist.note(host, device, count, settings) if count else persist.forget(host, address)
        later = f"gets {counted(count, 'virtual function')} at every boot" if count else "gets no virtual functions at boot"
        words.append(later if wanted.now else f"{later}; to do it now as well: pvehooks bind {address} --vfs {count} --now")
    note = bindings.noted(host, address)
    if not wanted.persist and not (isinstance(note, BootBinding) and note.vfs == count):
        words.append(f"until the next boot; permanently: pvehooks bind {address} --vfs {count} --persist")
    notes = tuple(f"virtual function {number}: {each.text}" for number, each in settings.items())
    return shared.report(host, device, "done" if changed else "nothing to do", ", ".join(words), notes)
