"""Journal entries: how events and findings become one, with its MESSAGE_ID and fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks import wording
from pvehooks.journal.events import KINDS
from pvehooks.journal.kind import ERR, INFO, WARNING
from pvehooks.values import Finding, Guest, Severity
from pvehooks.values.base import NamedTuple, sha1

PRIORITIES = {Severity.BLOCK: ERR, Severity.WARNING: WARNING, Severity.INFO: INFO, Severity.UNSET: INFO}
# Made once with `systemd-id128 new` for this project: all MESSAGE_IDs are UUIDs (version 5) of names in it.
NAMESPACE = bytes.fromhex("6a3d0f0e7c0b4b0e9d6f3f1b7f1c2a55")


class Entry(NamedTuple):
    """A message with its fields beside MESSAGE; a tuple is a field that the entry has several times."""

    message: str
    message_id: str
    priority: int
    fields: Mapping[str, str | tuple[str, ...]]
    # As in Kind.
    notify: str = ""


def message_id(name: str) -> str:
    """The MESSAGE_ID of an event kind, or of a rule's findings ("finding/RULE")."""
    # uuid.uuid5() without the uuid module and what that imports; the version and the variant are bits of RFC 9562.
    number = int.from_bytes(sha1(NAMESPACE + name.encode())[:16], "big")
    return f"{number & ~(0xF << 76) & ~(0x3 << 62) | 5 << 76 | 2 << 62:032x}"


def event(kind: str, message: str, node: str, guest: Guest | None = None, vmid: int = 0, **fields: str) -> Entry:
    """An entry of one of the kinds; a guest's name is put in front of its message; an empty field is left out."""
    described = KINDS[kind]
    every: dict[str, str | tuple[str, ...]] = {"PVEHOOKS_EVENT": kind, "PVEHOOKS_NODE": node}
    every |= {f"PVEHOOKS_{name.upper()}": value for name, value in fields.items() if value}
    if guest is not None:
        message = wording.of_guest(guest, message)
        vmid = guest.vmid
    if vmid:
        every["PVEHOOKS_VMID"] = str(vmid)
    return Entry(message, message_id(kind), described.priority, every, described.notify)


def of_guests(kind: str, message: str, node: str, vmids: Iterable[int], **fields: str | tuple[str, ...]) -> Entry:
    """An entry on several guests: it has PVEHOOKS_VMID once for each, so that it is found by any of them."""
    every: dict[str, str | tuple[str, ...]] = {"PVEHOOKS_EVENT": kind, "PVEHOOKS_NODE": node}
    every |= {f"PVEHOOKS_{name.upper()}": value for name, value in fields.items()}
    every["PVEHOOKS_VMID"] = tuple(map(str, vmids))
    return Entry(message, message_id(kind), KINDS[kind].priority, every)


def finding(guest: Guest, found: Finding, verdict: str) -> Entry:
    """The entry of a finding that appeared or changed."""
    fields = {
        "PVEHOOKS_EVENT": "finding",
        "PVEHOOKS_NODE": guest.node,
        "PVEHOOKS_VMID": str(guest.vmid),
        "PVEHOOKS_RULE": found.rule,
        "PVEHOOKS_DEVICE": found.subject,
        "PVEHOOKS_VERDICT": verdict,
    }
    message = wording.of_guest(guest, wording.sentence(found))
    return Entry(message, message_id(f"finding/{found.rule}"), PRIORITIES[found.severity], fields)


def node_finding(node: str, found: Finding) -> Entry:
    """The entry of a finding about the node itself, which appeared or changed; it has no VMID."""
    fields = {"PVEHOOKS_EVENT": "finding", "PVEHOOKS_NODE": node, "PVEHOOKS_RULE": found.rule, "PVEHOOKS_DEVICE": found.subject}
    about = "" if found.subject.lower() in found.message.lower() else f"{found.subject}: "
    message = f"node {node}: {about}{wording.sentence(found)}"
    return Entry(message, message_id(f"finding/{found.rule}"), PRIORITIES[found.severity], fields)
