"""Noting what is to be done with a PCI device at boot, and forgetting it. A file a device; read by pvehooks-bind.service."""

from __future__ import annotations

from pvehooks.errors import ActionFailed
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.host import Host
from pvehooks.values import PciDevice

_AS_ROOT = "Run it as root."


def note(host: Host, device: PciDevice, vfs: int | None = None) -> bool:
    """Notes the device as it is now; whether something changed. Raises ActionFailed.

    What is not known now (the serial number, for who is not root) is kept from before, if it is the same device.
    """
    now = identity.of(host, device)
    if min(now.vendor, now.device) < 0:
        raise ActionFailed(f"the ids of {device.address} cannot be read", _AS_ROOT)
    before = bindings.noted(host, device.address)
    if isinstance(before, BootBinding) and not identity.differences(before.identity, now):
        now = now._replace(serial=now.serial or before.identity.serial, subsystem=now.subsystem or before.identity.subsystem)
    wanted = BootBinding(device.address, now, vfs, device.physfn, _plain(device.words))
    if before == wanted:
        return False
    try:
        host.make_dir(bindings.DIRECTORY)
        host.replace(bindings.path(device.address), bindings.written(wanted).encode(), mode=0o644, durable=True)
    except OSError as error:
        raise ActionFailed(f"{bindings.path(device.address)}: {error.strerror}", _hint(error)) from error
    if bindings.noted(host, device.address) != wanted:
        raise ActionFailed(f"{bindings.path(device.address)} does not hold what was written to it", "See: pvehooks bind --list")
    return True


def _plain(words: str) -> str:
    return "".join(char for char in words if char.isprintable())


def forget(host: Host, address: str) -> bool:
    """Forgets what is noted of the address; whether there was anything. Raises ActionFailed."""
    if bindings.noted(host, address) is None:
        return False
    try:
        host.remove(bindings.path(address))
    except OSError as error:
        raise ActionFailed(f"{bindings.path(address)}: {error.strerror}", _hint(error)) from error
    return True


def _hint(error: OSError) -> str:
    return _AS_ROOT if isinstance(error, PermissionError) else "See: pvehooks bind --list"


def remember_former(host: Host, address: str, driver: str) -> None:
    """Remembers until the next boot which driver gave the device up; where that cannot be, the kernel finds one."""
    try:
        host.make_dir(bindings.FORMER)
        host.replace(f"{bindings.FORMER}/{address}", f"{driver}\n".encode(), mode=0o644)
    except OSError:
        return


def forget_former(host: Host, address: str) -> None:
    """The device has its driver again."""
    try:
        host.remove(f"{bindings.FORMER}/{address}")
    except OSError:
        return
