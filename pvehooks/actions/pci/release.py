"""Gives PCI devices back from vfio-pci to the host's drivers (the kernel's Documentation/ABI/testing/sysfs-bus-pci)."""

from __future__ import annotations

import contextlib

from pvehooks.actions.pci import bind, persist, states, unfinished
from pvehooks.actions.pci.bind import Unbound
from pvehooks.facts.pci import bindings
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import LOCKS, CommandTrouble, Host
from pvehooks.values import PciDevice

_BUS = "/sys/bus/pci"
_MODPROBE_SECONDS = 20.0
# Clears driver_override; an empty write does not reach the kernel.
_CLEARED = "\n"


class Busy(Unbound):
    """Another process changes the device at this moment."""


def opened_by(host: Host, device: PciDevice) -> str:
    """The processes that have the device or its group open, '' for none; raises Unbound if that is unknown.

    Unbinding would wait for them, and cannot be interrupted.
    """
    where = f"{_BUS}/devices/{device.address}"
    enabled = "a program" if _is_enabled(host, device.address) else ""
    files = OpenFiles(host)
    nodes = [f"/dev/vfio/{device.group}"] if device.group else []
    with contextlib.suppress(OSError):
        nodes += [f"/dev/vfio/devices/{name}" for name in host.names(f"{where}/vfio-dev")]
    found = [name for node in nodes for name in files.of(node)]
    if files.unread and not found:
        raise Unbound(f"whether a program has {device.label} open is unknown: {files.unread}", "Run it as root.")
    return ", ".join(dict.fromkeys(found)) or enabled


def _is_enabled(host: Host, address: str) -> bool:
    """Whether a program has the device open: vfio-pci enables it for as long."""
    try:
        return host.read_text(f"{_BUS}/devices/{address}/enable") not in ("", "0")
    except OSError:
        return False


def release(host: Host, device: PciDevice, back_to: str = "") -> str:
    """Gives the device to the driver `back_to`, else to its former one, else to one that the kernel finds; returns it, '' for none.

    The caller has made sure that no guest holds it. What a former call that was killed has done already is left out. Raises Unbound; Busy;
    bind.Overtaken where it has another driver by now: that one may be in use already.
    """
    try:
        with unfinished.lock(host, device.address, unfinished.PATIENCE):
            bind.require_driver(host, device)
            if device.driver and _is_enabled(host, device.address):
                raise bind.Overtaken(f"{device.label} is held open by a program since a moment ago", "Try it again.")
            return _release(host, device, back_to)
    except BlockingIOError:
        raise Busy(f"another process changes the driver of {device.label} at this moment", "Try it again.") from None
    except OSError as error:
        hint = "Run it as root." if isinstance(error, PermissionError) else ""
        raise Unbound(f"{device.label} cannot be locked: {error.filename or LOCKS}: {error.strerror}", hint) from error


def _release(host: Host, device: PciDevice, back_to: str) -> str:
    where = f"{_BUS}/devices/{device.address}"
    if not back_to or device.override == bind.VFIO:
        _write(host, f"{where}/driver_override", _CLEARED)
    if device.driver:
        _write(host, f"{_BUS}/drivers/{device.driver}/unbind", device.address)
        if bind.driver(host, device.address) == device.driver:
            why = f"{device.label} is still on {device.driver} although the kernel accepted the request to unbind it"
            raise Unbound(why, "See why: dmesg")
    former = back_to or bindings.former(host, device.address)
    if former:
        _try(host, f"{_BUS}/drivers/{former}/bind", device.address)
    now = bind.driver(host, device.address) or _probe(host, device.address)
    states.put_back(host, device.address)
    persist.forget_former(host, device.address)
    return now


def _write(host: Host, path: str, text: str) -> None:
    try:
        host.write_attribute(path, text)
    except OSError as error:
        hint = "Run it as root." if isinstance(error, PermissionError) else "See why: dmesg"
        raise Unbound(f"{path} took no '{text.strip()}': {error.strerror}", hint) from error


def _probe(host: Host, address: str) -> str:
    """Lets the kernel find a driver of the host."""
    modules = _modules(host, address)
    now = bind.driver(host, address)
    if not now:
        _try(host, f"{_BUS}/drivers_probe", address)
        now = bind.driver(host, address)
    if now == bind.VFIO:
        # vfio-pci takes all devices of this kind (new_id, ids=): another driver has to be named.
        _try(host, f"{_BUS}/drivers/{bind.VFIO}/unbind", address)
        for driver in _drivers_of(host, modules):
            _try(host, f"{_BUS}/drivers/{driver}/bind", address)
            if bind.driver(host, address):
                break
        now = bind.driver(host, address)
    return now


def _try(host: Host, path: str, text: str) -> None:
    """Writes it and ignores errors: the caller looks at the device's driver afterwards."""
    try:
        host.write_attribute(path, text)
    except OSError:
        return


def _modules(host: Host, address: str) -> frozenset[str]:
    """Loads the modules for the device, without blacklisted ones, which modprobe skips for an alias."""
    try:
        alias = host.read_text(f"{_BUS}/devices/{address}/modalias")
        host.spawn(["modprobe", "--quiet", "--all", alias], _MODPROBE_SECONDS)
        shown = host.run(["modprobe", "--use-blacklist", "--resolve-alias", alias], _MODPROBE_SECONDS).stdout
    except (OSError, CommandTrouble):
        return frozenset()
    return frozenset(name.replace("-", "_") for name in shown.split())


def _drivers_of(host: Host, modules: frozenset[str]) -> list[str]:
    """The PCI drivers of these modules."""
    try:
        drivers = host.names(f"{_BUS}/drivers")
    except OSError:
        return []
    return [driver for driver in drivers if driver != bind.VFIO and _module(host, driver) in modules]


def _module(host: Host, driver: str) -> str:
    try:
        return host.link_name(f"{_BUS}/drivers/{driver}/module")
    except OSError:
        return ""
