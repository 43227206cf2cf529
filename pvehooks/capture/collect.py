"""From a recording to the files of a capture: only what was read, nothing that is secret, nothing that is endless."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pvehooks.capturing import places, secrets
from pvehooks.capturing.recorder import Recording, Thing, joined
from pvehooks.records import baseline
from pvehooks.text import guestconfig

# What one file, and all of them, may have; a node has about 10 MiB.
LARGEST = 8 << 20
_COMMON = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/fuse"))
_FD = re.compile(r"/proc/[0-9]+/fd/[^/]+")
_PROCESS = re.compile(r"/proc/[0-9]+")
_OF_PROCESS = re.compile(r"(/proc/[0-9]+)/(fd/|cmdline$|mountinfo$|mounts$|net/)")
_IMAGE = re.compile(r"/efi-firmware/[^/]+$")
_IDS = re.compile(r".*/pci\.ids(?:\.gz)?")
_SYSFS_ID = re.compile(r"/sys/devices/.*/(vendor|device|subsystem_vendor|subsystem_device)")


class Taken(NamedTuple):
    """The files of a capture, by their real path; the SHA sums of contents that are others now, and notes for the manifest."""

    things: dict[str, Thing]
    digests: dict[str, str]
    notes: list[str]


def taken(recording: Recording) -> Taken:
    """What is taken of a recording: contents without secrets, open files without those that are no devices."""
    things = {path: thing for path, thing in recording.things.items() if not secrets.is_private(path)}
    notes = [f"left out, it is private: {path}" for path in recording.things if path not in things]
    things = _renamed_nodes(recording, things)
    things = _without_idle_processes(things)
    digests: dict[str, str] = {}
    wanted = _wanted_ids(things)
    found = {}
    for path, thing in things.items():
        found[path] = thing if thing.kind != "file" else Thing("file", _content(path, thing.content or b"", wanted, notes))
        _note_digests(thing.content, found[path].content, digests)
    for path in filter(places.is_first_look, things):
        content = found[path].content
        if content:
            found[path] = Thing("file", refreshed(content, things, lambda path, _: found[path].content or b""))
    return Taken(found, digests, notes)


def _content(path: str, raw: bytes, wanted: frozenset[int], notes: list[str]) -> bytes:
    if _IMAGE.search(path):
        return b"the firmware image with the sha256 " + hashlib.sha256(raw).hexdigest()[:16].encode() + b"\n" if raw else raw
    if _IDS.fullmatch(path):
        return _only_ids(raw, wanted)
    if len(raw) > LARGEST:
        notes.append(f"left empty, it is too large ({len(raw) >> 20} MiB): {path}")
        return b""
    return secrets.reduced(path, raw)


def _note_digests(before: bytes | None, now: bytes | None, digests: dict[str, str]) -> None:
    """Records name firmware images and configs by their digests."""
    if before and now is not None and before != now:
        digests[hashlib.sha256(before).hexdigest()] = hashlib.sha256(now).hexdigest()
        old = hashlib.sha1(before, usedforsecurity=False).hexdigest()
        digests[old] = hashlib.sha1(now, usedforsecurity=False).hexdigest()


def refreshed(raw: bytes, before: Mapping[str, Thing], now: Callable[[str, bytes], bytes]) -> bytes:
    """A first look with the fingerprints of the guests' configs as `now` makes them."""
    try:
        document = json.loads(raw)
        # Some with the time when they were noted.
        guests = {vmid: value if isinstance(value, list) else [value] for vmid, value in document["guests"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return raw
    for path, thing in before.items():
        vmid = path.rpartition("/")[2].removesuffix(".conf")
        if places.is_guest(path) and "/lxc/" not in path and thing.content and vmid in guests:
            if guests[vmid][:1] == [baseline.fingerprint(guestconfig.parse(thing.content))]:
                guests[vmid][0] = baseline.fingerprint(guestconfig.parse(now(path, thing.content)))
    noted = {vmid: value if len(value) > 1 else value[0] for vmid, value in guests.items() if value}
    return json.dumps({**document, "guests": noted}, separators=(",", ":"), sort_keys=True).encode() + b"\n"


# -- processes --------------------------------------------------------------------------------------------------------


def _renamed_nodes(recording: Recording, things: dict[str, Thing]) -> dict[str, Thing]:
    """Open files: only device nodes; on the node they are known by number, in a tree by the name that was asked for."""
    by_number = {number: path for path, number in recording.numbers.items() if path.startswith("/dev/")}
    found = {}
    for path, thing in things.items():
        if not _FD.fullmatch(path):
            found[path] = thing
            continue
        number = recording.numbers.get(path)
        target = by_number.get(number, thing.text) if number else thing.text
        if target.startswith("/dev/") and target not in _COMMON and not target.startswith("/dev/pts/"):
            found[path] = Thing("link", None, target)
    return found


def _without_idle_processes(things: dict[str, Thing]) -> dict[str, Thing]:
    """Without the processes of which nothing is told: their names and numbers are nobody's business."""
    told = {match[1] for path, thing in things.items() if thing.kind != "dir" and (match := _OF_PROCESS.match(path))}
    linked = {joined("/proc", thing.text) for path, thing in things.items() if path in ("/proc/self", "/proc/thread-self")}
    told |= {path for path in linked if joined(path, "net") in things}
    kept = {}
    for path, thing in things.items():
        match = _PROCESS.match(path)
        if match is None or (match[0] in told and not path.endswith("/stat")):
            kept[path] = thing
    return kept


# -- the names of devices ---------------------------------------------------------------------------------------------


def _wanted_ids(things: dict[str, Thing]) -> frozenset[int]:
    """The vendors and devices that the node has."""
    found = set()
    for path, thing in things.items():
        if thing.content and _SYSFS_ID.fullmatch(path):
            try:
                found.add(int(thing.content, 16))
            except ValueError:
                continue
    return frozenset(found)


def _only_ids(raw: bytes, wanted: frozenset[int]) -> bytes:
    """Of the list of all devices those that are there, and all classes."""
    kept = []
    vendor = classes = False
    for line in raw.splitlines(keepends=True):
        if line[:1] not in (b"\t", b"#", b"\n"):
            classes = line.startswith(b"C ")
            vendor = not classes and _number(line[:4]) in wanted
            if vendor or classes:
                kept.append(line)
        elif line[:1] == b"\t" and (classes or (vendor and line[1:2] != b"\t" and _number(line[1:5]) in wanted)):
            kept.append(line)
    return b"".join(kept)


def _number(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        return -1
