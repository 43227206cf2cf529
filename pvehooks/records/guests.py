"""The record of each guest, in pmxcfs so that it follows the guest: /etc/pve/pvehooks/guests/<vmid>.json.

pmxcfs replicates and syncs every write on every node, so a record is small and written only when it changes.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType

from pvehooks import records
from pvehooks.errors import NodeError, PmxcfsAway
from pvehooks.values import Accepted, AdminsRng, Allowance, Attachment, GivenTag, KnownDevice
from pvehooks.values.base import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from pvehooks.host import Host, Lock
    from pvehooks.values.images import PinnedFirmware

    Part = TypeVar("Part")

DIRECTORY = f"{records.PVE}/pvehooks/guests"
LOCKS = "/run/pvehooks/locks"
VERSION = 1

_MAX_BYTES = 1 << 16
_LOCK_WAIT = 5.0
_NAME = r"([1-9][0-9]{2,8})\.json"
_STATES = ("writing", "done")
_NOTHING: Mapping[str, object] = MappingProxyType({})


class Identity(NamedTuple):
    """What distinguishes a guest from another one of the same VMID: smbios1's uuid, and meta's ctime in epoch seconds."""

    uuid: str | None
    ctime: int | None

    def same_guest(self, other: Identity) -> bool:
        """Whether both are the same guest: something known of both is equal and nothing differs; or nothing is known of either."""
        ours = (self.uuid and self.uuid.lower(), self.ctime)
        theirs = (other.uuid and other.uuid.lower(), other.ctime)
        both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
        return all(a == b for a, b in both) if both else ours == theirs


class RngRecord(NamedTuple):
    """An rng0 of ours."""

    # Its property string.
    value: str
    # 'writing' before and 'done' after the write.
    state: str
    # The config's SHA-1 before the write.
    digest_before: str
    # Epoch seconds.
    when: int
    node: str
    # Keys of a newer version.
    more: Mapping[str, object] = _NOTHING


_NOTHING_ACCEPTED: Mapping[str, Accepted] = MappingProxyType({})


class Record(NamedTuple):
    """A guest's record."""

    identity: Identity
    rng0: RngRecord | None = None
    version: int = VERSION
    # Keys of a newer version.
    more: Mapping[str, object] = _NOTHING
    # A phrase about the parts of the file that could not be used, '' if none; these parts are missing.
    broken: str = ""
    # By node: addresses and groups differ between nodes.
    accepted: Mapping[str, Accepted] = _NOTHING_ACCEPTED
    allowance: Allowance | None = None
    attachment: Attachment | None = None
    firmware: PinnedFirmware | None = None
    admins_rng0: AdminsRng | None = None
    tag: GivenTag | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        parts = (self.rng0, self.accepted, self.allowance, self.attachment, self.firmware, self.admins_rng0, self.tag, self.more)
        return not any(parts)

    def with_rng0(self, rng0: RngRecord | None) -> Record:
        """The record with that rng0; keys of a newer version are kept if the value is unchanged."""
        if rng0 is not None and self.rng0 is not None and self.rng0.value == rng0.value:
            rng0 = rng0._replace(more={**self.rng0.more, **rng0.more})
        return self._replace(rng0=rng0)

    def with_override_used_up(self) -> Record:
        """The record without its override; raises NodeError if it has none any more."""
        if self.allowance is None:
            raise NodeError("it was used up by another start, or cancelled, at the same time")
        return self._replace(allowance=None)

    def with_accepted(self, node: str, accepted: Accepted | None) -> Record:
        """The record with the accepted start of that node, or without it (None)."""
        others = {name: each for name, each in self.accepted.items() if name != node}
        return self._replace(accepted=others if accepted is None else {**others, node: accepted})


class _Broken(Exception):
    pass


def path(vmid: int) -> str:
    """The file of a guest's record."""
    return f"{DIRECTORY}/{vmid}.json"


def lock(host: Host, vmid: int, timeout: float) -> Lock:
    """The node's lock for a guest's record, waited for at most `timeout` seconds (then BlockingIOError); see Host.lock."""
    return host.lock(f"{LOCKS}/{vmid}.lock", timeout)


def forget_lock(host: Host, vmid: int) -> None:
    """Removes the lock's file of a guest that no node has, unless another process holds it."""
    file = f"{LOCKS}/{vmid}.lock"
    if not host.exists(file):
        return
    try:
        with lock(host, vmid, 0.0):
            host.remove(file)
    except OSError:
        return


def locked_vmids(host: Host) -> frozenset[int]:
    """The VMIDs whose lock has a file."""
    try:
        names = host.names(LOCKS)
    except OSError:
        return frozenset()
    return frozenset(int(match[1]) for name in names if (match := re.fullmatch(r"([1-9][0-9]{2,8})\.lock", name, re.ASCII)))


