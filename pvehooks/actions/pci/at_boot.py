"""Does at boot what persist wrote: with the device that was meant, not with another one that has its address now."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Mapping

from pvehooks.actions.pci import bind, persist, vf_settings, vfs
from pvehooks.derived import bindability
from pvehooks.derived.passthrough import pci_devices
from pvehooks.errors import ActionFailed
from pvehooks.facts import hardware
from pvehooks.facts.pci import bindings, identity, vflinks
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.formats.vfsettings import VfSettings
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Node, PciDevice, Unread

# Seconds until a driver has its device: probing may go on in the background.
_PROBE_SECONDS = 10.0
_POLL_SECONDS = 0.1


class BootState(enum.Enum):
    """What became of a device at boot."""

    DONE = "done"
    # It was so already.
    AS_WANTED = "as wanted"
    # It is not on the bus yet, or has no driver yet.
    NOT_YET = "not yet"
    # It must not be done, or failed.
    NOT_DONE = "not done"


class BootResult(NamedTuple):
    """What was done with a device."""

    address: str
    state: BootState
    # The beginning of the message about it; `words` go on from there.
    label: str
    words: str
    # Whether udev starts another try.
    again: bool = True


def addresses(host: Host) -> list[str]:
    """The devices with a file; physical functions first, so that their virtual ones exist."""
    noted = bindings.all_noted(host)
    return sorted(noted, key=lambda address: (not _has_vfs(noted[address]), address))


def _has_vfs(note: BootBinding | Unread) -> bool:
    return isinstance(note, BootBinding) and note.vfs is not None


def apply(host: Host, node_name: str, address: str, patient: bool, tries: int = bind.TRIES) -> BootResult | None:
    """Applies the file of the device; None without one. `patient`: waits for a driver of the host, if one is needed."""
    note = bindings.noted(host, address)
    if note is None or isinstance(note, Unread):
        return None if note is None else BootResult(address, BootState.NOT_DONE, address, f"is left as it is: {note.why}")
    # A new Node each time: it reads each fact only once.
    node = hardware.gather(host, node_name)
    device = pci_devices(node).get(address)
    if device is None:
        early = BootState.NOT_YET if note.physfn else BootState.NOT_DONE
        return BootResult(address, early, note.label, f"is not on the bus, so it is not given to {note.purpose}", again=False)
    differences = identity.differences(note.identity, identity.of(host, device))
    if differences:
        words = f"is left as it is, it is not the device that was meant to get {note.purpose}: {'; '.join(differences)}"
        hint = f"Note this one instead: pvehooks bind {address} --persist; or none: pvehooks unbind {address} --persist"
        return BootResult(address, BootState.NOT_DONE, device.label, f"{words}. {hint}", again=not device.vfio)
    try:
        return _bind(host, node, device) if note.vfs is None else _give_vfs(host, node, device, note, patient)
    except ActionFailed as failed:
        if isinstance(failed, bind.Overtaken) and tries > 1:
            return apply(host, node_name, address, patient, tries - 1)
        lacks = f"is not given to {note.purpose}" if note.vfs is None else f"does not have its {note.purpose} as noted"
        return BootResult(address, BootState.NOT_DONE, device.label, f"{lacks}: {failed.message}. {failed.hint}".rstrip())


def _bind(host: Host, node: Node, device: PciDevice) -> BootResult:
    if device.vfio:
        return BootResult(device.address, BootState.AS_WANTED, device.label, f"is on {device.driver} already")
    objection = bindability.to_binding(device, node) or bindability.to_binding_now(device, node)
    if objection:
        return BootResult(
            device.address, BootState.NOT_DONE, device.label, f"is not given to vfio-pci, it {objection.why}. {objection.remedy}"
        )
    done = bind.take(host, device)
    persist.remember_former(host, device.address, done.former)
    return BootResult(
        device.address, BootState.DONE, device.label, "is on vfio-pci now" + (f"; it was on {done.former}" if done.former else "")
    )


def _give_vfs(host: Host, node: Node, device: PciDevice, note: BootBinding, patient: bool) -> BootResult:
    address, count, settings = device.address, note.vfs or 0, dict(note.vf_settings)
    with contextlib.suppress(OSError):
        host.make_dir(vf_settings.DIRECTORY, mode=0o700)
    if vfs.possible(host, device) is None:
        return BootResult(address, BootState.NOT_DONE, device.label, "has no SR-IOV, so it gets no virtual functions")
    if vfs.present(host, address) != count:
        _wait(host, address, settings, _PROBE_SECONDS if patient else 0)
    with vfs.locked(host, address):
        # Meanwhile a driver may have come, or another process may have made them.
        now = hardware.gather(host, node.name)
        return _give_vfs_now(host, now, pci_devices(now).get(address, device), note, patient)


def _give_vfs_now(host: Host, node: Node, device: PciDevice, note: BootBinding, patient: bool) -> BootResult:
    address, count, settings = device.address, note.vfs or 0, dict(note.vf_settings)
    made = vfs.present(host, address) != count
    if made:
        if not bind.driver(host, address):
            why = "has no driver of the host (yet), which it needs for virtual functions"
            return BootResult(address, BootState.NOT_DONE if patient else BootState.NOT_YET, device.label, why)
        objection = bindability.to_change_of_vfs(device, node)
        if objection:
            return BootResult(
                address, BootState.NOT_DONE, device.label, f"keeps its virtual functions, it {objection.why}. {objection.remedy}"
            )
        vf_settings.bring_up(host, device)
    else:
        settings = {number: each for number, each in settings.items() if not _is_held(device, number, node)}
    with vfs.without_drivers(host, device, vf_settings.for_vfio(settings), made and bool(settings)):
        if made:
            vfs.change(host, device, count)
        given = vf_settings.apply_all(host, node.name, device, settings)
    if not (made or given):
        return BootResult(address, BootState.AS_WANTED, device.label, f"has {count} virtual functions already")
    also = ", as noted" if settings else ""
    return BootResult(address, BootState.DONE, device.label, f"has {count} virtual function{'' if count == 1 else 's'} now{also}")


def _is_held(device: PciDevice, number: int, node: Node) -> bool:
    """Whether a VM runs with this virtual function: it may have set a MAC of its own, and another one would cut its connections."""
    held = {} if isinstance(node.holders, Unread) else node.holders
    return number < len(device.virtfns) and bool(held.get(device.virtfns[number]))


def _wait(host: Host, address: str, settings: Mapping[int, VfSettings], seconds: float) -> None:
    """Until the device has its driver, and its network interface where that is needed: mlx5_core makes it a moment later."""
    deadline = host.monotonic() + seconds
    needed = vf_settings.concern_interface(settings)
    while not bind.driver(host, address) or (needed and not vflinks.interface(host, address)):
        if host.monotonic() >= deadline:
            return
        host.sleep(_POLL_SECONDS)
