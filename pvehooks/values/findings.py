"""Findings, and what becomes of them."""

from __future__ import annotations

import enum

from pvehooks.values.base import NamedTuple
from pvehooks.values.guests import Guest


class Severity(enum.Enum):
    """What a finding does: BLOCK refuses the start, WARNING is shown, INFO is shown on request. UNSET: as its rule says."""

    BLOCK = "block"
    WARNING = "warning"
    INFO = "info"
    UNSET = ""


class Refuser(enum.Enum):
    """What refuses a start because of a finding. UNSET: as its rule says."""

    PVE = "Proxmox VE or QEMU"
    GUARD = "the guard"
    GUARD_OF_RUN = "the guard; there is harm only once QEMU runs"
    NOTHING = "nothing"
    UNSET = ""


class StartVerdict(enum.Enum):
    """What a start would come to. MUST_NOT: it would go through, and do harm."""

    WOULD = "would start"
    WOULD_NOT = "would not start"
    MUST_NOT = "must not start"


class Cure(enum.Enum):
    """What ends a finding, and when the daemon or the guard does that automatically."""

    NONE = ""
    RNG0 = "rng0"
    RNG0_DESPITE_RDRAND = "rng0 although the CPU has RDRAND"
    RNG0_FOR_ALL = "rng0 for every UEFI VM"
    RNG0_IF_ASKED = "rng0 when a person asks for it"
    BIND = "binding the device to vfio-pci"
    ATTACH_GUARD = "attaching the guard"
    ATTACH_GUARD_IF_ASKED = "attaching the guard, which is not done automatically"
    DETACH_GUARD = "detaching the guard"


class Rng0Veto(enum.Enum):
    """What keeps us from writing rng0: EXISTING yields to a request for all guests, UNASKED to one for this guest."""

    NONE = ""
    EXISTING = "not automatically, it was there before us"
    UNLESS_ASKED_BY_NAME = "not unless asked for this VM"
    NEVER = "never"


class Asked(enum.Enum):
    """Whether a person asked for the guest to be given what it lacks: no, for all guests at once, or for this one by name."""

    NO = "no"
    ALL = "for all"
    BY_NAME = "by name"


class Finding(NamedTuple):
    """Something about a guest or the node. A rule fills subject and message; id, severity, remedy and refuser come from its decorator."""

    # The option, device or file that it is about.
    subject: str
    message: str
    remedy: str = ""
    severity: Severity = Severity.UNSET
    rule: str = ""
    # False where a needed fact could not be read; where the rule blocks starts, the guard counts that as trouble of its own.
    examined: bool = True
    # What ends the finding.
    cure: Cure = Cure.NONE
    # What it forbids to do automatically.
    rng0_veto: Rng0Veto = Rng0Veto.NONE
    # What refuses the start where the severity is BLOCK.
    refuser: Refuser = Refuser.UNSET


class Judged(NamedTuple):
    """A finding after the settings were asked; `ignored` is the reason why it does not count, or ''."""

    finding: Finding
    ignored: str


class Rng0Decision(NamedTuple):
    """Whether rng0 is due, and if it is not although it is missing, why not."""

    due: bool
    prevented_by: Finding | None
    why: str
    rule: str = ""


class Verdict(NamedTuple):
    """The findings of a guest and what follows from them."""

    guest: Guest
    # Whether a finding that counts has the severity BLOCK.
    blocked: bool
    findings: tuple[Judged, ...]
    rng0_decision: Rng0Decision
    # Whether the guard is to be attached.
    attach: bool = False
    # Whether the guard has nothing left to examine, and is to be detached.
    detach: bool = False
    # What that means for the start.
    start: StartVerdict = StartVerdict.WOULD
    # Why nothing stops a start that must not happen, '' otherwise.
    why_unguarded: str = ""

    @property
    def rng0(self) -> str:
        """'lacking' if the guest needs an rng0 and has none, 'given' if it has the one that it was given, else ''."""
        if self.rng0_decision.due or self.rng0_decision.prevented_by:
            return "lacking"
        value = self.guest.options.get("rng0")
        recorded = self.guest.recorded_rng if value else None
        return "given" if recorded and recorded.given and recorded.value == value else ""