def read_raw(host: Host, vmid: int) -> bytes | None:
    """The bytes of a guest's record, None if there is none. Raises PmxcfsAway."""
    return records.read(host, path(vmid), _MAX_BYTES)


def read(host: Host, vmid: int, identity: Identity) -> Record | None:
    """The guest's record, as of_guest(). Raises PmxcfsAway."""
    return of_guest(vmid, identity, read_raw(host, vmid))


def of_guest(vmid: int, identity: Identity, content: bytes | None) -> Record | None:
    """The record in these bytes; None if there are none or it is another guest's. Broken ones give an empty Record with `broken`."""
    if content is None:
        return None
    try:
        record = _parsed(content)
    except _Broken as broken:
        return Record(identity, broken=f"{path(vmid)} {broken}")
    if record.broken:
        record = record._replace(broken=f"{path(vmid)} {record.broken}")
    return record if record.identity.same_guest(identity) else None


def write(host: Host, vmid: int, record: Record) -> bool:
    """Writes the record if it differs from the file; returns whether it did. Raises PmxcfsAway."""
    return records.write(host, path(vmid), _content(record), _MAX_BYTES)


def update(host: Host, vmid: int, identity: Identity, change: Callable[[Record], Record], wait: float = _LOCK_WAIT) -> bool:
    """Changes the guest's record; returns whether something was written.

    `change` gets an empty one if there is none; an empty result removes the file. Holds the guest's lock, waits for it at most `wait` seconds. Raises PmxcfsAway.
    """
    try:
        with lock(host, vmid, wait):
            record = read(host, vmid, identity)
            changed = change(Record(identity) if record is None else record._replace(identity=identity))
            if changed.empty:
                return record is not None and forget(host, vmid)
            return write(host, vmid, changed)
    except BlockingIOError as error:
        raise PmxcfsAway(f"another process holds the lock of VM {vmid}'s record") from error
    except OSError as error:
        raise PmxcfsAway(f"{LOCKS}/{vmid}.lock: {error.strerror or error}", hint="Run it as root.") from error


def forget(host: Host, vmid: int) -> bool:
    """Removes the guest's record; whether there was one. Raises PmxcfsAway."""
    if vmid not in known_vmids(host):
        return False
    records.remove(host, path(vmid))
    return True


def known_vmids(host: Host) -> frozenset[int]:
    """The VMIDs that have a record, by one listing of the directory. Raises PmxcfsAway."""
    return frozenset(int(match[1]) for name in records.names(host, DIRECTORY) if (match := re.fullmatch(_NAME, name)))


def remove_unfinished(host: Host, is_ours: Callable[[int], bool]) -> None:
    """Removes what is left of interrupted writes of the records of guests that are `is_ours`. Raises PmxcfsAway."""
    records.remove_unfinished(host, DIRECTORY, lambda name: (match := re.fullmatch(_NAME, name)) is not None and is_ours(int(match[1])))


# -- the file's content -----------------------------------------------------------------------------------------------


def _parsed(content: bytes) -> Record:
    if len(content) > _MAX_BYTES:
        raise _Broken("is larger than any record")
    document = records.load_object(content)
    if document is None:
        raise _Broken("is empty" if not content.strip() else "is no JSON object")
    version = _number(document.pop("version", None), "version")
    identity = Identity(_optional_text(document, "uuid"), _optional_number(document, "ctime"))
    troubles: list[str] = []
    return Record(
        identity,
        _part(document, "rng0", _rng0, troubles),
        version,
        accepted=_part(document, "accepted", _accepted_by_node, troubles) or _NOTHING_ACCEPTED,
        allowance=_part(document, "allowance", _allowance, troubles),
        attachment=_part(document, "attachment", _attachment, troubles),
        firmware=_part(document, "firmware", _firmware, troubles),
        admins_rng0=_part(document, "admins_rng0", _admins_rng, troubles),
        tag=_part(document, "tag", _tag, troubles),
        more=document,
        broken="; ".join(troubles),
    )


def _part(document: dict[str, object], key: str, parse: Callable[[dict[str, object]], Part], troubles: list[str]) -> Part | None:
    """Removes a part of the record from the document and parses it; an unreadable part does not affect the others."""
    part = document.pop(key, None)
    if part is None:
        return None
    try:
        if isinstance(part, dict):
            return parse(part)
        raise _Broken("is no JSON object")
    except _Broken as broken:
        troubles.append(f"has an unusable part: {key} {broken}")
        return None


def _rng0(document: dict[str, object]) -> RngRecord:
    value, state, digest, node = (_text(document.pop(key, None), key) for key in ("value", "state", "digest_before", "node"))
    if state not in _STATES:
        raise _Broken(f"has an unknown state '{state[:20]}'")
    return RngRecord(value, state, digest, _number(document.pop("when", None), "when"), node, document)


