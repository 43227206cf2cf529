"""Who else has PCI devices: the running guests, and those that start at boot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.guests.running import RUN_DIR, RunningGuest, RunningGuests
from pvehooks.facts.pci import hostpci
from pvehooks.facts.pci.hostpci import Mappings
from pvehooks.facts.reading import unread
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.values import Holder, HostPci, PciDevice, Unread
from pvehooks.values.guests import guest_label

RESERVATIONS = f"{RUN_DIR}/pci-id-reservations"
# What PVE takes for a reservation (qemu-server, PVE/QemuServer/PCI.pm, parse_pci_reservation_unlocked).
_RESERVATION = r"((?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\.[a-f0-9])?)\s([0-9]{1,9})\s(time|pid):([0-9]{1,15})"
# What QEMU takes for `host=` of a vfio-pci device.
_HOST = r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])"
_NAME = r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
_OPTION = r"hostpci[0-9]+"
_VGPU = r"nvidia-[0-9]+"

Bus = Mapping[str, PciDevice]


# -- running guests ---------------------------------------------------------------------------------------------------


class _Held:
    """Holders by address, each guest once per address."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[Holder, ...]] = {}

    def add(self, address: str, holder: Holder) -> None:
        before = self.found.get(address, ())
        if all(each.vmid != holder.vmid for each in before):
            self.found[address] = (*before, holder)

    def by(self, vmid: int) -> frozenset[str]:
        return frozenset(address for address, holders in self.found.items() if any(each.vmid == vmid for each in holders))


def running(running_guests: RunningGuests, bus: Bus | Unread, mappings: Mappings) -> Mapping[str, tuple[Holder, ...]] | Unread:
    """The running guests by the address (with function) of the PCI device that they hold.

    What a guest's QEMU was started with counts first, then PVE's reservations; then what its live config names, where an
    entry shows in neither: all alternatives of it.
    """
    there = running_guests.all()
    if isinstance(there, Unread):
        return there
    if isinstance(bus, Unread):
        return bus
    host = running_guests.host
    held = _Held()
    for guest in there:
        for address, how, mdev in assigned(host, guest.cmdline):
            held.add(address, Holder(guest.vmid, guest.label, how, mdev))
    reserved = _reservations(host, {guest.vmid: guest.pid for guest in there})
    if isinstance(reserved, Unread):
        return reserved
    labels = {guest.vmid: guest for guest in there}
    for address, vmid in reserved.items():
        guest_there = labels.get(vmid)
        label = guest_there.label if guest_there else RunningGuest(host, running_guests.node, vmid, 0, ()).label
        held.add(address, Holder(vmid, label, "reserved" if guest_there else "starting"))
    for guest in there:
        if guest.mentions(b"hostpci") and not guest.options().get("template"):
            shown = held.by(guest.vmid)
            for entry in hostpci.read(guest.options(), mappings):
                for address in _unseen(entry, bus, shown):
                    held.add(address, Holder(guest.vmid, guest.label, entry.option, _is_part(entry, bus.get(address))))
    return held.found


def _unseen(entry: HostPci, bus: Bus, shown: frozenset[str]) -> list[str]:
    """The functions of all alternatives of an entry; none if one of them is among those that show."""
    addresses = () if isinstance(entry.addresses, Unread) else entry.addresses
    found = [name for address in addresses for name in hostpci.functions(address, bus)]
    return [] if shown.intersection(found) else found


def _is_part(entry: HostPci, device: PciDevice | None) -> bool:
    """Whether a guest gets a mediated device; a vGPU of NVIDIA's newer driver is a whole virtual function."""
    if not entry.mdev:
        return False
    return not (re.fullmatch(_VGPU, entry.mdev) and device is not None and device.vgpus)


