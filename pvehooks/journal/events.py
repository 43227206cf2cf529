"""Journal entries: the kinds of events with their MESSAGE_ID, and how findings and deeds become entries."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pvehooks.report import words
from pvehooks.values import Finding, Guest, Severity
from pvehooks.values.digests import sha1

ERR, WARNING, NOTICE, INFO, DEBUG = 3, 4, 5, 6, 7
PRIORITIES = {Severity.BLOCK: ERR, Severity.WARNING: WARNING, Severity.INFO: INFO, Severity.UNSET: INFO}
# Made once with `systemd-id128 new` for this project: all MESSAGE_IDs are UUIDs (version 5) of names in it.
NAMESPACE = uuid.UUID("6a3d0f0e-7c0b-4b0e-9d6f-3f1b7f1c2a55")


class Kind(NamedTuple):
    """A kind of event: its name, priority, and what the journal's catalogue says of it."""

    name: str
    priority: int
    title: str
    explanation: str


class Entry(NamedTuple):
    """What is to be said, with its fields beside MESSAGE; a tuple is a field that the entry has several times."""

    message: str
    message_id: str
    priority: int
    fields: Mapping[str, str | tuple[str, ...]]


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "started", INFO, "pvehooksd watches", "The daemon has looked at all guests of this node and watches their configs from now on."
        ),
        Kind(
            "stopped",
            INFO,
            "pvehooksd ends",
            "The daemon was asked to end. Guests start as before; nothing is given an rng0 until it runs again.",
        ),
        Kind(
            "failed",
            ERR,
            "pvehooksd cannot run",
            "The message says why. Guests start as before; nothing is given an rng0 until it runs. See: systemctl status pvehooks",
        ),
        Kind(
            "first-look",
            NOTICE,
            "First look at this node",
            "Guests that are there now are warned about but given no rng0, until somebody edits them or runs `pvehooks inject --all`, unless"
            " `[rng] existing = inject`. Those with passed-through devices get the guard, which changes nothing of their hardware.",
        ),
        Kind(
            "existing",
            WARNING,
            "Old guests without entropy",
            "These guests were there before pvehooks. `pvehooks inject --all` gives them their rng0. Those that the message lists apart have to be"
            " named, `pvehooks check` says why.",
        ),
        Kind(
            "injected",
            NOTICE,
            "A guest was given an rng0",
            "The guest's config was backed up, changed and read back. `pvehooks undo VMID` takes it back; it is not given again then.",
        ),
        Kind(
            "waiting",
            INFO,
            "A change to a guest has to wait",
            "The guest is locked, or pmxcfs takes no writes now. It is tried again by itself, with growing pauses.",
        ),
        Kind(
            "not-injected",
            ERR,
            "An rng0 could not be given",
            "The message says what qm or the system answered. Nothing was changed. A refused value is not tried again until the guest or the settings change.",
        ),
        Kind(
            "not-verified",
            ERR,
            "A config is not as it should be after writing",
            "The message names the backup of the config as it was before. Compare them: `pvehooks backups VMID --diff`.",
        ),
        Kind(
            "attached",
            NOTICE,
            "The guard was attached to a guest",
            "Its hookscript is the guard's now; a former one is run by it first. `pvehooks detach VMID` takes it back; it is not attached again then.",
        ),
        Kind(
            "not-attached",
            ERR,
            "The guard could not be attached",
            "The message says what qm or the system answered. Nothing was changed. It is not tried again until the guest or the settings change.",
        ),
        Kind(
            "boot-unguarded",
            ERR,
            "A guest starts at boot without the guard",
            "The guard could not be attached before the guests are started; the message says why. It is attached as soon as that is possible.",
        ),
        Kind(
            "present-accepted",
            NOTICE,
            "What runs already is accepted",
            "The package came to this node while the guest was running: its devices and their groups as they are now are no reason to refuse it.",
        ),
        Kind("stubs-made", INFO, "Hookscripts of the guard were made", "They lie in a snippets directory, as guests' configs name them."),
        Kind(
            "stub-trouble",
            ERR,
            "A hookscript of the guard could not be made",
            "Guests whose config names it do not start on this node. The message says what stands against it.",
        ),
        Kind(
            "hookscript-absent",
            WARNING,
            "A hookscript is missing on this node",
            "A guest of another node may be moved here by high availability, and Proxmox VE would refuse to start it without its hookscript.",
        ),
        Kind(
            "nodes-lacking",
            WARNING,
            "Not all nodes have pvehooks",
            "A guest that moved to a node without the package would not find its hookscript, so none is given one by itself.",
        ),
        Kind(
            "node-lacks",
            ERR,
            "A node of the cluster lacks pvehooks",
            "Guests that have the guard may be moved there, and would not find their hookscript. Install the package on that node.",
        ),
        Kind("nodes-complete", INFO, "All nodes have pvehooks", "The guard is attached to the guests that waited for it."),
        Kind(
            "not-published",
            WARNING,
            "Figures for others could not be written",
            "What the daemon writes for monitoring or for the other nodes could not be written. Its care for guests goes on.",
        ),
        Kind(
            "findings",
            WARNING,
            "Several guests have the same finding",
            "The message says of which rule, and what that means. What is to be said of each guest is in the entry as well (PVEHOOKS_FINDINGS:"
            " journalctl -o verbose). A finding that appears later, with one or two guests, is said by itself.",
        ),
        Kind(
            "advice",
            INFO,
            "Good to know of several guests",
            "Nothing has to be done. The message names the rules; `pvehooks explain RULE` says what one means. What is to be said of each guest is"
            " in the entry as well (PVEHOOKS_FINDINGS: journalctl -o verbose).",
        ),
        Kind("findings-gone", INFO, "Findings of several guests are gone", "What was found before is not the case any more."),
        Kind("mended", INFO, "A finding is gone", "What was found before is not the case any more."),
        Kind(
            "node-mended",
            INFO,
            "A finding about the node is gone",
            "What was found before is not the case any more. See: pvehooks host check",
        ),
        Kind("settings-read", INFO, "Settings read anew", "The settings files were read and are in force."),
        Kind(
            "settings-broken",
            ERR,
            "Settings cannot be used",
            "A running daemon keeps its old settings until the files are mended; one that is being started ends. `pvehooks config` says the same.",
        ),
        Kind(
            "pmxcfs-away",
            WARNING,
            "pmxcfs does not answer",
            "/etc/pve cannot be read. The daemon waits for it. See: systemctl status pve-cluster",
        ),
        Kind("pmxcfs-back", INFO, "pmxcfs answers again", "/etc/pve can be read again; all guests were looked at anew."),
        Kind(
            "pmxcfs-stuck",
            ERR,
            "The daemon is stuck on a dead mount",
            "pmxcfs works for others but not for this process. The daemon ends so that systemd starts it afresh.",
        ),
        Kind(
            "quorum-lost",
            WARNING,
            "No quorum",
            "The cluster has no quorum: /etc/pve cannot be written. What is due is done when quorum returns. See: pvecm status",
        ),
        Kind("quorum-back", INFO, "Quorum is back", "What had to wait is done now."),
        Kind(
            "watch-limited",
            WARNING,
            "Changes are noticed late",
            "An inotify watch could not be had. Changes are noticed by the slow timer only ([watch] interval).",
        ),
        Kind(
            "watch-overflow",
            INFO,
            "Too many changes at once",
            "The kernel dropped inotify events. All guests are looked at anew, so nothing is lost.",
        ),
        Kind(
            "start-allowed",
            WARNING,
            "A start went through because a person allowed it",
            "The message says who, why, and what would have refused the start. The word is used up; `pvehooks allow` gives another one.",
        ),
        Kind(
            "start-unexamined",
            ERR,
            "A start could not be examined",
            "A file could not be read, or the look took too long; the message says which, and what became of the start ([guard] on_error).",
        ),
        Kind(
            "device-bound",
            NOTICE,
            "A device was bound to vfio-pci for a guest",
            "It was idle and not bound. It stays with vfio-pci after the guest's end; `[guard] unbound` tells whether the guard does this.",
        ),
        Kind(
            "device-not-bound",
            ERR,
            "A device could not be bound to vfio-pci",
            "The start was refused. The message says why, and which driver the device is on now.",
        ),
        Kind(
            "bound-at-boot",
            NOTICE,
            "A device is as `pvehooks bind --persist` wants it",
            "It was given to vfio-pci, or given its virtual functions, at boot or when it appeared. See: pvehooks bind --list",
        ),
        Kind(
            "not-bound-at-boot",
            ERR,
            "A device is not as `pvehooks bind --persist` wants it",
            "The message says why: another device is at its address now, it is not there, the host uses it, or the kernel refused."
            " Nothing was taken from the host. See: pvehooks bind --list",
        ),
        Kind(
            "binding-changed",
            NOTICE,
            "A person changed what a device is bound to",
            "By `pvehooks bind` or `pvehooks unbind`, at once or for every boot; the message says which, and who asked for it. See: pvehooks bind --list",
        ),
        Kind(
            "host-fixed",
            NOTICE,
            "Files of the node were mended",
            "By `pvehooks host fix`; the message says what was changed and run, and who asked for it. `pvehooks host undo` puts the files back.",
        ),
        Kind(
            "host-not-fixed",
            ERR,
            "A mend of the node was broken off",
            "The message says why, and what became of the files that `pvehooks host fix` or `pvehooks host undo` was to change.",
        ),
        Kind(
            "host-fix-undone",
            NOTICE,
            "Files of the node are as they were",
            "`pvehooks host undo` took the last fix back; the message says which files, what was run, and who asked for it.",
        ),
        Kind(
            "firmware-set",
            NOTICE,
            "A guest was given a firmware image",
            "By `pvehooks firmware set`; the message says which, and who asked for it. The guard looks at the image before each start.",
        ),
        Kind(
            "firmware-unset",
            NOTICE,
            "A guest has the node's own firmware again",
            "By `pvehooks firmware unset`; the message says which image it had, and who asked for it. The image stays in its storage.",
        ),
        Kind(
            "firmware-migrated",
            NOTICE,
            "A guest's firmware image was handed over to Proxmox VE",
            "By `pvehooks firmware migrate`: the image stands in Proxmox VE's own option now, and no more in the guest's args.",
        ),
        Kind(
            "firmware-imported",
            NOTICE,
            "A firmware image was put into a storage",
            "By `pvehooks firmware import`; the message says from which file, and who asked for it. No guest starts with it yet.",
        ),
        Kind(
            "firmware-removed",
            NOTICE,
            "A firmware image was deleted",
            "By `pvehooks firmware remove`; no guest and no snapshot named it. The message says who asked for it.",
        ),
        Kind(
            "firmware-not-changed",
            ERR,
            "A change of a guest's firmware was broken off",
            "The guest's args were written and are not as they should be; the message names the backup of the config as it was before.",
        ),
        Kind(
            "guard-bug",
            ERR,
            "A bug in the guard of pvehooks",
            "Please report it with the traceback (journalctl -o verbose). `[guard] on_error` decides what becomes of the start.",
        ),
        Kind(
            "bug",
            ERR,
            "A bug in pvehooks",
            "Please report it with the traceback (journalctl -o verbose). The daemon goes on; the guest is looked at again at its next change.",
        ),
    )
}