def _accepted_by_node(document: dict[str, object]) -> dict[str, Accepted]:
    return {node: _accepted(_object(part, node)) for node, part in document.items()}


def _accepted(document: dict[str, object]) -> Accepted:
    hostpci = {option: _text(value, option) for option, value in _object(document.get("hostpci"), "hostpci").items()}
    devices = {address: _device(_object(value, address)) for address, value in _object(document.get("devices"), "devices").items()}
    members = document.get("members")
    if not isinstance(members, list):
        raise _Broken("has no usable 'members'")
    kernel = _text(document.get("kernel", ""), "kernel")
    return Accepted(hostpci, devices, frozenset(_text(member, "members") for member in members), kernel)


def _device(document: dict[str, object]) -> KnownDevice:
    vendor, _, device = _text(document.get("id", ""), "id").partition(":")
    return KnownDevice(
        _hex(vendor), _hex(device), _hex(_text(document.get("class", ""), "class")), _text(document.get("serial", ""), "serial")
    )


def _hex(digits: str) -> int:
    """A number of a device, -1 if it could not be read when it was recorded."""
    try:
        return int(digits, 16) if digits else -1
    except ValueError:
        raise _Broken(f"has no number '{digits[:20]}'") from None


def _allowance(document: dict[str, object]) -> Allowance:
    return Allowance(_text(document.get("reason"), "reason"), _text(document.get("by"), "by"), _number(document.get("when"), "when"))


def _attachment(document: dict[str, object]) -> Attachment:
    volid, former = (_text(document.get(key), key) for key in ("volid", "former"))
    return Attachment(volid, former, _number(document.get("when"), "when"), document.get("kept") is True)


def _admins_rng(document: dict[str, object]) -> AdminsRng:
    return AdminsRng(_text(document.get("value"), "value"), _number(document.get("when"), "when"))


def _tag(document: dict[str, object]) -> GivenTag:
    value, state = (_text(document.get(key), key) for key in ("value", "state"))
    if state not in _STATES:
        raise _Broken(f"has an unknown state '{state[:20]}'")
    return GivenTag(value, state, _number(document.get("when"), "when"))


def _firmware(document: dict[str, object]) -> PinnedFirmware:
    from pvehooks.values.images import PinnedFirmware

    volid, sha256, style, args, node, state = (
        _text(document.get(key), key) for key in ("volid", "sha256", "style", "args", "node", "state")
    )
    if state not in _STATES:
        raise _Broken(f"has an unknown state '{state[:20]}'")
    return PinnedFirmware(volid, sha256, style, args, _number(document.get("when"), "when"), node, state)


def _content(record: Record) -> bytes:
    document: dict[str, object] = {**record.more, "version": record.version}
    document.update(uuid=record.identity.uuid, ctime=record.identity.ctime)
    if record.rng0 is not None:
        known = record.rng0._asdict()
        document["rng0"] = {**known.pop("more"), **known}
    if record.accepted:
        document["accepted"] = {node: _accepted_json(accepted) for node, accepted in record.accepted.items()}
    if record.allowance is not None:
        document["allowance"] = record.allowance._asdict()
    if record.attachment is not None:
        attachment = record.attachment._asdict()
        document["attachment"] = attachment if attachment.pop("kept") is False else {**attachment, "kept": True}
    if record.firmware is not None:
        document["firmware"] = record.firmware._asdict()
    if record.admins_rng0 is not None:
        document["admins_rng0"] = record.admins_rng0._asdict()
    if record.tag is not None:
        document["tag"] = record.tag._asdict()
    return json.dumps(document, sort_keys=True).encode() + b"\n"


def _accepted_json(accepted: Accepted) -> dict[str, object]:
    devices = {address: _device_json(device) for address, device in accepted.devices.items()}
    kernel = {"kernel": accepted.kernel} if accepted.kernel else {}
    return {"hostpci": dict(accepted.hostpci), "devices": devices, "members": sorted(accepted.members), **kernel}


def _device_json(device: KnownDevice) -> dict[str, str]:
    written = {"serial": device.serial} if device.serial else {}
    if device.vendor >= 0 and device.device >= 0:
        written["id"] = f"{device.vendor:04x}:{device.device:04x}"
    if device.class_code >= 0:
        written["class"] = f"{device.class_code:06x}"
    return written


def _object(value: object, key: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _Broken(f"has no usable '{key}'")
    return value


def _text(value: object, key: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise _Broken(f"has no usable '{key}'")
    return value


def _number(value: object, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < records.MAX_NUMBER:
        raise _Broken(f"has no usable '{key}'")
    return value


def _optional_text(document: dict[str, object], key: str) -> str | None:
    value = document.pop(key, None)
    return None if value is None else _text(value, key)


def _optional_number(document: dict[str, object], key: str) -> int | None:
    value = document.pop(key, None)
    return None if value is None else _number(value, key)
