"""The frozen values that all other modules speak in. No module of the project is imported here but errors.

A fact that could not be read is an `Unread` with the reason, never a guess.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol

# An option's value as PVE's own parser gives it: numbers and booleans (0/1) as int, all else as text.
Value = str | int
Options = Mapping[str, Value]
Properties = Mapping[str, Value]


class Unread(NamedTuple):
    """A fact that could not be read, and why (words for a person)."""

    why: str


# -- guests -----------------------------------------------------------------------------------------------------------


class Dropped(NamedTuple):
    """A line that PVE would lose, or give another meaning, on rewriting the config.

    `line` counts from 1. `section` is '' for the live part, 'PENDING', the name of a snapshot, 'special:NAME', or the name of a
    section that PVE does not know. `text` is the line as it stands; `reason` is for people.
    """

    line: int
    section: str
    text: str
    reason: str


class GuestConfig(NamedTuple):
    """What PVE reads from a config: option -> value; booleans are 0 or 1, integers int, all else text.

    Bytes that are not UTF-8 are escaped in texts (surrogateescape), in `description` replaced as PVE does it. `snapshots` and
    `special_sections` are by name ("cloudinit", "fleecing"). `pending_delete` says whether the delete is forced. `dropped` is
    what PVE would lose, sorted by line. `digest` is the SHA-1 of the raw bytes as `qm set --digest` takes it.
    """

    main: Options
    pending: Options
    pending_delete: Mapping[str, bool]
    snapshots: Mapping[str, Options]
    special_sections: Mapping[str, Options]
    dropped: tuple[Dropped, ...]
    digest: str

    def effective(self) -> Options:
        """The options the next start will use: pending deletes, then pending changes applied (vmconfig_apply_pending)."""
        if not self.pending and not self.pending_delete:
            return self.main
        kept = {key: value for key, value in self.main.items() if key not in self.pending_delete or key.startswith("unused")}
        return {**kept, **{key: value for key, value in self.pending.items() if key != "snapstate"}}


class BootOrder(NamedTuple):
    """`devices` are options of the config (scsi0, net0, hostpci0), in the order in which the firmware tries them.

    `missing` are those that are named but not there, or that PVE cannot use. `source` is "order" (boot: order=...), "legacy"
    (boot: letters), "default" (no boot line: as the letters cdn) or "none" (an empty boot line: nothing is bootable).
    """

    devices: tuple[str, ...]
    missing: tuple[str, ...]
    source: Literal["order", "legacy", "default", "none"]


class HostPci(NamedTuple):
    """A `hostpciN`: the PCI addresses it may stand for on this node (all functions spelt out), or why they are unknown."""

    option: str
    addresses: tuple[str, ...] | Unread


class RecordedRng(NamedTuple):
    """What we remember of an rng0 of ours: its property string, whether it was written, and whether the record says so itself."""

    value: str
    done: bool
    confirmed: bool = True


class Acquaintance(NamedTuple):
    """How a guest relates to our first look at the cluster: `old`, made before it; `untouched`, there at it and not edited since."""

    untouched: bool
    old: bool


class GuestReader(Protocol):
    """Works out what a config means; each method is asked once, when a rule needs it."""

    def options(self, guest: Guest) -> Options: ...
    def boot(self, guest: Guest) -> BootOrder: ...
    def hostpci(self, guest: Guest) -> tuple[HostPci, ...]: ...
    def rng(self, guest: Guest) -> Properties | None: ...
    def cpu(self, guest: Guest) -> tuple[str, tuple[str, ...]]: ...
    def uuid(self, guest: Guest) -> str | None: ...
    def ctime(self, guest: Guest) -> int | None: ...
    def acquaintance(self, guest: Guest) -> Acquaintance: ...
    def recorded_rng(self, guest: Guest) -> RecordedRng | None: ...


class Guest:
    """A VM of this node; `config` is None when it cannot be read. What follows from it is worked out when first asked for.

    `problems` are (rule id, words) of what is wrong with the file as a whole.
    `options` are as the next start will use them; `boot` is what the firmware may boot from; `hostpci` the passed-through PCI
    devices without those with `mdev`; `rng` the properties of rng0, pending before live; `cpu` the model ('' for PVE's
    default) and the flags '+x'/'-x', custom models not resolved; `uuid` that of smbios1; `ctime` that of meta, in epoch
    seconds; `acquaintance` and `recorded_rng` what we know of it.
    """

    options: Options
    boot: BootOrder
    hostpci: tuple[HostPci, ...]
    rng: Properties | None
    cpu: tuple[str, tuple[str, ...]]
    uuid: str | None
    ctime: int | None
    acquaintance: Acquaintance
    recorded_rng: RecordedRng | None

    def __init__(
        self, vmid: int, node: str, config: GuestConfig | None, problems: tuple[tuple[str, str], ...], running: bool, reader: GuestReader
    ) -> None:
        self.vmid = vmid
        self.node = node
        self.config = config
        self.problems = problems
        self.running = running
        self._reader = reader

    def __getattr__(self, name: str) -> object:
        """Works out what is asked for the first time; from then on it is an ordinary attribute."""
        if name not in Guest.__annotations__:
            raise AttributeError(name)
        value = getattr(self._reader, name)(self)
        self.__dict__[name] = value
        return value

    @property
    def digest(self) -> str:
        """The SHA-1 of the config's bytes, '' when it could not be read."""
        return self.config.digest if self.config else ""

    @property
    def name(self) -> str:
        """Its name, '' without one."""
        return str(self.options.get("name", ""))

    @property
    def label(self) -> str:
        """How people call it: "VM 100 (web)"."""
        return f"VM {self.vmid} ({self.name})" if self.name else f"VM {self.vmid}"

    @property
    def template(self) -> bool:
        """Whether it is a template, which never starts."""
        return bool(self.options.get("template"))

    @property
    def uefi(self) -> bool:
        """Whether it boots with OVMF."""
        return self.options.get("bios") == "ovmf"


