"""The frozen values that all other modules use. They import no other module of the project.

A fact that could not be read is an `Unread` with the reason, never a guess.
"""

from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.findings import Asked, Cure, Finding, Judged, Refuser, Rng0Decision, Rng0Veto, Severity, StartVerdict, Verdict
from pvehooks.values.guests import (
    Accepted,
    AdminsRng,
    Allowance,
    Attachment,
    BaselineStatus,
    BootOrder,
    Dropped,
    GivenTag,
    Guest,
    GuestConfig,
    Hookscript,
    HostPci,
    KnownDevice,
    Options,
    Properties,
    RecordedRng,
    Value,
)
from pvehooks.values.node import CpuModel, HugePages, HwRng, Iommu, Memory, Node
from pvehooks.values.pci import BoundIds, Holder, HostUses, MappingEntry, PciDevice, PciMapping, Use, Uses

__all__ = [
    "Accepted",
    "AdminsRng",
    "Allowance",
    "Asked",
    "Attachment",
    "BaselineStatus",
    "BootOrder",
    "BoundIds",
    "CpuModel",
    "Cure",
    "Dropped",
    "Finding",
    "GivenTag",
    "Guest",
    "GuestConfig",
    "Holder",
    "Hookscript",
    "HostPci",
    "HostUses",
    "HugePages",
    "HwRng",
    "Iommu",
    "Judged",
    "KnownDevice",
    "MappingEntry",
    "Memory",
    "NamedTuple",
    "Node",
    "Options",
    "PciDevice",
    "PciMapping",
    "Properties",
    "RecordedRng",
    "Refuser",
    "Rng0Decision",
    "Rng0Veto",
    "Severity",
    "StartVerdict",
    "Unread",
    "Use",
    "Uses",
    "Value",
    "Verdict",
]
