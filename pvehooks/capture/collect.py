"""Collects a capture: a look at all that the rules read, and then, of what was recorded meanwhile, the files that go into it.

Only what was read, nothing that is secret, nothing that is endless.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from pvehooks.capture.record import LARGEST, Recording, Thing, joined
from pvehooks.capture.redact import places, secrets
from pvehooks.capture.redact.homes import NamedInHomes
from pvehooks.capture.redact.rewriting import refreshed
from pvehooks.derived import groups
from pvehooks.derived.candidates import candidates, described
from pvehooks.errors import PvehooksError
from pvehooks.facts import hardware, nextboot
from pvehooks.facts.cluster import members, pmxcfs, summaries
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.node import release as pve_release
from pvehooks.facts.node import tasks
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.storage import storages
from pvehooks.formats import firmwaredrivers
from pvehooks.host import Host
from pvehooks.judge import judge, with_configured_severity
from pvehooks.records import baseline
from pvehooks.rules import catalogue, of_node
from pvehooks.settings.effective import Settings
from pvehooks.settings.load import checked
from pvehooks.values import Finding, Guest, Unread
from pvehooks.values.base import fact_names

_ABOUT_DEVICES = (
    *("uevent", "modalias", "resource", "enable", "power_state", "revision", "irq"),
    *("sriov_totalvfs", "sriov_numvfs", "sriov_drivers_autoprobe"),
)
# What no rule asks for, and a person who reads a report does.
FURTHER = (
    *(
        "/etc/debian_version",
        pve_release.PATH,
        "/etc/pve/.version",
        "/etc/pve/.vmlist",
        "/etc/pve/.members",
        "/etc/pve/local",
        "/etc/hostname",
    ),
    *("/proc/sys/kernel/osrelease", "/proc/cmdline", "/proc/interrupts", "/proc/iomem", "/proc/meminfo", "/proc/swaps"),
    *(f"/sys/class/dmi/id/{name}" for name in ("board_vendor", "board_name", "product_name", "bios_vendor", "bios_version", "bios_date")),
)
# Of so many VMs whose last start failed; of Proxmox VE's index of tasks so many starts.
_FAILED_STARTS, _STARTS = 10, 200
_COMMON = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/fuse"))
_FD = re.compile(r"/proc/[0-9]+/fd/[^/]+")
_PROCESS = re.compile(r"/proc/[0-9]+")
_OF_PROCESS = re.compile(r"(/proc/[0-9]+)/(fd/|cmdline$|mountinfo$|mounts$|net/)")
_IMAGE = re.compile(r"/efi-firmware/[^/]+$")
_IDS = re.compile(r".*/pci\.ids(?:\.gz)?")
_SYSFS_ID = re.compile(r"/sys/devices/.*/(vendor|device|subsystem_vendor|subsystem_device)")


# -- the look ---------------------------------------------------------------------------------------------------------


class LookResult(NamedTuple):
    """What came of the look: the findings (those of the node without a VMID), what `host check` says beside them, and what went wrong."""

    findings: tuple[tuple[int, Finding], ...]
    troubles: tuple[str, ...]
    passed: tuple[str, ...] = ()


class _Collection:
    """One look; a step that fails is noted, and those after it are made all the same: broken nodes are what captures are for."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.name = node
        self.node = hardware.gather(host, node)
        self.findings: list[tuple[int, Finding]] = []
        self.troubles: list[str] = []
        self.passed: list[str] = []
        self.settings: Settings | None = None

    def step(self, what: str, look: Callable[[], object]) -> None:
        """Does it, and notes what it ends with."""
        try:
            look()
        except (PvehooksError, OSError) as error:
            self.troubles.append(f"{what}: {error}")
        except Exception as bug:  # noqa: BLE001 - what a bug of ours needs is a capture
            self.troubles.append(f"{what}: {type(bug).__name__}: {bug}")

    def everything(self) -> LookResult:
        """All steps."""
        self.step("the settings", self._settings)
        self.step("the VMs", self._guests)
        self.step("the node's facts", lambda: self._ask(self.node))
        self.step("the node", self._node)
        self.step("the devices", self._devices)
        self.step("the groups", lambda: groups.groups(self.node))
        self.step("host check", self._host_check)
        self.step("the next boot", self._next_boot)
        self.step("bindings", lambda: (bindings.all_noted(self.host), bindings.driverctl(self.host)))
        self.step("snippets", lambda: storages.local_snippets(self.host, self.name))
        self.step("the cluster", self._cluster)
        self.step("failed starts", self._failed_starts)
        for path in FURTHER:
            self._further(path)
        return LookResult(tuple(self.findings), tuple(self.troubles), tuple(self.passed))

    def _settings(self) -> None:
        self.settings = checked(self.host, catalogue.RULES)

    def _guests(self) -> None:
        guest_context = guests.gather_context(self.host, self.name, baseline.read(self.host, self.name))
        for vmid in node_facts.guest_ids(self.host, self.name):
            guest = guests.read(self.host, self.name, vmid, guest_context)
            self.step(f"VM {vmid}", lambda guest=guest: self._guest(guest))  # type: ignore[misc]
            self.step(f"VM {vmid}", lambda guest=guest: self._ask(guest))  # type: ignore[misc]

    def _guest(self, guest: Guest) -> None:
        found = catalogue.findings(guest, self.node)
        if self.settings is not None:
            found = tuple(item.finding for item in judge(guest, found, self.settings).findings)
        self.findings += ((guest.vmid, finding) for finding in found)

    def _node(self) -> None:
        severities = self.settings.severities if self.settings else {}
        self.findings += ((0, with_configured_severity(finding, severities, "bind")) for finding in of_node.findings_of_node(self.node))

    def _host_check(self) -> None:
        self.passed += filter(None, (line.passed(self.node) for line in of_node.CHECK_LINES))
        self.passed += (" ".join((each.device.label, *described(each, self.node))) for each in candidates(self.node))

    def _next_boot(self) -> None:
        """The node with the kernel of the next boot, and with the running one."""
        running = self.node.kernel_release
        for release in dict.fromkeys(("", "" if isinstance(running, Unread) else running)):
            node = nextboot.gather(self.host, self.name, release)
            if isinstance(node, Unread):
                continue
            found = [*of_node.losses_at_next_boot(node)]
            for guest in () if isinstance(self.node.guests, Unread) else self.node.guests:
                found += catalogue.findings_at_next_boot(guest, node) if guest.passes_through else ()
            self.passed += (f"{finding.rule} {finding.message}" for finding in found)
            if not isinstance(node.pci, Unread) and not isinstance(drivers := node.boot_drivers, Unread):
                for address in node.pci:
                    drivers.of(address)
            self._ask(node)

    def _devices(self) -> None:
        pci, uses = self.node.pci, self.node.uses
        for device in () if isinstance(pci, Unread) else pci.values():
            self.step(device.address, lambda device=device: self._ask(device))  # type: ignore[misc]
            self.step(device.address, lambda device=device: identity.of(self.host, device))  # type: ignore[misc]
            if not isinstance(uses, Unread):
                self.step(device.address, lambda device=device: uses.of(device))  # type: ignore[misc]
            for name in _ABOUT_DEVICES:
                self._further(f"/sys/bus/pci/devices/{device.address}/{name}")

    def _cluster(self) -> None:
        members.members(self.host, self.name)
        summaries.standings(self.host, self.name)
        pmxcfs.version(self.host)
        pmxcfs.quorate(self.host)
        pmxcfs.guests(self.host)

    def _failed_starts(self) -> None:
        """What `pvehooks why` reads of the latest of them."""
        ended = tasks.ended(self.host)
        for task in () if isinstance(ended, Unread) else islice(tasks.starts_that_failed(ended), _FAILED_STARTS):
            tasks.failed_start(self.host, task)

    def _ask(self, value: object) -> None:
        """All that can be known of a node, a guest or a device."""
        for name in fact_names(type(value)):
            self.step(name, lambda name=name: getattr(value, name))  # type: ignore[misc]

    def _further(self, path: str) -> None:
        try:
            self.host.read(path)
        except OSError:
            return


