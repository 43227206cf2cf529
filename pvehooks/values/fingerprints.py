"""By what a PCI device is known again, wherever it sits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.values.base import NamedTuple, Protocol


class Fingerprint(NamedTuple):
    """What distinguishes a PCI device from others. A virtual function has that of its physical function, and its number there."""

    vendor: int
    device: int
    # None where there is none, or it is unknown.
    subsystem: tuple[int, int] | None = None
    # The function number, which belongs to the card and not to the slot.
    function: int = 0
    # Slot and function of each bridge above it and its own, from the root bus: bus numbers are assigned anew at each boot. '' if unknown.
    place: str = ""
    # What no other device has, each '' if unknown: the PCIe Device Serial Number, the serial numbers of its disks and its MAC addresses
    # (of several, with commas between).
    serial: str = ""
    disks: str = ""
    mac: str = ""
    # The places of the others of its kind that were there at that time.
    twins: frozenset[str] = frozenset()
    # Of a virtual function, from 0.
    vf: int | None = None
    # The name in words.
    words: str = ""

    def of_one_kind(self, other: Fingerprint) -> bool:
        """Whether both can be the same device as far as ids show."""
        known = self.subsystem and other.subsystem
        ours, theirs = (self.vendor, self.device, self.function), (other.vendor, other.device, other.function)
        return ours == theirs and (not known or self.subsystem == other.subsystem)

    def same_device(self, other: Fingerprint) -> bool | None:
        """Whether both are the same device; None where nothing that only one device has is known of both.

        A controller's disks may all be replaced. Some makers give all cards of a kind one PCIe serial number; their MACs still differ.
        """
        macs = _common(self.mac, other.mac)
        if self.serial and other.serial:
            return self.serial == other.serial and macs is not False
        disks = _common(self.disks, other.disks)
        return macs if disks is None else disks

    @property
    def number(self) -> str:
        """What only this device has, in words; '' if nothing is known."""
        if self.serial or self.disks:
            return f"serial number {self.serial or self.disks}"
        return f"MAC {self.mac}" if self.mac else ""


class Whereabouts(NamedTuple):
    """Where a device is now."""

    # '' where that is not known.
    address: str
    # By what it is known there, or why its address is not known, in words.
    why: str
    # The devices of which one it is, and it is unknown which.
    rivals: tuple[str, ...] = ()


def _common(ours: str, theirs: str) -> bool | None:
    """Whether two lists have something in common; None where one is unknown."""
    return bool(set(ours.split(",")) & set(theirs.split(","))) if ours and theirs else None


Remembered = Mapping[str, Mapping[str, Fingerprint]]
"""Devices by their address when they were first seen there, by what names them: hostpciN of a VM, "map" of a mapping, a network interface."""


class Prints(Protocol):
    """By what the PCI devices of the node are known again; see facts.pci.fingerprints.Fingerprints."""

    def at_address(self, address: str) -> Iterator[str]: ...

    def at(self, address: str) -> Fingerprint | None: ...

    def alike(self, known: Fingerprint) -> Mapping[str, Fingerprint]: ...

    def vf(self, pf: str, number: int) -> str: ...


class RememberedDevices(Protocol):
    """Which devices were meant by mappings when their addresses were first seen, and by what those of the node are known again."""

    @property
    def prints(self) -> Prints: ...

    def of_mapping(self, name: str) -> Remembered: ...
