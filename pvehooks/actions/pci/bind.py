"""Binds idle PCI devices to vfio-pci by driver_override (the kernel's Documentation/ABI/testing/sysfs-bus-pci).

Proxmox VE uses new_id instead, which affects every device of the same kind, permanently.
"""

from __future__ import annotations

from pvehooks.actions.pci import unfinished
from pvehooks.actions.pci.unfinished import BegunBind
from pvehooks.derived import passthrough
from pvehooks.errors import ActionFailed
from pvehooks.facts import hardware
from pvehooks.host import CommandTrouble
from pvehooks.values import NamedTuple, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from pvehooks.host import Host
    from pvehooks.values import Guest, Node, PciDevice

    T = TypeVar("T")

VFIO = "vfio-pci"
# How often a device is looked at that a driver or another process takes meanwhile: it is known at the second look.
TRIES = 2
_BUS = "/sys/bus/pci"
_MODPROBE_SECONDS = 20.0
# Clears driver_override; an empty write does not reach the kernel.
_CLEARED = "\n"


class Unbound(ActionFailed):
    """A device could not be bound; the message names it, the reason, and its state now."""


class Overtaken(Unbound):
    """The device has another driver than when it was looked at, as udev loads them at boot, or by another process: to be looked at again."""


class Bound(NamedTuple):
    """A device that is on vfio-pci now, and the driver it was on before ('' for none)."""

    address: str
    former: str


def bind(
    host: Host, guest: Guest, node: str, addresses: Iterable[str], is_cancelled: Callable[[], bool] = lambda: False
) -> tuple[Bound, ...]:
    """Binds these devices of the guest, in this order. If one fails, gives those bound so far back to their drivers and raises Unbound.

    What the host does with a device is read again right before it is bound. `is_cancelled` is called before each device and after the
    last: true once the start was cancelled.
    """
    finish_begun(host)
    done: list[Bound] = []
    try:
        for address in addresses:
            _require_not_cancelled(is_cancelled)
            bound = looking_again(_take_idle, host, guest, node, address)
            if bound is not None:
                done.append(bound)
        _require_not_cancelled(is_cancelled)
    except Unbound as failed:
        words = [failed.message, *(_give_back(host, bound) for bound in reversed(done))]
        raise Unbound("; ".join(words), failed.hint) from failed
    return tuple(done)


