"""What guests of a node have in common, found once for all: the USB devices and the shared memory that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from pvehooks.errors import PmxcfsAway
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.cluster import pmxcfs
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests import running
from pvehooks.facts.reading import unread
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.values import Guest, NamedTuple, Options, Properties, Unread
from pvehooks.values.base import sha1
from pvehooks.values.sharing import MemoryShare
from pvehooks.values.usb import UsbClaim, UsbMapping, wanted

_WORDS = (b"usb", b"ivshmem")


class IndexEntry(NamedTuple):
    """What a guest that is no template names."""

    vmid: int
    label: str
    running: bool
    onboot: bool
    # Its usb options with their properties.
    usb: tuple[tuple[str, Properties], ...]
    # Of its ivshmem: the file's name and MiB.
    memory: tuple[tuple[str, int], ...]


def entry(guest: Guest) -> IndexEntry | None:
    """The guest's entry, None where it names nothing."""
    if guest.template or guest.config is None:
        return None
    usb = tuple((option, guest.properties(option)) for option in guest.options if option.startswith("usb"))
    # A running guest counts with what it runs with, too: PVE removes that file, not the one that is pending.
    shares = (_ivshmem(options, guest.vmid) for options in (guest.options, guest.config.main))
    memory: dict[str, int] = {}
    for name, size in filter(None, shares):
        memory.setdefault(name, size)
    if not usb and not memory:
        return None
    return IndexEntry(guest.vmid, guest.label, guest.running, bool(guest.options.get("onboot")), usb, tuple(memory.items()))


def entries(there: Iterable[Guest]) -> Iterator[IndexEntry]:
    """The entries of these guests."""
    return filter(None, map(entry, there))


def usb_claims(known: Iterable[IndexEntry], mappings: Mapping[str, UsbMapping] | Unread) -> Mapping[str, tuple[UsbClaim, ...]]:
    """The guests that run, or start at boot, by the name of the USB device that they ask for: its id or its place."""
    found: dict[str, list[UsbClaim]] = {}
    for each in known:
        if not (each.running or each.onboot):
            continue
        for option, properties in each.usb:
            if want := wanted(properties, mappings):
                found.setdefault(want.name, []).append(UsbClaim(each.vmid, each.label, option, each.running, each.onboot))
    return {name: tuple(claims) for name, claims in found.items()}


def memory_shares(known: Iterable[IndexEntry]) -> Mapping[str, tuple[MemoryShare, ...]]:
    """The guests with ivshmem by the name of their file; PVE's default is the VMID (qemu-server, config_to_command)."""
    found: dict[str, list[MemoryShare]] = {}
    for each in known:
        for name, size in each.memory:
            found.setdefault(name, []).append(MemoryShare(each.vmid, each.label, size, each.running))
    return {name: tuple(shares) for name, shares in found.items()}


def _ivshmem(options: Options, vmid: int) -> tuple[str, int] | None:
    """The file's name, and the size in MiB."""
    if "ivshmem" not in options:
        return None
    try:
        properties = propertystring.parse("ivshmem", str(options["ivshmem"]), propertystring.as_accepted)
    except propertystring.PropertyError:
        return None
    return str(properties.get("name", vmid)), int(properties["size"])


class GuestIndex:
    """The entries of a node's guests, kept from one look to the next: only configs that changed are read again.

    pmxcfs' counters show whether one changed, in a tree without them its digest. Of a guest that names nothing only that is kept. `read` gives the
    bytes of a config by node and VMID, or the error that there were instead; without it the host that asks is read.
    """

    def __init__(self, node: str, read: Callable[[str, int], bytes | OSError] | None = None) -> None:
        self._node = node
        self._read = read
        self._started = -1
        self._marks: dict[int, int | bytes] = {}
        self._entries: dict[int, IndexEntry] = {}

    def entries(self, host: Host) -> tuple[IndexEntry, ...] | Unread:
        """The entries as they are now, by VMID; who runs is asked of each that names something."""
        try:
            self._refresh(host)
        except PmxcfsAway as away:
            return Unread(str(away))
        except OSError as error:
            return unread(node_facts.guest_dir(self._node), error)
        return tuple(self._entries[vmid]._replace(running=running.is_running(host, vmid)) for vmid in sorted(self._entries))

    def _refresh(self, host: Host) -> None:
        counted = self._counters(host)
        here = node_facts.guest_ids(host, self._node) if counted is None else counted
        for vmid in self._marks.keys() - here:
            self._forget(vmid)
        for vmid in here:
            if counted is not None and self._marks.get(vmid) == counted[vmid]:
                continue
            raw = self._read(self._node, vmid) if self._read else guests.read_raw_or_error(host, self._node, vmid)
            if isinstance(raw, OSError):
                self._forget(vmid)
                continue
            mark: int | bytes = sha1(raw) if counted is None else counted[vmid]
            if self._marks.get(vmid) == mark:
                continue
            self._forget(vmid)
            self._marks[vmid] = mark
            if any(word in raw for word in _WORDS):
                # Nothing of what is around a guest is asked for.
                guest_context = guests.start_context(host, self._node, vmid)
                if named := entry(guests.parse_guest(host, self._node, vmid, raw, guest_context)):
                    self._entries[vmid] = named

    def _counters(self, host: Host) -> dict[int, int] | None:
        """The counters of this node's guests, None in a tree without them; those of another start of pmxcfs say nothing."""
        if not host.is_node and not host.exists(f"{pmxcfs.PVE}/.version"):
            return None
        started = pmxcfs.version(host).start
        if started != self._started:
            self._marks.clear()
            self._entries.clear()
            self._started = started
        return {vmid: each.version for vmid, each in pmxcfs.guests(host).items() if each.node == self._node}

    def _forget(self, vmid: int) -> None:
        self._marks.pop(vmid, None)
        self._entries.pop(vmid, None)
