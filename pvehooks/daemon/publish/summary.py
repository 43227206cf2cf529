"""This node's summary in pmxcfs: what the other nodes may know of it, for `status --cluster` and `check --target`.

pmxcfs replicates and syncs every write on every node, so it is written only when it says something else than before, at most once a
minute, and once an hour, so that a silent node is known as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pvehooks import __version__, records
from pvehooks.daemon.publish import details
from pvehooks.daemon.stats import CountedFinding, Stats
from pvehooks.derived.passthrough import on_host_driver
from pvehooks.errors import PmxcfsAway
from pvehooks.facts import hardware
from pvehooks.facts.cluster import summaries
from pvehooks.facts.storage import storages
from pvehooks.formats import summary as text
from pvehooks.host import Host
from pvehooks.settings.effective import Settings
from pvehooks.values import Node, PciDevice, Severity, StartVerdict, Unread, Uses
from pvehooks.values.base import NamedTuple
from pvehooks.values.stubs import NAME, former_of
from pvehooks.values.summaries import HEARTBEAT, DescribedDevice, DeviceKind, Hardware, Summary

# Seconds between two writes, between two tries where one failed, and between two looks at the devices because guests have changed.
PAUSE = 60.0
RETRY = 10.0
_DEVICES_PAUSE = 600.0


class OfStarts(NamedTuple):
    """What starts need of a node beside devices, None where it is not known: its bridges, how many CPUs it has, the version of its QEMU."""

    bridges: tuple[str, ...] | None = None
    cpus: int | None = None
    qemu: tuple[int, int] | None = None


class Publisher:
    """Publishes the summary of this node. The daemon's loop asks it after every turn."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self._node = node
        self._not_before = self._retry = 0.0
        self._beat_due = 0.0
        self._devices_due = 0.0
        self._hardware: Hardware | Unread = Unread("its devices were not looked at yet")
        self._wanted: frozenset[str] = frozenset()
        self._of_starts = OfStarts()
        # What the details are read from.
        self._marks: object = None
        self._marks_due = 0.0
        # What was last written or found, and what of the daemon's looks it was made from.
        self._last: Summary | None = None
        self._made_from: object = None
        self._withdrawn = False
        self._reported = ""

    def publish(self, stats: Stats, settings: Settings) -> str:
        """Writes the summary if it is due; returns what stands against that, once."""
        now = self._host.monotonic()
        if now < self._retry or not stats.quorate:
            return ""
        try:
            if not settings.cluster.publish:
                self._withdraw()
            elif now >= self._not_before:
                self._publish(stats, settings, now)
        except PmxcfsAway as error:
            return self._failed(f"this node's summary for the others: {error.message}. It is tried again automatically", now + RETRY)
        except Exception as bug:  # noqa: BLE001 - a bug in the summary must not end the care for this node's guests; it is reported
            return self._failed(f"this node's summary for the others could not be made, a bug: {bug!r}", now + HEARTBEAT)
        self._reported = ""
        return ""

    def _failed(self, words: str, retry: float) -> str:
        self._retry = retry
        before, self._reported = self._reported, words
        return "" if words == before else words

    def _publish(self, stats: Stats, settings: Settings, now: float) -> None:
        if now >= self._marks_due:
            self._marks, self._marks_due = details.marks(self._host), now + PAUSE
        made_from = (stats.changes, stats.hookscripts, settings.sources, self._marks)
        if made_from == self._made_from and now < self._beat_due:
            return
        if self._last is None:
            self._find(now)
        if now >= self._devices_due:
            self._read_devices()
            self._devices_due = now + _DEVICES_PAUSE
        content = text.dump(self._summary(stats, settings), self._wanted)
        # As others will read it: what was cut off is no change.
        summary = text.load(content)
        if now >= self._beat_due or _timeless(summary) != (self._last and _timeless(self._last)):
            records.write(self._host, summaries.path(self._node), content, text.LIMIT + 1)
            self._last, self._beat_due = summary, now + HEARTBEAT
            self._not_before = now + PAUSE
        self._made_from, self._withdrawn = made_from, False

    def _find(self, now: float) -> None:
        """What an earlier daemon published: a restart is no change."""
        found = summaries.read(self._host, self._node)
        if isinstance(found, Summary):
            self._last = found
            self._beat_due = now + HEARTBEAT - min(HEARTBEAT, found.age(self._host.now()))

    def _withdraw(self) -> None:
        """Takes back what was published, once."""
        if self._withdrawn:
            return
        try:
            self._host.remove(summaries.path(self._node))
        except OSError as error:
            raise PmxcfsAway(f"{summaries.path(self._node)}: cannot be removed ({error.strerror})") from error
        self._withdrawn, self._last, self._made_from, self._beat_due = True, None, None, 0.0

    def _read_devices(self) -> None:
        node = hardware.gather(self._host, self._node)
        self._wanted = frozenset(_mapped(node))
        self._hardware = read_hardware(self._host, node)
        self._of_starts = read_of_starts(node)

    def _summary(self, stats: Stats, settings: Settings) -> Summary:
        known = storages.StorageSections(self._host)
        # Guests are given the plain one at any time.
        plain = [f"{storage}:snippets/{NAME}" for storage, _ in storages.local_snippets(self._host, self._node)[:1]]
        named = sorted({each for volid in (*stats.hookscripts, *plain) for each in (volid, former_of(volid)) if each})
        guests = sorted(stats.guests.items())
        passing = [(vmid, guest) for vmid, guest in guests if guest.passes_through]
        findings = [finding for _, guest in guests for finding in guest.findings]
        must_not = tuple(vmid for vmid, guest in guests if guest.start is StartVerdict.MUST_NOT)
        return Summary(
            version=__version__,
            written=int(self._host.now()),
            guard_mode=settings.guard().mode,
            rng_mode=settings.rng().mode,
            guests=len(guests),
            passing=len(passing),
            guarded=sum(guest.guarded for _, guest in passing),
            unguarded=tuple(vmid for vmid, guest in passing if not guest.guarded),
            blocked=tuple(vmid for vmid, guest in guests if guest.blocked),
            would_block=sum(guest.blocked for _, guest in guests),
            findings=_counts(findings),
            of_node=_counts(stats.node),
            rules=_rules([*findings, *stats.node]),
            hookscripts={volid: known.hookscript(volid).trouble for volid in named},
            hardware=self._hardware,
            bridges=self._of_starts.bridges,
            cpus=self._of_starts.cpus,
            qemu=self._of_starts.qemu,
            must_not=must_not,
            must_not_count=len(must_not),
            details=details.read_details(self._host, stats.guests, settings),
        )


