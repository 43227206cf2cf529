"""SR-IOV: the number of virtual functions of a device (the kernel's Documentation/PCI/pci-iov-howto.rst)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pvehooks.errors import ActionFailed
from pvehooks.host import Host
from pvehooks.values import PciDevice

_DEVICES = "/sys/bus/pci/devices"


def possible(host: Host, device: PciDevice) -> int | None:
    """How many virtual functions the device can have, None without SR-IOV."""
    return _number(host, device.address, "sriov_totalvfs")


def present(host: Host, address: str) -> int:
    """How many it has now."""
    return _number(host, address, "sriov_numvfs") or 0


def change(host: Host, device: PciDevice, count: int, for_vfio: bool = False) -> int:
    """Sets the number of virtual functions and reads it back; returns the former number. Raises ActionFailed.

    The present ones go first: the kernel only changes from and to 0. The caller has made sure that none is in use. `for_vfio`: no driver of
    the host takes the new ones, which are to go to vfio-pci.
    """
    before = present(host, device.address)
    if before == count:
        return before
    if before:
        _write(host, device, 0, before)
    if count:
        try:
            with _without_drivers(host, device, for_vfio):
                _write(host, device, count, before)
        except ActionFailed as failed:
            if before:
                _write(host, device, before, before)
                failed.message += f"; it has {before} again"
            raise
    return before


@contextlib.contextmanager
def _without_drivers(host: Host, device: PciDevice, wanted: bool) -> Iterator[None]:
    """Makes VFs without a driver (the kernel's PCI/pci-iov-howto, sriov_drivers_autoprobe); where that is not known they get one."""
    path = f"{_DEVICES}/{device.address}/sriov_drivers_autoprobe"
    switched = False
    if wanted:
        with contextlib.suppress(OSError):
            host.write_attribute(path, "0")
            switched = True
    try:
        yield
    finally:
        if switched:
            with contextlib.suppress(OSError):
                host.write_attribute(path, "1")


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