# -- the node ---------------------------------------------------------------------------------------------------------


class CpuModel(NamedTuple):
    """A custom CPU model of /etc/pve/virtual-guest/cpu-models.conf: what it reports as, and its '+x'/'-x' flags."""

    reported_model: str
    flags: tuple[str, ...]


class HwRng(NamedTuple):
    """The node's hardware random number generator: is /dev/hwrng there, and what sysfs' rng_current says ('' unknown)."""

    present: bool
    current: str


class PciDevice(NamedTuple):
    """A PCI device of the node: address 'dddd:bb:ss.f', 24-bit class code, ids."""

    address: str
    class_code: int
    vendor: int
    device: int


class Node(NamedTuple):
    """What the rules may know of the node."""

    name: str
    cpu_flags: frozenset[str] | Unread
    cpu_models: Mapping[str, CpuModel] | Unread
    hwrng: HwRng | Unread
    pci: Mapping[str, PciDevice] | Unread


# -- findings ---------------------------------------------------------------------------------------------------------


class Severity(enum.Enum):
    """What a finding does: refuse the start, be shown, or be there for who looks. UNSET: as its rule says."""

    BLOCK = "block"
    WARNING = "warning"
    INFO = "info"
    UNSET = ""


class Cure(enum.Enum):
    """When an rng0 is the cure of a finding."""

    NONE = ""
    RNG0 = "rng0"
    RNG0_DESPITE_RDRAND = "rng0 although the CPU has RDRAND"
    RNG0_FOR_ALL = "rng0 for every UEFI guest"
    RNG0_IF_ASKED = "rng0 when a person asks for it"


class Hold(enum.Enum):
    """What keeps us from writing rng0: EXISTING yields to who asks for all guests, UNASKED to who names this one."""

    NONE = ""
    EXISTING = "not by itself, it was there before us"
    UNASKED = "not unless asked for this guest"
    NEVER = "never"


class Asked(enum.Enum):
    """Whether a person asked for the guest to be given what it lacks: no, for all guests at once, or for this one by name."""

    NO = "no"
    ALL = "for all"
    BY_NAME = "by name"


class Finding(NamedTuple):
    """Something about a guest or the node. A rule fills subject and message; its id, severity and remedy are its own.

    `subject` is the option, device or file it is about. `examined` is False where a needed fact could not be read.
    """

    subject: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.UNSET
    rule: str = ""
    examined: bool = True
    cure: Cure = Cure.NONE
    hold: Hold = Hold.NONE


class Judged(NamedTuple):
    """A finding after the settings were asked; `ignored` is the reason why it does not count, or ''."""

    finding: Finding
    ignored: str


class Injection(NamedTuple):
    """Whether rng0 is due, and if it is not although it is missing, why not."""

    due: bool
    held: Finding | None
    why: str
    rule: str = ""


class Verdict(NamedTuple):
    """All that is to be said of a guest."""

    guest: Guest
    blocked: bool
    findings: tuple[Judged, ...]
    injection: Injection