def message_id(name: str) -> str:
    """The MESSAGE_ID of an event kind, or of a rule's findings ("finding/RULE")."""
    # uuid.uuid5(NAMESPACE, name), without hashlib.
    return uuid.UUID(bytes=sha1(NAMESPACE.bytes + name.encode())[:16], version=5).hex


def event(kind: str, message: str, node: str, guest: Guest | None = None, vmid: int = 0, **fields: str) -> Entry:
    """An entry of one of the kinds; a guest's name is put in front of its message, and an empty field is left out."""
    described = KINDS[kind]
    every: dict[str, str | tuple[str, ...]] = {"PVEHOOKS_EVENT": kind, "PVEHOOKS_NODE": node}
    every |= {f"PVEHOOKS_{name.upper()}": value for name, value in fields.items() if value}
    if guest is not None:
        message = words.of_guest(guest, message)
        vmid = guest.vmid
    if vmid:
        every["PVEHOOKS_VMID"] = str(vmid)
    return Entry(message, message_id(kind), described.priority, every)


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
    message = words.of_guest(guest, words.sentence(found))
    return Entry(message, message_id(f"finding/{found.rule}"), PRIORITIES[found.severity], fields)


def node_finding(node: str, found: Finding) -> Entry:
    """The entry of a finding about the node itself, which appeared or changed; it has no VMID."""
    fields = {"PVEHOOKS_EVENT": "finding", "PVEHOOKS_NODE": node, "PVEHOOKS_RULE": found.rule, "PVEHOOKS_DEVICE": found.subject}
    about = "" if found.subject.lower() in found.message.lower() else f"{found.subject}: "
    message = f"node {node}: {about}{words.sentence(found)}"
    return Entry(message, message_id(f"finding/{found.rule}"), PRIORITIES[found.severity], fields)
