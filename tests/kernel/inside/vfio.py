"""Opening a device as QEMU does: its group, a container, the device (the kernel's Documentation/driver-api/vfio.rst)."""

from __future__ import annotations

import fcntl
import os
import struct

from tests.kernel.inside import pci

# linux/vfio.h: _IO(';', 100 + n)
_TYPE = ord(";") << 8
SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER, GROUP_GET_DEVICE = (_TYPE | 100 + number for number in (2, 3, 4, 6))
TYPE1V2_IOMMU = 3
VIABLE = 1


class Refused(Exception):
    """The kernel does not let a guest have a device."""


def open_group(number: str) -> tuple[int, int]:
    """The handles of a group and of the container it is in."""
    container = os.open("/dev/vfio/vfio", os.O_RDWR)
    try:
        group = os.open(f"/dev/vfio/{number}", os.O_RDWR)
    except OSError as error:
        os.close(container)
        raise Refused(f"group {number} cannot be opened: {error.strerror}") from error
    try:
        _, flags = struct.unpack("II", fcntl.ioctl(group, GROUP_GET_STATUS, struct.pack("II", 8, 0)))
        if not flags & VIABLE:
            raise Refused(f"group {number} is not viable")
        fcntl.ioctl(group, GROUP_SET_CONTAINER, struct.pack("i", container))
        fcntl.ioctl(container, SET_IOMMU, TYPE1V2_IOMMU)
    except (OSError, Refused) as error:
        os.close(group)
        os.close(container)
        raise error if isinstance(error, Refused) else Refused(f"group {number}: {error.strerror}") from error
    return container, group


def open_devices(devices: list[str]) -> list[int]:
    """All handles that QEMU would have of these; Refused when the kernel does not give them, and then none is open."""
    handles: list[int] = []
    groups: dict[str, int] = {}
    try:
        for device in devices:
            number = pci.group(device)
            if number not in groups:
                container, groups[number] = open_group(number)
                handles += [container, groups[number]]
            try:
                handles.append(_device(groups[number], device))
            except OSError as error:
                raise Refused(f"{device} cannot be had from its group: {error.strerror}") from error
    except Refused:
        close(handles)
        raise
    return handles


def _device(group: int, device: str) -> int:
    # Only with a buffer that may change does Python give the call's result, which is the handle.
    return int(fcntl.ioctl(group, GROUP_GET_DEVICE, bytearray(device.encode() + b"\0"), True))


def close(handles: list[int]) -> None:
    """In the order in which QEMU does it: devices before their groups and containers."""
    for handle in reversed(handles):
        os.close(handle)
