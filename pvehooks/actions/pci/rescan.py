"""Takes an unused device off the bus and looks for it again, which brings back some that are dead after a VM had them.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci (remove, rescan, drivers_autoprobe). No driver takes what is found meanwhile:
one of the node's could hang with it.
"""

from __future__ import annotations

from pvehooks.actions.pci import bind, unfinished
from pvehooks.actions.pci.bind import Unbound
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.pci import identity
from pvehooks.host import LOCKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.pci.identity import DeviceIdentity
    from pvehooks.host import Host, Lock
    from pvehooks.values import Guest, PciDevice

_DEVICES = "/sys/bus/pci/devices"
_POWER = "Switch the node off and on; a restart may not be enough."
_SECONDS, _POLL_SECONDS = 5.0, 0.05


class NotBack(Unbound):
    """A device did not come back, or another one did, or it is dead as before."""


def again(host: Host, node: str, guest: Guest, address: str) -> str:
    """Does it with a device of a guest that is about to start; returns why it is not done, '' if it was. Raises NotBack, Unbound.

    What was on vfio-pci is there again afterwards. One that works for the node is left to its driver: it answers.
    """
    try:
        device = bind.require_idle(guest, hardware.gather(host, node), address)
    except Unbound as used:
        return used.message
    if device.driver and not device.vfio:
        return f"{device.driver} has it, and it answers"
    if device.virtfns:
        return "it has virtual functions, which would go with it"
    if device.vfio and host.read_text(f"{_DEVICES}/{address}/enable") not in ("", "0"):
        return "a program has it open"
    before = identity.of(host, device)
    try:
        with _lock(host, _SECONDS):
            _remove_and_rescan(host, device)
    except BlockingIOError:
        return "another process looks for devices at this moment"
    except OSError as error:
        return f"{error.filename or ''}: {error.strerror}"
    found = _require_same(host, node, device, before)
    if device.vfio:
        bind.take(host, found)
    return ""


def _require_same(host: Host, node: str, device: PciDevice, before: DeviceIdentity) -> PciDevice:
    """The device that was found again; raises NotBack."""
    found = pci_devices(hardware.gather(host, node)).get(device.address)
    if found is None:
        raise NotBack(f"{device.label} was taken off the bus and did not come back", _POWER)
    differences = identity.differences(before, identity.of(host, found))
    if differences:
        why = f"{device.address} is another device since it was looked for again: {'; '.join(differences)}"
        raise NotBack(why, "See: pvehooks host groups")
    if found.dead:
        raise NotBack(f"{device.label} was looked for again and does not answer", _POWER)
    return found


def look_for_absent(host: Host) -> None:
    """Looks for devices on all buses; raises OSError."""
    with _lock(host, _SECONDS):
        _without_drivers(host, "", "/sys/bus/pci/rescan")


def finish(host: Host) -> None:
    """Finishes what was begun by a process that is gone: what it took off the bus is looked for, and drivers take devices again."""
    try:
        with _lock(host):
            if host.exists(unfinished.AUTOPROBE_NOTE):
                _without_drivers(host, "", "/sys/bus/pci/rescan", former=host.read_text(unfinished.AUTOPROBE_NOTE) or "1")
    except OSError:
        # It is under way.
        return


def _lock(host: Host, seconds: float = 0.0) -> Lock:
    """Of two starts that look at once, one waits for the other: what it did not look for refuses it."""
    return host.lock(f"{LOCKS}/rescan.lock", seconds)


def _remove_and_rescan(host: Host, device: PciDevice) -> None:
    # The bridge above it: only what is behind that is looked for.
    above = f"{_DEVICES}/{device.upstream[-1]}/rescan" if device.upstream else ""
    _without_drivers(host, f"{_DEVICES}/{device.address}/remove", above if above and host.exists(above) else "/sys/bus/pci/rescan")
    deadline = host.monotonic() + _SECONDS
    while not host.exists(f"{_DEVICES}/{device.address}") and host.monotonic() < deadline:
        host.sleep(_POLL_SECONDS)


def _without_drivers(host: Host, remove: str, rescan: str, former: str = "") -> None:
    """Removes and looks, while drivers take nothing; `former` is whether they did, as the attribute has it."""
    former = former or host.read_text(unfinished.AUTOPROBE)
    host.make_dir(unfinished.DIRECTORY, mode=0o700)
    host.replace(unfinished.AUTOPROBE_NOTE, f"{former}\n".encode(), mode=0o600)
    try:
        host.write_attribute(unfinished.AUTOPROBE, "0")
        if remove:
            host.write_attribute(remove, "1")
        host.write_attribute(rescan, "1")
    finally:
        host.write_attribute(unfinished.AUTOPROBE, former)
        host.remove(unfinished.AUTOPROBE_NOTE)