def at_everything(host: Host, node: str) -> LookResult:
    """Looks at the node; nothing raises."""
    return _Collection(host, node).everything()


# -- its files ---------------------------------------------------------------------------------------------------------


class Collected(NamedTuple):
    """The files of a capture, by their real path; the SHA sums of contents that are others now, and notes for the manifest."""

    things: dict[str, Thing]
    digests: dict[str, str]
    notes: list[str]


def files_of(recording: Recording) -> Collected:
    """What is taken of a recording: contents without secrets, open files without those that are no devices."""
    homes = NamedInHomes(recording.things)
    things = {path: thing for path, thing in recording.things.items() if not secrets.is_private(path) and homes.is_shown(path)}
    notes = [f"left out, it is private: {path}" for path in recording.things if path not in things]
    things = _renamed_nodes(recording, things)
    things = _without_idle_processes(things)
    digests: dict[str, str] = {}
    wanted = _wanted_ids(things)
    found = {}
    for path, thing in things.items():
        found[path] = thing if thing.kind != "file" else Thing("file", _content(path, thing.content or b"", wanted, homes, notes))
        _note_digests(thing.content, found[path].content, digests)
    for path in filter(places.is_baseline, things):
        content = found[path].content
        if content:
            found[path] = Thing("file", refreshed(content, things, lambda path, _: found[path].content or b""))
    return Collected(found, digests, notes)


def _content(path: str, raw: bytes, wanted: frozenset[int], homes: NamedInHomes, notes: list[str]) -> bytes:
    if _IMAGE.search(path):
        named = b"the firmware image with the sha256 " + hashlib.sha256(raw).hexdigest()[:16].encode() + b"\n"
        return named + firmwaredrivers.essence(raw) if raw else raw
    if _IDS.fullmatch(path):
        return _only_ids(raw, wanted)
    in_home = secrets.is_in_home(path) and not homes.is_of_storage(path)
    if in_home or (firmwaredrivers.is_image(raw) and not path.startswith("/usr/share/")):
        return firmwaredrivers.essence(raw)
    if tasks.is_index(path):
        raw = b"".join([line for line in re.findall(rb"[^\n]*\n|[^\n]+", raw) if tasks.is_start_line(line)][-_STARTS:])
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
    """Without the processes of which nothing was read: not even their names and numbers go into a capture."""
    read = {match[1] for path, thing in things.items() if thing.kind != "dir" and (match := _OF_PROCESS.match(path))}
    linked = {joined("/proc", thing.text) for path, thing in things.items() if path in ("/proc/self", "/proc/thread-self")}
    read |= {path for path in linked if joined(path, "net") in things}
    kept = {}
    for path, thing in things.items():
        match = _PROCESS.match(path)
        if match is None or (match[0] in read and not path.endswith("/stat")):
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
    for line in secrets.lines(raw):
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
