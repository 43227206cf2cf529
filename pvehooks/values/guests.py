"""Guests: what their configs say, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.base import NamedTuple, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pvehooks.values.images import ImageFile, PinnedFirmware
    from pvehooks.values.pci import PciDevice

# An option's value as PVE's own parser gives it: numbers and booleans (0/1) as int, all else as text.
Value = str | int
Options = Mapping[str, Value]
Properties = Mapping[str, Value]


class Dropped(NamedTuple):
    """A line that PVE would drop, or change in meaning, when it rewrites the config."""

    # From 1.
    line: int
    # '' for the live part, 'PENDING', the name of a snapshot, 'special:NAME', or the name of a section that PVE does not know.
    section: str
    # The line unchanged.
    text: str
    # A phrase for messages.
    reason: str


class GuestConfig(NamedTuple):
    """What PVE reads from a config: option -> value; booleans are 0 or 1, integers int, all else text.

    Bytes that are not UTF-8 are escaped in texts (surrogateescape), in `description` replaced as PVE does it.
    """

    main: Options
    pending: Options
    # Whether the delete is forced, by option.
    pending_delete: Mapping[str, bool]
    # By name.
    snapshots: Mapping[str, Options]
    # By name ("cloudinit", "fleecing").
    special_sections: Mapping[str, Options]
    # The lines that PVE would drop, sorted by line.
    dropped: tuple[Dropped, ...]
    # The SHA-1 of the raw bytes as `qm set --digest` takes it.
    digest: str
    # Options, and what of them the node's PVE knows and we do not, in words.
    newer: tuple[tuple[str, str], ...] = ()

    def effective(self) -> Options:
        """The options the next start will use: pending deletes, then pending changes applied (vmconfig_apply_pending)."""
        if not self.pending and not self.pending_delete:
            return self.main
        kept = {key: value for key, value in self.main.items() if key not in self.pending_delete or key.startswith("unused")}
        return {**kept, **{key: value for key, value in self.pending.items() if key != "snapstate"}}


class BootOrder(NamedTuple):
    """`devices` are options of the config (scsi0, net0, hostpci0), in the order in which the firmware tries them.

    `missing` are those that are named but do not exist, or that PVE cannot use. `source` is "order" (boot: order=...), "legacy"
    (boot: letters), "default" (no boot line: as the letters cdn) or "none" (an empty boot line: nothing is bootable).
    """

    devices: tuple[str, ...]
    missing: tuple[str, ...]
    source: Literal["order", "legacy", "default", "none"]


class HostPci(NamedTuple):
    """A `hostpciN`, as PVE would use it at a start on this node (qemu-server, PCI.pm, parse_hostpci)."""

    option: str
    # The alternatives, in PVE's order: one for `host=`, one for each entry of a mapping for this node; Unread if they are unknown. Each is
    # the addresses as written, 'dddd:bb:ss.f' in lower case, or 'dddd:bb:ss' for all functions of a slot.
    choices: tuple[tuple[str, ...], ...] | Unread
    # The mapping's name or ''.
    mapping: str
    # All of the option, parsed.
    properties: Properties
    # Why PVE would refuse the start whatever is on the bus (pcie without q35, host and mapping, a device named twice, ...), '' if nothing.
    trouble: str = ""

    @property
    def addresses(self) -> tuple[str, ...] | Unread:
        """All addresses of all alternatives."""
        if isinstance(self.choices, Unread):
            return self.choices
        return tuple(address for choice in self.choices for address in choice)

    @property
    def mdev(self) -> str:
        """The type of mediated device that is created on it, '' if none."""
        return str(self.properties.get("mdev", ""))

    @property
    def by_args(self) -> bool:
        """Whether it is not a hostpciN but a device in `args`: PVE gives that to QEMU, and neither binds nor reserves it."""
        return self.option == "args"

    @property
    def taken_whole(self) -> bool:
        """Whether PVE binds it (and so its whole IOMMU group) to vfio-pci: not for mdev, vGPUs and driver=keep."""
        return not self.mdev and self.properties.get("driver", "vfio") != "keep"


class KnownDevice(NamedTuple):
    """A PCI device as it was at an accepted start: vendor, device and class as numbers, the storage serial or ''."""

    vendor: int
    device: int
    class_code: int
    serial: str

    def change(self, now: PciDevice) -> str:
        """What is otherwise of the device at its address, in words; '' for nothing, or where it cannot be read, or could not at that time."""
        if -1 not in (now.vendor, now.device, self.vendor, self.device) and (now.vendor, now.device) != (self.vendor, self.device):
            return f"that was a device [{self.vendor:04x}:{self.device:04x}]"
        if -1 not in (now.class_code, self.class_code) and now.class_code != self.class_code:
            return f"its class was {self.class_code:06x} and is {now.class_code:06x}"
        if self.has_other_disks(now):
            return f"its serial number was {self.serial} and is {now.serial}"
        return ""

    def has_other_disks(self, now: PciDevice) -> bool:
        """Whether both serials are known and have nothing in common: those of a controller are its disks', of which one may be replaced."""
        return bool(now.serial and self.serial) and not set(now.serial.split(",")) & set(self.serial.split(","))


