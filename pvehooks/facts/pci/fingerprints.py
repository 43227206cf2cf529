"""Reads by what PCI devices are known again (the kernel's ABI/testing/sysfs-bus-pci, sysfs-class-net)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.facts.pci import identity
from pvehooks.facts.reading import names_in, text_of
from pvehooks.host import Host
from pvehooks.values import PciDevice
from pvehooks.values.fingerprints import Fingerprint

_DEVICES = "/sys/bus/pci/devices"
# NET_ADDR_PERM of the kernel's include/uapi/linux/netdevice.h: the card's own address, not one that was given to it.
_PERMANENT = ("", "0")


class Fingerprints:
    """Of the devices of a node; each is read when it is asked for.

    The PCIe serial numbers are left out where `with_serials` is False: only root with all capabilities can read them.
    """

    def __init__(self, host: Host, devices: Mapping[str, PciDevice], with_serials: bool = True) -> None:
        self._host = host
        self._with_serials = with_serials
        self._devices = devices
        self._found: dict[str, Fingerprint] = {}

    def at_address(self, address: str) -> Iterator[str]:
        """The devices that an address of a config stands for, bridges left out: one, or all functions of a slot."""
        if "." in address:
            return iter((address,) if address in self._devices else ())
        return (each for each, device in self._devices.items() if each.startswith(f"{address}.") and not device.bridge)

    def at(self, address: str) -> Fingerprint | None:
        """Of the device at the address; None without one, or where its ids cannot be read."""
        device = self._devices.get(address)
        if device is None or min(device.vendor, device.device) < 0:
            return None
        pf = self._devices.get(device.physfn)
        if pf is not None:
            number = pf.virtfns.index(address) if address in pf.virtfns else None
            return None if number is None else self._of(pf)._replace(vf=number, words=_printable(device.words))
        return None if device.physfn else self._of(device)

    def alike(self, known: Fingerprint) -> Mapping[str, Fingerprint]:
        """The devices that the known one may be, by their address; for a VF those that may be its PF."""
        same = [each for each in self._devices.values() if (each.vendor, each.device) == (known.vendor, known.device) and not each.physfn]
        found = {each.address: self._of(each) for each in same}
        return {address: each for address, each in found.items() if known.of_one_kind(each)}

    def vf(self, pf: str, number: int) -> str:
        """The address of a VF of a PF, '' where it has too few."""
        virtfns = self._devices[pf].virtfns
        return virtfns[number] if number < len(virtfns) else ""

    def _of(self, device: PciDevice) -> Fingerprint:
        if device.address not in self._found:
            kind = device.vendor, device.device, device.address[-1]
            others = (each for each in self._devices.values() if (each.vendor, each.device, each.address[-1]) == kind and not each.physfn)
            twins = frozenset(self._place(each) for each in others if each.address != device.address)
            self._found[device.address] = self._read(device)._replace(twins=twins - {""})
        return self._found[device.address]

    def _read(self, device: PciDevice) -> Fingerprint:
        function = int(device.address[-1], 16)
        serial = ""
        if self._with_serials:
            # Of a card with several functions, the first one may have it alone (PCI Express Base Specification, 7.9.3).
            serial = identity.serial_of(self._host, device.address) or identity.serial_of(self._host, f"{device.slot}.0")
        return Fingerprint(
            vendor=device.vendor,
            device=device.device,
            subsystem=device.subsystem,
            function=function,
            place=self._place(device),
            serial=serial,
            disks=_printable(device.serial),
            mac=",".join(sorted(self._macs(f"{_DEVICES}/{device.address}"))),
            words=_printable(device.words),
        )

    def _place(self, device: PciDevice) -> str:
        return _without_buses(identity.place_of(self._host, device.address))

    def _macs(self, path: str) -> Iterator[str]:
        """The permanent addresses of its interfaces; a virtio device has them one level deeper. A slave of a bond shows that of the bond."""
        for above in (path, *(f"{path}/{name}" for name in names_in(self._host, path) if name.startswith("virtio"))):
            for name in names_in(self._host, f"{above}/net"):
                here = f"{above}/net/{name}"
                given = text_of(self._host, f"{here}/addr_assign_type")
                mac = text_of(self._host, f"{here}/bonding_slave/perm_hwaddr") or text_of(self._host, f"{here}/address")
                if mac and (given in _PERMANENT or self._host.exists(f"{here}/bonding_slave")):
                    yield mac


def _without_buses(place: str) -> str:
    """A path below /sys/devices without bus numbers; the root's stays, as does that of a device on a bus whose bridge is not shown."""
    root, *rest = place.split("/")
    parts = [part.split(":") for part in rest]
    if not parts or any(len(part) != 3 for part in parts):
        return place
    begin = parts[0][2] if root.endswith(parts[0][1]) else f"{parts[0][1]}:{parts[0][2]}"
    return "/".join((root, begin, *(part[2] for part in parts[1:])))


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable())
