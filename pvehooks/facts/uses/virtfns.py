"""Virtual functions in use: taking the physical function would remove them (the kernel's PCI/pci-iov-howto)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pvehooks.facts.pci import holders
from pvehooks.values import PciDevice, Unread, Use, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.guests.running import RunningGuest, RunningGuests


class VirtualFunctions:
    """The uses of a physical function that are its virtual functions' uses; `of_device` tells those of any device."""

    def __init__(self, running: RunningGuests, of_device: Callable[[PciDevice], Uses]) -> None:
        self.running = running
        self.of_device = of_device
        self._held: dict[str, list[RunningGuest]] | None = None
        self._unread: tuple[str, ...] = ()

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device's VFs, each a use of its own; remarks on a VF weigh nothing here."""
        found: list[Use] = []
        unread: list[str] = []
        for address in device.virtfns:
            found += self._by_guests(address)
            uses = self.of_device(device.sibling(address))
            real = (use for use in uses.found if not use.remark)
            found += [Use(f"has VFs in use: {address} {use.sentence}", use.vmid, remedy=use.remedy) for use in real]
            unread += [f"its virtual function {address}: {why}" for why in uses.unread]
        return Uses(tuple(found), (*unread, *(self._unread if device.virtfns else ())))

    def _by_guests(self, address: str) -> Iterator[Use]:
        if self._held is None:
            self._held = self._look()
        for guest in self._held.get(address, ()):
            yield Use(f"has VFs in use: {address} by {guest.label}", guest.vmid)

    def _look(self) -> dict[str, list[RunningGuest]]:
        """The running guests by the addresses that their QEMU was given, mediated devices' parents among them."""
        held: dict[str, list[RunningGuest]] = {}
        guests = self.running.all()
        if isinstance(guests, Unread):
            self._unread = (f"which guests have its virtual functions ({guests.why})",)
            return held
        for guest in guests:
            for address in dict.fromkeys(address for address, _, _ in holders.assigned(self.running.host, guest.cmdline)):
                held.setdefault(address, []).append(guest)
        return held