class Accepted(NamedTuple):
    """The last accepted start: its hostpci lines by option, its devices by address, and the members of their IOMMU groups.

    `kernel` is the release that ran then, '' where it was not recorded.
    """

    hostpci: Mapping[str, str]
    devices: Mapping[str, KnownDevice]
    members: frozenset[str]
    kernel: str = ""


class Allowance(NamedTuple):
    """An admin's override that allows the next start: the reason, the user, and when (epoch seconds)."""

    reason: str
    by: str
    when: int


class Attachment(NamedTuple):
    """That we attached the guard to a guest: our stub's volume id, the former hookscript's or '', and when (epoch seconds).

    `kept` is whether an administrator attached it to a guest without anything to examine: it does not leave that automatically.
    """

    volid: str
    former: str
    when: int
    kept: bool = False


class GivenTag(NamedTuple):
    """A tag of ours in a guest's config: the tag, 'writing' before and 'done' after the write, and when (epoch seconds)."""

    value: str
    state: str
    when: int


class Hookscript(NamedTuple):
    """A guest's hookscript: its volume id, its path on this node, and what is wrong with it ('' if it can be run)."""

    volid: str
    path: str
    trouble: str


class RecordedRng(NamedTuple):
    """What we remember of a guest's rng0: its property string, whether it was written, and whether the record says so itself.

    `given` is False for one that an administrator gave.
    """

    value: str
    done: bool
    confirmed: bool = True
    given: bool = True


class AdminsRng(NamedTuple):
    """An rng0 that an administrator gave a guest: its property string, and when it was first seen (epoch seconds)."""

    value: str
    when: int


class BaselineStatus(NamedTuple):
    """How a guest relates to its node's baseline: `old`: created before it; `untouched`: part of it and not edited since."""

    untouched: bool
    old: bool


# Characters that messages show of a name; PVE takes any number.
_LONGEST_NAME = 100


