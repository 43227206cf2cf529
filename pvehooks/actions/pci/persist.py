"""Writes and removes what is to be done with a PCI device at boot: a file per device, which pvehooks-bind.service reads."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.errors import ActionFailed
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.formats.vfsettings import VfSettings
from pvehooks.host import Host
from pvehooks.values import PciDevice

_AS_ROOT = "Run it as root."


def note(host: Host, device: PciDevice, vfs: int | None = None, settings: Mapping[int, VfSettings] | None = None) -> bool:
    """Writes the device's file; returns whether something changed. Raises ActionFailed.

    What cannot be read now (the serial number, without root) is kept from the former file, if it is the same device.
    """
    now = identity.of(host, device)
    if min(now.vendor, now.device) < 0:
        raise ActionFailed(f"the ids of {device.address} cannot be read", _AS_ROOT)
    before = bindings.noted(host, device.address)
    if isinstance(before, BootBinding) and not identity.differences(before.identity, now):
        now = now._replace(serial=now.serial or before.identity.serial, subsystem=now.subsystem or before.identity.subsystem)
    given = tuple((number, each) for number, each in sorted((settings or {}).items()) if each.text)
    wanted = BootBinding(device.address, now, vfs, device.physfn, _plain(device.words), given)
    if before == wanted:
        return False
    try:
        host.make_dir(bindings.DIRECTORY, durable=True)
        host.replace(bindings.path(device.address), bindings.written(wanted).encode(), mode=0o644, durable=True)
    except OSError as error:
        raise ActionFailed(f"{bindings.path(device.address)}: {error.strerror}", _hint(error)) from error
    if bindings.noted(host, device.address) != wanted:
        raise ActionFailed(f"{bindings.path(device.address)} does not hold what was written to it", "See: pvehooks bind --list")
    return True


def _plain(words: str) -> str:
    return "".join(char for char in words if char.isprintable())


def forget(host: Host, address: str) -> bool:
    """Removes the file of the address; returns whether there was one. Raises ActionFailed."""
    if bindings.noted(host, address) is None:
        return False
    try:
        host.remove(bindings.path(address), durable=True)
    except OSError as error:
        raise ActionFailed(f"{bindings.path(address)}: {error.strerror}", _hint(error)) from error
    return True


def _hint(error: OSError) -> str:
    return _AS_ROOT if isinstance(error, PermissionError) else "See: pvehooks bind --list"


def remember_former(host: Host, address: str, driver: str) -> None:
    """Stores the driver that the device was taken from, until the next boot; without it, the kernel finds one."""
    try:
        host.make_dir(bindings.FORMER)
        host.replace(f"{bindings.FORMER}/{address}", f"{driver}\n".encode(), mode=0o644)
    except OSError:
        return


def remember_lent(host: Host, address: str, vmid: int) -> None:
    """Stores for which guest the device was bound, until the next boot."""
    try:
        host.make_dir(bindings.LENT)
        host.replace(f"{bindings.LENT}/{address}", f"{vmid}\n".encode(), mode=0o644)
    except OSError:
        return


def forget_former(host: Host, address: str) -> None:
    """Removes what remember_former and remember_lent stored."""
    for directory in (bindings.FORMER, bindings.LENT):
        try:
            host.remove(f"{directory}/{address}")
        except OSError:
            continue