def _reservations(host: Host, pids: Mapping[int, int]) -> Mapping[str, int] | Unread:
    """VMID by address, of the reservations that hold: while the VM runs with that pid, or until that time."""
    try:
        lines = host.read(RESERVATIONS).decode("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        return unread(RESERVATIONS, error)
    now = host.now()
    found: dict[str, int] = {}
    for line in lines:
        match = re.fullmatch(_RESERVATION, line)
        if match is None:
            continue
        address = match[1] if match[1].count(":") == 2 else f"0000:{match[1]}"
        vmid, until = int(match[2]), int(match[4])
        # The last line for an address counts, as in PVE.
        found.pop(address, None)
        if pids.get(vmid) == until if match[3] == "pid" else until > now:
            found[address] = vmid
    return found


# -- what a QEMU was started with -------------------------------------------------------------------------------------


def assigned(host: Host, cmdline: tuple[str, ...]) -> Iterator[tuple[str, str, bool]]:
    """(address, option, whether only a mediated device of it) of each PCI device that vfio gives to a QEMU.

    Source: print_hostpci_devices in PVE/QemuServer/PCI.pm; QEMU's hw/vfio/pci.c. A device of `args` has the option "args".
    """
    for before, word in pairwise(cmdline):
        if before not in ("-device", "--device") or "vfio" not in word:
            continue
        parts = _parts(word)
        option, _, _ = parts.get("id", "").partition(".")
        how = option if re.fullmatch(_OPTION, option) else "args"
        match = re.fullmatch(_HOST, parts.get("host", ""))
        if match:
            yield f"{int(match[1] or '0', 16):04x}:{int(match[2], 16):02x}:{int(match[3], 16):02x}.{match[4]}", how, False
        path = parts.get("sysfsdev", "").rstrip("/")
        name = path.rpartition("/")[2]
        if re.fullmatch(_NAME, name):
            yield name, how, False
        elif name:
            parent = _parent(host, path)
            if parent:
                yield parent, how, True


def _parts(word: str) -> Mapping[str, str]:
    """The properties of a device: `DRIVER,KEY=VALUE,...` or a JSON object."""
    if word.startswith("{"):
        import json

        try:
            content = json.loads(word)
        except (ValueError, RecursionError):
            return {}
        return {key: value for key, value in content.items() if isinstance(value, str)} if isinstance(content, dict) else {}
    return {key: value for key, _, value in (part.partition("=") for part in word.split(","))}


def _parent(host: Host, path: str) -> str:
    """The address of the PCI device that a mediated device is part of, '' where that is unknown."""
    try:
        target = host.link_text(path)
    except OSError:
        # Not a link: the device's own directory, /sys/devices/.../ADDRESS/UUID.
        target = path
    parent = target.rstrip("/").rpartition("/")[0].rpartition("/")[2]
    return parent if re.fullmatch(_NAME, parent) else ""


# -- guests that start at boot ----------------------------------------------------------------------------------------


def onboot(host: Host, node: str, bus: Bus | Unread, mappings: Mappings) -> Mapping[str, tuple[Holder, ...]] | Unread:
    """The guests with `onboot: 1` by the addresses that they name, with their pending changes; no templates.

    What a mapping with several entries for this node gives them is not known before, and left out.
    """
    if isinstance(bus, Unread):
        return bus
    try:
        vmids = node_facts.guest_ids(host, node)
    except OSError as error:
        return unread(node_facts.guest_dir(node), error)
    held = _Held()
    for vmid in vmids:
        raw = guests.read_raw_or_error(host, node, vmid)
        if isinstance(raw, OSError) or b"hostpci" not in raw or b"onboot" not in raw:
            continue
        options = guestconfig.parse(raw).effective()
        if not options.get("onboot") or options.get("template"):
            continue
        for entry in hostpci.read(options, mappings):
            for address in _only_choice(entry):
                for name in hostpci.functions(address, bus):
                    held.add(name, Holder(vmid, guest_label(vmid, str(options.get("name", ""))), entry.option, _is_part(entry, bus[name])))
    return held.found


def _only_choice(entry: HostPci) -> tuple[str, ...]:
    choices = () if isinstance(entry.choices, Unread) else entry.choices
    return choices[0] if len(choices) == 1 else ()