def guest_label(vmid: int, name: str = "", kind: str = "VM") -> str:
    """A guest's name in messages: "VM 100 (web)", "CT 105" for a container without a name."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}[...]"
    return f"{kind} {vmid} ({shown})" if name else f"{kind} {vmid}"


class Guest:
    """A VM of a node; readers override the facts that follow from its config and its record.

    `config` is None if it cannot be read; `problems` are (rule id, phrase) about the file as a whole; `running`: it runs on its node now.
    """

    def __init__(self, vmid: int, node: str, config: GuestConfig | None, problems: tuple[tuple[str, str], ...], running: bool) -> None:
        self.vmid = vmid
        self.node = node
        self.config = config
        self.problems = problems
        self.running = running

    def forget(self) -> None:
        """Drops facts that were derived from the config, to save memory in a loop over thousands of guests."""

    @property
    def options(self) -> Options:
        """The options that the next start will use, pending changes applied."""
        return self.config.effective() if self.config else {}

    @property
    def boot(self) -> BootOrder:
        """The devices that the firmware may boot from."""
        return BootOrder((), (), "none")

    @property
    def hostpci(self) -> tuple[HostPci, ...]:
        """The passed-through PCI devices, in PVE's order."""
        return ()

    def number(self, option: str, otherwise: int) -> int:
        """An option that is a number, or says it as current=N (qemu-server, Memory.pm); `otherwise` where there is none of at most 9 digits."""
        text = str(self.options.get(option, otherwise)).removeprefix("current=")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else otherwise

    @property
    def args_devices(self) -> tuple[Mapping[str, str], ...]:
        """The properties of each `-device` of its args, as written; the driver is `driver`. JSON objects are left out."""
        return ()

    @property
    def args_sets(self) -> tuple[tuple[str, str, str], ...]:
        """What its args set of devices that others give to QEMU (-set device.ID.PROPERTY=VALUE): ID, PROPERTY, VALUE."""
        return ()

    @property
    def args_pci(self) -> tuple[HostPci, ...]:
        """The PCI devices that its `args` give to QEMU whole (-device vfio-pci), each under the option "args"."""
        return ()

    @property
    def rng(self) -> Properties | None:
        """The properties of rng0, pending before live; None without one."""
        return None

    @property
    def cpu(self) -> tuple[str, tuple[str, ...]]:
        """The CPU model ('' for PVE's default) and its flags '+x'/'-x'; custom models are not resolved."""
        return ("", ())

    @property
    def uuid(self) -> str | None:
        """The uuid in smbios1, None without one."""
        return None

    @property
    def ctime(self) -> int | None:
        """When it was created, from meta, in epoch seconds; None if unknown."""
        return None

    @property
    def baseline_status(self) -> BaselineStatus:
        """How it relates to its node's baseline."""
        return BaselineStatus(untouched=False, old=False)

    @property
    def recorded_rng(self) -> RecordedRng | None:
        """What we remember of its rng0, None for nothing. Raises RecordsUnavailable, as all that we remember."""
        return None

    @property
    def accepted(self) -> Accepted | None:
        """Its last accepted start on this node, None without one."""
        return None

    @property
    def allowance(self) -> Allowance | None:
        """An admin's override for the next start, None without one."""
        return None

    @property
    def attachment(self) -> Attachment | None:
        """The record of the guard that we attached, None without one."""
        return None

    @property
    def given_tag(self) -> GivenTag | None:
        """The tag that we gave it, None without one."""
        return None

    @property
    def firmware(self) -> PinnedFirmware | None:
        """The firmware image that we gave it, None without one."""
        return None

    @property
    def image(self) -> ImageFile | None:
        """The file of that image, None without one."""
        return None

    @property
    def hookscript(self) -> Hookscript | None:
        """The effective hookscript, None without one."""
        return None

    @property
    def digest(self) -> str:
        """The SHA-1 of the config's bytes, '' when it could not be read."""
        return self.config.digest if self.config else ""

    @property
    def name(self) -> str:
        """Its name, '' without one."""
        return str(self.options.get("name", ""))

    def properties(self, option: str) -> Properties:
        """The properties of an option that is a property string (`efidisk0`, `usb0`, `vga`), empty if it is not set or malformed."""
        return {}

    @property
    def label(self) -> str:
        """Its name in messages: "VM 100 (web)"."""
        return guest_label(self.vmid, self.name)

    @property
    def template(self) -> bool:
        """Whether it is a template, which never starts."""
        return bool(self.options.get("template"))

    @property
    def passes_through(self) -> bool:
        """Whether it has passed-through PCI devices that a start would take; a template never starts with them."""
        return bool(self.hostpci or self.args_pci) and not self.template

    @property
    def needs_guard(self) -> bool:
        """Whether the guard has something to check before it starts: passed-through devices, or a firmware image that we gave it."""
        return self.passes_through or (self.firmware is not None and not self.template)

    @property
    def uefi(self) -> bool:
        """Whether it boots with OVMF."""
        return self.options.get("bios") == "ovmf"