def _require_not_cancelled(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise Unbound("the start was called off while its devices were bound", "Start it again.")


def looking_again(attempt: Callable[..., T], *args: object) -> T:
    """What `attempt` returns, which looks at a device and changes it: again where it was overtaken. Raises what that raises."""
    for _ in range(TRIES - 1):
        try:
            return attempt(*args)
        except Overtaken:
            continue
    return attempt(*args)


def _take_idle(host: Host, guest: Guest, node: str, address: str) -> Bound | None:
    # A new Node each time: it reads each fact only once.
    device = require_idle(guest, hardware.gather(host, node), address)
    return None if device.vfio else take(host, device)


def take(host: Host, device: PciDevice) -> Bound:
    """Binds one device, which the caller has found idle. If that fails, gives it back and raises Unbound; Overtaken: to be looked at again."""
    _load(host)
    return _bind(host, device)


def require_idle(guest: Guest, node: Node, address: str) -> PciDevice:
    """The device; raises Unbound where it is in use now, or that is unknown."""
    device = None if isinstance(node.pci, Unread) else node.pci.get(address)
    if device is None:
        raise Unbound(f"{address} is not on the bus any more")
    if device.bridge:
        raise Unbound(f"{device.label} is a bridge, and never given to vfio-pci")
    holders = passthrough.other_holders(address, guest, node)
    if holders:
        raise Unbound(f"{device.label} is held by {holders[0].label} now")
    uses = passthrough.blocking_uses(device, guest, node)
    if uses:
        raise Unbound(f"{device.label} {uses[0].sentence}")
    unread = passthrough.uses(device, node).unread
    if unread and passthrough.on_host_driver(device):
        raise Unbound(f"whether {device.label} is in use is unknown: {'; '.join(unread)}")
    return device


def _load(host: Host) -> None:
    if host.is_dir(f"{_BUS}/drivers/{VFIO}"):
        return
    try:
        status = host.spawn(["modprobe", VFIO], _MODPROBE_SECONDS)
    except CommandTrouble as trouble:
        raise Unbound(f"the module {VFIO} is not loaded: {trouble}") from trouble
    if not host.is_dir(f"{_BUS}/drivers/{VFIO}"):
        raise Unbound(f"the module {VFIO} could not be loaded (modprobe ended with {status})", hint=f"See why: modprobe {VFIO}")


def _bind(host: Host, device: PciDevice) -> Bound:
    address = device.address
    try:
        with unfinished.lock(host, address, unfinished.PATIENCE):
            require_driver(host, device)
            unfinished.note(host, BegunBind(address, device.driver, device.override))
            try:
                return _bind_noted(host, device)
            finally:
                # Also after a failure: what was begun is undone then, as far as the kernel let it be.
                if device.override == VFIO or _override(host, address) != VFIO:
                    unfinished.forget(host, address)
    except BlockingIOError:
        raise Unbound(f"another process changes the driver of {device.label} at this moment", hint="Try it again.") from None
    except OSError as error:
        raise Unbound(
            f"that {device.label} is being bound cannot be noted: {error.filename or unfinished.DIRECTORY}: {error.strerror}"
        ) from error


def _bind_noted(host: Host, device: PciDevice) -> Bound:
    address, former, override = device.address, device.driver, device.override
    where = f"{_BUS}/devices/{address}"
    try:
        _write(host, f"{where}/driver_override", VFIO)
        if former:
            _unbind(host, former, address)
        _write(host, f"{_BUS}/drivers_probe", address)
        # The kernel reports success although probing failed: only the driver link shows whether it worked.
        now = driver(host, address)
        if now != VFIO:
            why = f"it is on {now}" if now else f"{VFIO} refused it, see: dmesg"
            kind = Overtaken if now and not former else Unbound
            raise kind(f"{device.label} cannot be bound to {VFIO}: {why}", hint=_hint(device))
        _write(host, f"{where}/driver_override", override or _CLEARED)
    except Unbound as failed:
        raise type(failed)(f"{failed.message}; {_restore(host, address, former, override)}", hint=failed.hint or _hint(device)) from failed
    return Bound(address, former)


def finish_begun(host: Host) -> None:
    """Undoes what binds that were killed had begun. A device that is on vfio-pci already stays there: a guest may have it by now."""
    names = unfinished.notes(host)
    unfinished.finish(host, names, lambda begun: _undo(host, begun))
    if host.exists(unfinished.AUTOPROBE_NOTE):
        from pvehooks.actions.pci import rescan

        rescan.finish(host)
    of_vfs = unfinished.noted_vfs(names)
    if of_vfs:
        from pvehooks.actions.pci import vfs

        vfs.finish_begun(host, of_vfs)


def _undo(host: Host, begun: BegunBind) -> None:
    if _override(host, begun.address) != VFIO:
        return
    if driver(host, begun.address) != VFIO:
        _restore(host, begun.address, begun.former, begun.override)
        return
    try:
        _write(host, f"{_BUS}/devices/{begun.address}/driver_override", begun.override or _CLEARED)
    except Unbound:
        return


def _hint(device: PciDevice) -> str:
    """What to type when the kernel does not release a device or does not bind it."""
    if device.virtfns:
        return f"It has VFs; without them: echo 0 > {_BUS}/devices/{device.address}/sriov_numvfs"
    return "See why: journalctl -k --since -1min"


def _give_back(host: Host, bound: Bound) -> str:
    """Unbinds a device from vfio-pci and gives it back to its former driver; returns its state as a phrase."""
    try:
        _unbind(host, VFIO, bound.address)
    except Unbound as failed:
        return failed.message
    return _restore(host, bound.address, bound.former, "")


def _restore(host: Host, address: str, former: str, override: str) -> str:
    """Restores the override and the driver of the device; returns its state as a phrase."""
    troubles = []
    try:
        _write(host, f"{_BUS}/devices/{address}/driver_override", override or _CLEARED)
    except Unbound as failed:
        troubles.append(failed.message)
    now = driver(host, address)
    if now == VFIO and former != VFIO:
        try:
            _unbind(host, VFIO, address)
        except Unbound as failed:
            troubles.append(failed.message)
        now = driver(host, address)
    if former and not now:
        try:
            _write(host, f"{_BUS}/drivers/{former}/bind", address)
        except Unbound as failed:
            troubles.append(failed.message)
        now = driver(host, address)
    if now == former and not troubles:
        return f"{address} is on {former} as before" if former else f"{address} has no driver, as before"
    troubles.append(f"{address} is on {now} now" if now else f"{address} has no driver now")
    return "; ".join(troubles)


def require_driver(host: Host, device: PciDevice) -> None:
    """Raises Overtaken where the device has another driver by now than it had when it was looked at."""
    now = driver(host, device.address)
    if now != device.driver:
        then, since = device.driver or "without a driver", f"is on {now}" if now else "has no driver"
        raise Overtaken(f"{device.label} {since} now, and was {f'on {then}' if device.driver else then} a moment ago", "Try it again.")


def driver(host: Host, address: str) -> str:
    """The driver of the device now, '' for none."""
    try:
        return host.link_name(f"{_BUS}/devices/{address}/driver")
    except OSError:
        return ""


def _override(host: Host, address: str) -> str:
    try:
        return host.read_text(f"{_BUS}/devices/{address}/driver_override")
    except OSError:
        return ""


def _unbind(host: Host, name: str, address: str) -> None:
    """By the driver's own file: the kernel refuses where another one has the device by now (drivers/base/bus.c, unbind_store)."""
    _write(host, f"{_BUS}/drivers/{name}/unbind", address)


def _write(host: Host, path: str, text: str) -> None:
    try:
        host.write_attribute(path, text)
    except OSError as error:
        raise Unbound(f"{path} took no '{text.strip()}': {error.strerror}") from error
