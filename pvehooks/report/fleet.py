"""Many nodes on one page, in no form yet: what each published or was captured with, as of when, and what follows from all of it together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pvehooks.values import NamedTuple, Unread
from pvehooks.values.summaries import NextBootSummary, ago
from pvehooks.wording import and_more, counted, ranges

# Devices that people look for, in this order; pci.ids, classes.
KINDS = ("graphics card", "network card", "NVMe disk", "storage controller", "USB controller", "other device")
_CLASSES = {0x03: KINDS[0], 0x02: KINDS[1], 0x01: KINDS[3]}
_NVME, _USB = 0x0108, 0x0C03
WOULD, WOULD_NOT, MUST_NOT, UNKNOWN = "would start", "would not start", "must not start", "not known"
# States of nodes whose figures may hold no more.
OUT_OF_DATE = ("offline", "silent")
# Of VMs in a sentence.
_NAMED = 10


class FreeDevice(NamedTuple):
    """An IOMMU group that could be passed through now, by the device that it is wanted for."""

    # One of KINDS.
    kind: str
    address: str
    words: str
    # The group's other devices, in words.
    beside: tuple[str, ...] = ()
    # The VMs that name one of them and do not run.
    named: tuple[str, ...] = ()
    # Whether it is a virtual function.
    virtual: bool = False


class SomeGuests(NamedTuple):
    """How many VMs, and the first of them as they are called."""

    total: int = 0
    labels: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        """Them in words: "VM 100 (web), VM 101 (db) and 3 more"."""
        shown = self.labels[:_NAMED]
        rest = self.total - len(shown)
        return f"{', '.join(shown)}{f' and {rest} more' if shown and rest else counted(rest, 'VM') if rest else ''}"


class Failure(NamedTuple):
    """A VM whose last start failed, when (epoch seconds), and why."""

    label: str
    ended: int
    why: str


class NodeFigures(NamedTuple):
    """What is known of a node; an Unread says why something is not."""

    # Epoch seconds.
    as_of: int
    pve: str | Unread
    kernel: str | Unread
    # '' if it is the same.
    next_kernel: str | Unread
    guard_mode: str | Unread
    rng_mode: str | Unread
    guests: int
    would_not: SomeGuests
    must_not: SomeGuests
    # VMs that need the guard, and those of them that lack it.
    passing: int
    unguarded: SomeGuests
    # VMs that have the rng0 that they were given, and those that lack one.
    rng_given: int | Unread
    rng_lacking: SomeGuests | Unread
    # By severity: about VMs, and about the node.
    findings: Mapping[str, int]
    of_node: Mapping[str, int]
    # When the devices were looked at, those that are free, and how many groups with a use are not described for lack of room.
    devices_as_of: int | Unread
    free: tuple[FreeDevice, ...] | Unread
    left_out: int
    # What the node sets for itself: "section.option" -> value.
    own_settings: Mapping[str, str] | Unread
    next_boot: NextBootSummary | Unread
    # The VMs that this names, as they are called.
    next_boot_guests: tuple[str, ...]
    failed: int | Unread
    failures: tuple[Failure, ...]


class FleetNode(NamedTuple):
    """A node."""

    name: str
    # The cluster that it is of, '' if that is not known; and the file that it is known from, '' for pmxcfs.
    cluster: str
    source: str
    # As in Standing.state().
    state: str
    # Of the package, '' if it has none, or that is not known.
    version: str
    # Unread: why nothing is known of it.
    known: NodeFigures | Unread

    @property
    def title(self) -> str:
        """Its name, and what distinguishes it from another one of that name."""
        return (
            f"{self.name} ({', '.join(filter(None, (self.cluster and f'cluster {self.cluster}', self.source)))})"
            if self.source
            else self.name
        )

    @property
    def anchor(self) -> str:
        """What links to it name."""
        return f"node-{''.join(char if char.isalnum() and char.isascii() else '-' for char in self.title)}"


class StartThere(NamedTuple):
    """Whether a VM would start on a node, and the first finding that is the reason why not: its rule and its words."""

    node: str
    # WOULD, WOULD_NOT, MUST_NOT or UNKNOWN.
    start: str
    rule: str = ""
    why: str = ""


class GuestPlaces(NamedTuple):
    """Where a VM of the cluster would start, beside the node that it is on."""

    vmid: int
    label: str
    home: str
    answers: tuple[StartThere, ...]


class SamePlaces(NamedTuple):
    """VMs of one node of which the same is to be said. Nodes are with their state where they are offline or silent."""

    home: str
    guests: tuple[GuestPlaces, ...]
    would: tuple[str, ...]
    # Answer, rule, nodes, and the words for the first VM on the first of them.
    others: tuple[tuple[str, str, tuple[str, ...], str], ...]

    @property
    def who(self) -> str:
        """The VMs."""
        if len(self.guests) == 1:
            return self.guests[0].label
        return f"{counted(len(self.guests), 'VM')}: {ranges([guest.vmid for guest in self.guests], 8)}"


class Skipped(NamedTuple):
    """A file that is neither a capture nor a report, or cannot be used; or of which something else is to be said."""

    file: str
    why: str


class Fleet(NamedTuple):
    """All of the page."""

    # What the page is about: "cluster NAME", or a directory.
    title: str
    # Of the package that made it, and the node that it was made on; '' where it is made of files.
    pvehooks: str
    node: str
    # Epoch seconds.
    time: int
    nodes: tuple[FleetNode, ...]
    # None where no VM can be asked about: of files.
    places: tuple[GuestPlaces, ...] | None = None
    # How many VMs were not asked about, since they are too many.
    places_left_out: int = 0
    skipped: tuple[Skipped, ...] = ()

    def ago(self, when: int) -> str:
        """How old something was when the page was made."""
        return ago(max(0, self.time - when))

    @property
    def known(self) -> list[tuple[FleetNode, NodeFigures]]:
        """The nodes that something is known of."""
        return [(node, node.known) for node in self.nodes if not isinstance(node.known, Unread)]


# -- devices ----------------------------------------------------------------------------------------------------------


def kind_of(class_code: int) -> str:
    """One of KINDS, by the device's class (pci.ids, three bytes)."""
    if class_code >> 8 == _NVME:
        return KINDS[2]
    return KINDS[4] if class_code >> 8 == _USB else _CLASSES.get(class_code >> 16, KINDS[5])


