"""How urgent the review of a changed config is: whether its guest's next start may depend on what it is given now. Pure: bytes in, a value out."""

from __future__ import annotations

import enum
import re

from pvehooks.daemon.state import GuestState

_SECTION = re.compile(rb"^\[", re.MULTILINE)
_LOCK = re.compile(rb"^lock:", re.MULTILINE)
_PENDING = re.compile(rb"^\[PENDING\]\s*$", re.MULTILINE | re.IGNORECASE)
_UEFI = re.compile(rb"^bios:\s*ovmf\s*$", re.MULTILINE)
_DEVICE = re.compile(rb"^hostpci\d+:.*$", re.MULTILINE)
# One for all guests: Python makes each a set of its own, of 200 bytes.
_NO_DEVICES: frozenset[bytes] = frozenset()


class Urgency(enum.Enum):
    """How soon a changed config is reviewed."""

    # Proxmox VE makes this guest: there will soon be something to write.
    BEING_CREATED = enum.auto()
    # It has new devices, or is new and boots with UEFI, and may be started in the same breath.
    URGENT = enum.auto()
    # Nothing that cannot wait until its changes settle.
    NORMAL = enum.auto()


def devices(raw: bytes) -> frozenset[bytes]:
    """The lines of passed-through devices that the next start uses."""
    return frozenset(_DEVICE.findall(_live(raw))) if b"hostpci" in raw else _NO_DEVICES


def _live(raw: bytes) -> bytes:
    return _SECTION.split(raw, 1)[0]


def guest_urgency(raw: bytes, known: GuestState | None) -> Urgency:
    """How urgent a changed config is; `known` is what is remembered of the guest, None if it was not reviewed yet."""
    if not raw:
        return Urgency.NORMAL
    is_new = known is None or known.is_being_made
    if _LOCK.search(_live(raw)):
        return Urgency.BEING_CREATED if is_new else Urgency.NORMAL
    # Between the two writes of `qm set` a change stands as pending.
    if _PENDING.search(raw):
        return Urgency.NORMAL
    new_devices = devices(raw) - (_NO_DEVICES if known is None else known.devices)
    return Urgency.URGENT if new_devices or (is_new and _UEFI.search(_live(raw))) else Urgency.NORMAL
