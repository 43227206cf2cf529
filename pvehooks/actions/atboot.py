"""Doing at boot what was noted: with the device that was meant, and with no other one that is at its address now."""

from __future__ import annotations

import enum

from pvehooks.actions import bind, persist, vfs
from pvehooks.errors import ActionFailed
from pvehooks.facts import hardware
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.host import Host
from pvehooks.rules import binding
from pvehooks.rules.passthrough import bus
from pvehooks.values import NamedTuple, Node, PciDevice, Unread

# How long a driver may take until it has its device (probing may go on in the background).
_PATIENCE = 10.0
_PAUSE = 0.1


class Result(enum.Enum):
    """What became of a device: DONE, it was AS_WANTED already, it is not YET there or not ready, or it is NOT as noted."""

    DONE = "done"
    AS_WANTED = "as wanted"
    YET = "not yet"
    NOT = "not done"


class Outcome(NamedTuple):
    """`words` go on from the device's name, which is `label`; `again`: udev has it looked at once more, when it comes to it."""

    address: str
    result: Result
    label: str
    words: str
    again: bool = True


def addresses(host: Host) -> list[str]:
    """The devices of which something is noted; physical functions first, so that their virtual ones are there."""
    noted = bindings.all_noted(host)
    return sorted(noted, key=lambda address: (not _has_vfs(noted[address]), address))


def _has_vfs(note: BootBinding | Unread) -> bool:
    return isinstance(note, BootBinding) and note.vfs is not None


def apply(host: Host, node_name: str, address: str, patient: bool) -> Outcome | None:
    """Does with the device what is noted of it, None for nothing. `patient`: waits until a driver of the host has it, where it needs one."""
    note = bindings.noted(host, address)
    if note is None or isinstance(note, Unread):
        return None if note is None else Outcome(address, Result.NOT, address, f"is left as it is: {note.why}")
    # Each look is a new one: the values of a Node are read once.
    node = hardware.gather(host, node_name)
    device = bus(node).get(address)
    if device is None:
        early = Result.YET if note.physfn else Result.NOT
        return Outcome(address, early, note.label, f"is not on the bus, so it is not given to {note.purpose}", again=False)
    differences = identity.differences(note.identity, identity.of(host, device))
    if differences:
        words = f"is left as it is, it is not the device that was meant to get {note.purpose}: {'; '.join(differences)}"
        hint = f"Note this one instead: pvehooks bind {address} --persist; or none: pvehooks unbind {address} --persist"
        return Outcome(address, Result.NOT, device.label, f"{words}. {hint}", again=not device.vfio)
    try:
        return _bind(host, node, device) if note.vfs is None else _give_vfs(host, node, device, note.vfs, patient)
    except ActionFailed as failed:
        return Outcome(address, Result.NOT, device.label, f"is not given to {note.purpose}: {failed.message}. {failed.hint}".rstrip())


def _bind(host: Host, node: Node, device: PciDevice) -> Outcome:
    if device.vfio:
        return Outcome(device.address, Result.AS_WANTED, device.label, f"is on {device.driver} already")
    objection = binding.to_binding(device, node) or binding.to_binding_now(device, node)
    if objection:
        return Outcome(device.address, Result.NOT, device.label, f"is not given to vfio-pci, it {objection.why}. {objection.remedy}")
    done = bind.take(host, device)
    persist.remember_former(host, device.address, done.former)
    return Outcome(device.address, Result.DONE, device.label, "is on vfio-pci now" + (f"; it was on {done.former}" if done.former else ""))


def _give_vfs(host: Host, node: Node, device: PciDevice, count: int, patient: bool) -> Outcome:
    address = device.address
    if vfs.possible(host, device) is None:
        return Outcome(address, Result.NOT, device.label, "has no SR-IOV, so it gets no virtual functions")
    if vfs.present(host, address) == count:
        return Outcome(address, Result.AS_WANTED, device.label, f"has {count} virtual functions already")
    deadline = host.monotonic() + _PATIENCE
    while not bind.driver(host, address):
        if not patient or host.monotonic() >= deadline:
            why = "has no driver of the host (yet), which it needs for virtual functions"
            return Outcome(address, Result.NOT if patient else Result.YET, device.label, why)
        host.sleep(_PAUSE)
    objection = binding.to_change_of_vfs(device, node)
    if objection:
        return Outcome(address, Result.NOT, device.label, f"keeps its virtual functions, it {objection.why}. {objection.remedy}")
    vfs.change(host, device, count)
    return Outcome(address, Result.DONE, device.label, f"has {count} virtual function{'' if count == 1 else 's'} now")