def free_devices(groups: Iterable[Mapping[str, object]]) -> tuple[FreeDevice, ...]:
    """Those of groups in the form of tree.as_json(); raises TypeError, KeyError, ValueError where they have another."""
    return tuple(_free(group) for group in groups if group["free"] is True)


def _free(group: Mapping[str, object]) -> FreeDevice:
    devices = [device for device in _objects(group["devices"]) if not device["bridge"]]
    kinds = [kind_of(int(str(device["class"]), 16) if device["class"] else -1) for device in devices]
    first = min(range(len(devices)), key=lambda number: KINDS.index(kinds[number]))
    beside = tuple(str(device["words"]) for number, device in enumerate(devices) if number != first)
    named = dict.fromkeys(str(guest["label"]) for device in devices for guest in _objects(device["guests"]))
    wanted = devices[first]
    return FreeDevice(kinds[first], str(wanted["address"]), str(wanted["words"]), beside, tuple(named), wanted["physfn"] is not None)


def _objects(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TypeError(value)
    return value


class FreeThere(NamedTuple):
    """Free devices of one node that differ in their address only."""

    node: FleetNode
    as_of: int
    first: FreeDevice
    addresses: tuple[str, ...]


def free_by_kind(fleet: Fleet) -> dict[str, list[FreeThere]]:
    """Where free devices are, by kind: those that no VM names first, and of these those of nodes that can be reached."""
    found: dict[str, dict[tuple[object, ...], list[FreeDevice]]] = {}
    nodes = {node.title: (node, figures) for node, figures in fleet.known}
    for title, (_, figures) in nodes.items():
        for device in () if isinstance(figures.free, Unread) else figures.free:
            key = (title, *device._replace(address=""))
            found.setdefault(device.kind, {}).setdefault(key, []).append(device)
    listed: dict[str, list[FreeThere]] = {}
    for kind in KINDS:
        for whose, devices in found.get(kind, {}).items():
            node, figures = nodes[str(whose[0])]
            as_of = figures.as_of if isinstance(figures.devices_as_of, Unread) else figures.devices_as_of
            listed.setdefault(kind, []).append(FreeThere(node, as_of, devices[0], tuple(device.address for device in devices)))
        listed.get(kind, []).sort(key=lambda each: (bool(each.first.named), each.node.state in OUT_OF_DATE))
    return listed


# -- what differs -----------------------------------------------------------------------------------------------------


class Difference(NamedTuple):
    """Something in which nodes differ: its name, and who has which value."""

    name: str
    values: tuple[tuple[str, tuple[str, ...]], ...]


_AS_OTHERS = "not set by the node itself"
# Those of which each node publishes what is in force, whichever file sets it.
_IN_FORCE = {"guard.mode": "guard_mode", "rng.mode": "rng_mode"}


def differences(fleet: Fleet) -> list[Difference]:
    """Versions and settings that are not the same on all nodes that say so, of each cluster alone where there are several."""
    found = []
    for cluster in dict.fromkeys(node.cluster for node in fleet.nodes):
        of = f" in cluster {cluster}" if cluster and len({node.cluster for node in fleet.nodes}) > 1 else ""
        nodes = [(node.title, node, known) for node, known in fleet.known if node.cluster == cluster]
        rows: list[tuple[str, list[tuple[str, str | Unread]]]] = [
            ("pvehooks", [(title, node.version or Unread("no package")) for title, node, _ in nodes]),
            ("Proxmox VE", [(title, known.pve) for title, _, known in nodes]),
            ("kernel", [(title, known.kernel) for title, _, known in nodes]),
        ]
        own = {title: known.own_settings for title, _, known in nodes if not isinstance(known.own_settings, Unread)}
        for name in sorted({name for settings in own.values() for name in settings} - _IN_FORCE.keys()):
            of_each: list[tuple[str, str | Unread]] = [(title, settings.get(name, _AS_OTHERS)) for title, settings in own.items()]
            rows.append((_setting(name), of_each))
        rows += [(_setting(name), [(title, getattr(known, field)) for title, _, known in nodes]) for name, field in _IN_FORCE.items()]
        found += [Difference(name + of, values) for name, row in rows if len(values := _by_value(row)) > 1]
    return found


def _setting(name: str) -> str:
    """As it is written: "[guard] mode"."""
    section, _, option = name.partition(".")
    return f"[{section}] {option}"


def _by_value(row: Sequence[tuple[str, str | Unread]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The values, that of most nodes first, and who has each."""
    by: dict[str, list[str]] = {}
    for title, value in row:
        if not isinstance(value, Unread) and value:
            by.setdefault(value, []).append(title)
    return tuple((value, tuple(titles)) for value, titles in sorted(by.items(), key=lambda item: -len(item[1])))


# -- where VMs would start --------------------------------------------------------------------------------------------


def same_places(fleet: Fleet) -> list[SamePlaces]:
    """The VMs with those together that would start on the same nodes for the same reasons; those with the fewest such nodes first."""
    states = {node.name: f"{node.name} ({node.state})" if node.state in OUT_OF_DATE else node.name for node in fleet.nodes}
    found: dict[object, list[GuestPlaces]] = {}
    for guest in fleet.places or ():
        found.setdefault((guest.home, tuple(answer._replace(why="") for answer in guest.answers)), []).append(guest)
    listed = []
    for guests in found.values():
        others: dict[tuple[str, str], list[StartThere]] = {}
        for answer in guests[0].answers:
            if answer.start != WOULD:
                others.setdefault((answer.start, answer.rule), []).append(answer)
        whose = f"{guests[0].label}: " if len(guests) > 1 else ""
        rows = tuple(
            (start, rule, tuple(states[each.node] for each in same), whose + same[0].why) for (start, rule), same in others.items()
        )
        would = tuple(states[answer.node] for answer in guests[0].answers if answer.start == WOULD)
        listed.append(SamePlaces(guests[0].home, tuple(guests), would, rows))
    return sorted(listed, key=lambda same: (len(same.would), same.guests[0].vmid))


# -- what is to be done -----------------------------------------------------------------------------------------------


class Remark(NamedTuple):
    """What needs attention: how urgent (a tone of the page's colours), which node, what, and the command to type there."""

    tone: str
    node: FleetNode
    text: str
    command: str = ""


def remarks(fleet: Fleet) -> list[Remark]:
    """All of it, the most urgent first."""
    tones = ("danger", "warning", "unknown")
    return sorted((remark for node in fleet.nodes for remark in _remarks(node, fleet)), key=lambda remark: tones.index(remark.tone))


def _remarks(node: FleetNode, fleet: Fleet) -> Iterator[Remark]:
    if node.state == "no pvehooks":
        yield Remark(
            "warning",
            node,
            "it does not have pvehooks: VMs with the guard may not start there. Install it from where the other nodes have it",
            "apt install pvehooks",
        )
    elif node.state == "no summary":
        yield Remark("unknown", node, "it has published nothing: its daemon does not run, or [cluster] publish = no", "pvehooks status")
    elif node.state == "silent":
        yield Remark(
            "warning",
            node,
            f"it has published nothing for two hours{'' if isinstance(node.known, Unread) else f': its figures are from {fleet.ago(node.known.as_of)}'}",
            "systemctl status pvehooks; pvecm status",
        )
    elif node.state == "offline":
        yield Remark(
            "unknown",
            node,
            f"it is offline{'' if isinstance(node.known, Unread) else f'; its figures are from {fleet.ago(node.known.as_of)}'}",
        )
    known = node.known
    if isinstance(known, Unread):
        if node.state == "unreadable":
            yield Remark("unknown", node, known.why, "systemctl status pvehooks")
        return
    if known.must_not.total:
        yield Remark("danger", node, f"must not start, and nothing stops it: {known.must_not.phrase}", "pvehooks check")
    if known.would_not.total:
        yield Remark("danger", node, f"would not start: {known.would_not.phrase}", "pvehooks check")
    boot = known.next_boot
    if not isinstance(boot, Unread) and not boot.well:
        tone = "danger" if boot.stops or boot.will_not or boot.must_not else "warning"
        yield Remark(tone, node, f"the next boot, with kernel {boot.kernel}: {next_boot_phrase(known)}", "pvehooks host check --next-boot")
    if known.unguarded.total:
        yield Remark("warning", node, f"without the guard: {known.unguarded.phrase}", "pvehooks attach --all")
    if not isinstance(known.guard_mode, Unread) and known.guard_mode != "enforce":
        yield Remark("warning", node, f"[guard] mode = {known.guard_mode}: the guard refuses no start there", "pvehooks config")
    if not isinstance(known.rng_lacking, Unread) and known.rng_lacking.total:
        yield Remark("warning", node, f"without an rng0 that they need: {known.rng_lacking.phrase}", "pvehooks check")
    if not isinstance(known.failed, Unread) and known.failed:
        yield Remark("warning", node, f"the last start failed of {counted(known.failed, 'VM')}", "pvehooks why")
    if known.of_node.get("block") or known.of_node.get("warning"):
        text = f"the node itself: {', '.join(_counted_severities(known.of_node))}"
        yield Remark("warning", node, text, "pvehooks host check")


def _counted_severities(found: Mapping[str, int]) -> Iterator[str]:
    if found.get("block"):
        yield f"{found['block']} that {'forbids' if found['block'] == 1 else 'forbid'} a start or a boot"
    if found.get("warning"):
        yield counted(found["warning"], "warning")


def next_boot_phrase(known: NodeFigures) -> str:
    """What the last look at the next boot found."""
    boot = known.next_boot
    if isinstance(boot, Unread):
        return boot.why
    if boot.well:
        return f"{counted(boot.will, 'VM')} with passed-through devices will start" if boot.will else "nothing is lost"
    parts = ["the node itself may not boot"] if boot.stops else []
    troubled = and_more(list(known.next_boot_guests), _NAMED)
    parts += [f"{count} {words}" for count, words in ((boot.will_not, "will not start"), (boot.must_not, "must not start")) if count]
    parts += [f"({troubled})"] if troubled else []
    parts += [f"of {counted(boot.unknown, 'VM')} it is not known"] if boot.unknown else []
    parts += [f"{boot.will} will start"] if boot.will else []
    parts += [f"the node loses {counted(boot.losses, 'thing')}"] if boot.losses and not boot.stops else []
    return ", ".join(parts).replace(", (", " (")
