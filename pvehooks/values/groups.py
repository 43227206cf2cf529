"""IOMMU groups: their devices, what uses them, and which can be passed through."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple
from pvehooks.values.pci import Holder, PciDevice, Use

# Base classes and classes (pci.ids) of devices that belong to the board: memory controllers, bridges to other buses than PCI, system
# peripherals such as timers, signal processors; management engines, SMBus, SPI. An SD host controller is not one of them.
_BOARD_BASES = frozenset({0x05, 0x06, 0x08, 0x11})
_BOARD = frozenset({0x0780, 0x0C05, 0x0C80})
_SD_HOST = 0x0805
_OTHER_PERIPHERAL = 0x0880


def is_card(device: PciDevice) -> bool:
    """Whether a system peripheral of no other class is a card: the board's are on the root bus; a Coral TPU has such a class as well."""
    return device.class_code >> 8 == _OTHER_PERIPHERAL and not device.on_root_bus


class Naming(NamedTuple):
    """A guest whose config names a device, by which option, and whether the guest runs."""

    vmid: int
    label: str
    option: str
    running: bool


class GroupMember(NamedTuple):
    """A device of a group."""

    device: PciDevice
    # Whether a driver of the host is bound to it.
    on_host: bool
    # The running guests that hold it.
    holders: tuple[Holder, ...] = ()
    # The guests that name it.
    named: tuple[Naming, ...] = ()
    # The strongest first.
    uses: tuple[Use, ...] = ()
    # What could not be examined, as phrases.
    unread: tuple[str, ...] = ()
    # The VMIDs of the guests that do not name it and whose start takes it as well, with its group.
    also: tuple[int, ...] = ()

    @property
    def use(self) -> Use | None:
        """The strongest use that is not only a remark, None without one."""
        return next((use for use in self.uses if not use.remark), None)

    @property
    def kept(self) -> str:
        """Why an idle device is not free all the same, going on from its name; '' where it is."""
        device = self.device
        if device.dead:
            return "is dead, its config space reads all ones"
        if device.reserved:
            return "has memory reserved by the firmware (RMRR), the kernel refuses it to vfio"
        if device.virtfns:
            return f"has {len(device.virtfns)} virtual function{'' if len(device.virtfns) == 1 else 's'}, which vanish when it is taken"
        return next((use.sentence for use in self.uses if use.remark), "")

    @property
    def free(self) -> bool:
        """Whether it can be taken now without harm; not while that is unknown. The one meaning of "free" in all that is shown."""
        return not self.holders and self.use is None and not self.unread and not self.kept

    @property
    def board(self) -> bool:
        """Whether it belongs to the board, of no use to a guest; no guest names it."""
        code = self.device.class_code
        on_board = code >> 8 in _BOARD or (code >> 16 in _BOARD_BASES and code >> 8 != _SD_HOST and not is_card(self.device))
        return on_board and not self.named


class Group(NamedTuple):
    """An IOMMU group and all of its members, sorted by address; the name is '' for devices in no group."""

    name: str
    members: tuple[GroupMember, ...]

    @property
    def devices(self) -> tuple[GroupMember, ...]:
        """The members that a guest would get: all but bridges."""
        return tuple(member for member in self.members if not member.device.bridge)

    @property
    def state(self) -> str:
        """'clean' with one device (however many functions it has), 'shared' with several, 'no group'.

        'bridges' and 'board' if it has nothing else: there is nothing to pass through.
        """
        if not self.name:
            return "no group"
        if all(member.board for member in self.devices):
            return "board" if self.devices else "bridges"
        return "clean" if len({member.device.slot for member in self.devices}) == 1 else "shared"

    @property
    def free(self) -> bool:
        """Whether all of it could be passed through now without harm."""
        return self.state in ("clean", "shared") and all(member.free for member in self.devices)
