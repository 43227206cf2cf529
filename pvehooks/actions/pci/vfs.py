"""SR-IOV: the number of virtual functions of a device (the kernel's Documentation/PCI/pci-iov-howto.rst)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator

from pvehooks.actions.pci import unfinished
from pvehooks.errors import ActionFailed
from pvehooks.host import LOCKS, Host
from pvehooks.values import PciDevice

_DEVICES = "/sys/bus/pci/devices"
# How long one process waits for another one that makes virtual functions.
_SECONDS = 10.0


def possible(host: Host, device: PciDevice) -> int | None:
    """How many virtual functions the device can have, None without SR-IOV."""
    return _number(host, device.address, "sriov_totalvfs")


def present(host: Host, address: str) -> int:
    """How many it has now."""
    return _number(host, address, "sriov_numvfs") or 0


def change(host: Host, device: PciDevice, count: int) -> int:
    """Sets the number of virtual functions and reads it back; returns the former number. Raises ActionFailed.

    The present ones go first: the kernel only changes from and to 0. The caller has made sure that none is in use.
    """
    before = present(host, device.address)
    if before == count:
        return before
    if before:
        _write(host, device, 0, before)
    if count:
        try:
            _write(host, device, count, before)
        except ActionFailed as failed:
            if before:
                _write(host, device, before, before)
                failed.message += f"; it has {before} again"
            raise
    return before


@contextlib.contextmanager
def locked(host: Host, address: str) -> Iterator[None]:
    """Held while the virtual functions of a device are counted and changed: udev's service, a start and a command may want that at once.

    Raises ActionFailed where another process has it for longer.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(unfinished.lock(host, address, _SECONDS))
        except BlockingIOError:
            raise ActionFailed(f"another process changes {address} or its virtual functions at this moment", "Try it again.") from None
        except OSError as error:
            hint = "Run it as root." if isinstance(error, PermissionError) else ""
            raise ActionFailed(f"{address} cannot be locked: {error.filename or LOCKS}: {error.strerror}", hint) from error
        yield


@contextlib.contextmanager
def without_drivers(host: Host, device: PciDevice, for_vfio: Collection[int], wanted: bool) -> Iterator[None]:
    """If `wanted`: those that are made meanwhile have no driver until this ends. Then those that are not `for_vfio` (their numbers) get theirs.

    A driver of the host reads its MAC when it takes one, and what is to go to vfio-pci is not taken from it. Where the administrator has
    switched drivers off for them, or the kernel has no such switch (PCI/pci-iov-howto.rst, sriov_drivers_autoprobe), all stays as it is.
    The caller holds the lock.
    """
    with contextlib.ExitStack() as held:
        if wanted:
            with contextlib.suppress(OSError):
                _finish(host, device.address)
                if host.read_text(_switch(device.address)) == "1":
                    unfinished.note_vfs(host, device.address, for_vfio)
                    held.callback(_finish, host, device.address)
                    host.write_attribute(_switch(device.address), "0")
        yield


def finish_begun(host: Host, addresses: Iterable[str]) -> None:
    """Gives the virtual functions of these devices their drivers that a process which is gone has made without."""
    for address in addresses:
        with contextlib.suppress(OSError), unfinished.lock(host, address):
            _finish(host, address)


def _finish(host: Host, address: str) -> None:
    """The kernel's pci-driver.c, pci_device_can_probe: before the switch is back, no driver of the host takes one."""
    for_vfio = unfinished.vfs_for_vfio(host, address)
    if for_vfio is None:
        return
    with contextlib.suppress(OSError):
        host.write_attribute(_switch(address), "1")
        for number in range(present(host, address)):
            function = host.link_name(f"{_DEVICES}/{address}/virtfn{number}")
            if number not in for_vfio and not host.exists(f"{_DEVICES}/{function}/driver"):
                host.write_attribute("/sys/bus/pci/drivers_probe", function)
    unfinished.forget_vfs(host, address)


def _switch(address: str) -> str:
    return f"{_DEVICES}/{address}/sriov_drivers_autoprobe"


def _write(host: Host, device: PciDevice, count: int, before: int) -> None:
    path = f"{_DEVICES}/{device.address}/sriov_numvfs"
    hint = "See why: dmesg"
    try:
        host.write_attribute(path, str(count))
    except PermissionError as error:
        raise ActionFailed(f"{path}: {error.strerror}", "Run it as root.") from error
    except OSError as error:
        raise ActionFailed(f"{device.label} did not change from {before} to {count} virtual functions: {error.strerror}", hint) from error
    now = present(host, device.address)
    if now != count:
        raise ActionFailed(f"{device.label} has {now} virtual functions although {count} were requested", hint)


def _number(host: Host, address: str, name: str) -> int | None:
    try:
        text = host.read_text(f"{_DEVICES}/{address}/{name}")
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