def read_of_starts(node: Node) -> OfStarts:
    """The same of this node."""
    return OfStarts(
        None if isinstance(node.bridges, Unread) else node.bridges.names(),
        None if isinstance(node.cpus, Unread) else node.cpus,
        None if isinstance(node.qemu, Unread) else node.qemu,
    )


def read_hardware(host: Host, node: Node) -> Hardware | Unread:
    """The node's devices as its summary describes them."""
    for fact in (node.pci, node.iommu, node.hwrng, node.holders, node.uses):
        if isinstance(fact, Unread):
            return fact
    assert not isinstance(node.pci, Unread) and not isinstance(node.iommu, Unread)
    assert not isinstance(node.hwrng, Unread) and not isinstance(node.holders, Unread)
    devices = {address: device for address, device in node.pci.items() if not device.bridge}
    asked = {address: _uses(device, node) for address, device in devices.items()}
    return Hardware(
        looked=int(host.now()),
        iommu=node.iommu,
        hwrng=node.hwrng,
        devices={address: DescribedDevice(DeviceKind.of(device), device.group) for address, device in devices.items()},
        bridges=tuple(sorted(node.pci.keys() - devices.keys())),
        uses={address: tuple(use._replace(remedy="") for use in uses.found) for address, uses in asked.items() if uses.found},
        unread={address: "; ".join(uses.unread) for address, uses in asked.items() if uses.unread},
        holders={address: each for address, each in node.holders.items() if address in devices and each},
    )


def _uses(device: PciDevice, node: Node) -> Uses:
    """A process or kernel subsystem uses a device through a driver of the host or of vfio, or through its virtual functions."""
    asks = (on_host_driver(device) or device.vfio or device.virtfns or device.framebuffer) and not isinstance(node.uses, Unread)
    if not asks or isinstance(node.uses, Unread):
        return Uses()
    found = node.uses.of(device)
    # The uses that block come first: there is room for few.
    return found._replace(found=tuple(sorted(found.found, key=lambda use: use.remark)))


def _mapped(node: Node) -> Iterable[str]:
    """The addresses that mappings name for this node, as written and with the domain spelt out."""
    for mapping in () if isinstance(node.mappings, Unread) else node.mappings.values():
        for entry in mapping.entries:
            for path in entry.paths:
                yield path.lower() if path.count(":") > 1 else f"0000:{path.lower()}"


def _counts(findings: Iterable[CountedFinding]) -> dict[str, int]:
    counted = Counter("ignored" if each.ignored else each.severity.value for each in findings if each.examined)
    return dict(sorted(counted.items()))


def _rules(findings: Iterable[CountedFinding]) -> dict[str, int]:
    heavy = (Severity.BLOCK, Severity.WARNING)
    return dict(Counter(each.rule for each in findings if each.severity in heavy and not each.ignored and each.examined))


def _timeless(summary: Summary) -> Summary:
    """What counts as a change: not when it was written, nor when the devices were looked at."""
    known = summary.hardware
    return summary._replace(written=0, hardware=known if isinstance(known, Unread) else known._replace(looked=0))
