"""Findings, and what becomes of them."""

from __future__ import annotations

import enum

from pvehooks.values.base import NamedTuple
from pvehooks.values.guests import Guest


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
    BIND = "binding the device to vfio-pci"
    GUARD = "attaching the guard"
    GUARD_HELD = "attaching the guard, which is not to be done automatically"
    GUARD_LEAVES = "detaching the guard"


class Hold(enum.Enum):
    """What keeps us from writing rng0: EXISTING yields to who asks for all guests, UNASKED to who names this one."""

    NONE = ""
    EXISTING = "not automatically, it was there before us"
    UNASKED = "not unless asked for this guest"
    NEVER = "never"


class Asked(enum.Enum):
    """Whether a person asked for the guest to be given what it lacks: no, for all guests at once, or for this one by name."""

    NO = "no"
    ALL = "for all"
    BY_NAME = "by name"


class Finding(NamedTuple):
    """Something about a guest or the node. A rule fills subject and message; its id, severity and remedy are its own.

    `subject` is the option, device or file it is about. `examined` is False where a needed fact could not be read; where the rule
    blocks starts, the guard counts that as trouble of its own.
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
    """The verdict on a guest. `attach`: the guard is to be attached to it; `detach`: the guard has nothing left to examine and leaves."""

    guest: Guest
    blocked: bool
    findings: tuple[Judged, ...]
    injection: Injection
    attach: bool = False
    detach: bool = False
