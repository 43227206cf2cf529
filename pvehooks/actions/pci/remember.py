"""Remembers which devices VMs, mappings and the network's configuration mean, so that they are known again at another address.

What an address meant when it was first seen stays, until the address is written anew or an administrator accepts the device that is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.derived import whereabouts
from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.pci import remembered
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.facts.pci.remembered import OwnersDevices
from pvehooks.facts.reading import names_in
from pvehooks.host import Host
from pvehooks.records.guests import Identity
from pvehooks.values import Guest, NamedTuple, PciMapping, Unread
from pvehooks.values.fingerprints import Fingerprint, Whereabouts
from pvehooks.values.pci import last_pci_address

Named = Mapping[str, Iterable[str]]
"""Addresses of functions and slots, by what names them."""
MAP = "map"
_NET = "/sys/class/net"


class Meant(NamedTuple):
    """What an owner means, and what was stored about that before."""

    owner: str
    before: OwnersDevices
    now: OwnersDevices


def named_by_guest(guest: Guest) -> Named:
    """The addresses that a VM's config has; those of its mappings are the mappings'."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in (*guest.hostpci, *guest.args_pci):
        if not entry.mapping and not isinstance(entry.addresses, Unread):
            found[entry.option] = (*found.get(entry.option, ()), *entry.addresses)
    return found


def named_by_mapping(mapping: PciMapping) -> Named:
    """The addresses that a mapping has for this node."""
    return {MAP: [path if path.count(":") > 1 else f"0000:{path}" for entry in mapping.entries for path in entry.paths]}


def named_by_network(host: Host) -> Named:
    """The network cards that the network's configuration names; a name without a card has none."""
    files = NetworkConfig(host)
    lower = {word.split(".")[0] for _, _, word, _ in files.lower()}
    cards = {name: _card(host, name) for name in names_in(host, _NET)}
    return {name: [address] for name, address in cards.items() if address and (name in lower or files.file_of(name))}


def _card(host: Host, name: str) -> str:
    try:
        return last_pci_address(host.real(f"{_NET}/{name}/device"))
    except OSError:
        return ""


def of_guest(host: Host, guest: Guest, prints: Fingerprints) -> Meant:
    """What a VM means; raises RecordsUnavailable.

    A device that it started with and that had other ids than the one that is there now is meant, also when nothing was remembered before.
    """
    named = named_by_guest(guest)
    owner = remembered.of_guest(guest.vmid)
    before = remembered.read(host, owner)
    same = Identity(before.uuid, before.ctime).same_guest(Identity(guest.uuid, guest.ctime))
    known = {part: dict(each) for part, each in before.devices.items()} if same else {}
    for part, addresses in named.items() if guest.accepted else ():
        if guest.accepted and guest.accepted.hostpci.get(part) == str(guest.options.get(part, "")):
            _correct(known.setdefault(part, {}), addresses, guest, prints)
    return Meant(owner, before, OwnersDevices(guest.uuid, guest.ctime, _kept(known, named, prints)))


def _correct(known: dict[str, Fingerprint], addresses: Iterable[str], guest: Guest, prints: Fingerprints) -> None:
    for address, was in guest.accepted.devices.items() if guest.accepted else ():
        if was.vendor >= 0 and any(address == each or address.startswith(f"{each}.") for each in addresses):
            now = known.get(address) or prints.at(address)
            if now is None or (now.vf is None and (now.vendor, now.device) != (was.vendor, was.device)):
                known[address] = Fingerprint(was.vendor, was.device, function=int(address[-1], 16), disks=was.serial)


def of_mapping(host: Host, mapping: PciMapping, prints: Fingerprints) -> Meant:
    """What a mapping means on this node."""
    owner = remembered.of_mapping(mapping.name)
    before = remembered.read(host, owner)
    return Meant(owner, before, OwnersDevices(devices=_kept(before.devices, named_by_mapping(mapping), prints)))


def of_network(host: Host, prints: Fingerprints) -> Meant:
    """The cards that the network's configuration means by their names: also those that have another name now."""
    before, named = remembered.read(host, remembered.NETWORK), named_by_network(host)
    files = NetworkConfig(host)
    wanted = {word.split(".")[0] for _, _, word, _ in files.lower()}
    lost = {name: tuple(each) for name, each in before.devices.items() if name not in named and (name in wanted or files.file_of(name))}
    return Meant(remembered.NETWORK, before, OwnersDevices(devices=_kept(before.devices, {**named, **lost}, prints)))


def _kept(known: Mapping[str, Mapping[str, Fingerprint]], named: Named, prints: Fingerprints) -> dict[str, dict[str, Fingerprint]]:
    found: dict[str, dict[str, Fingerprint]] = {}
    for part, addresses in named.items():
        before = _as_followed(part, known.get(part, {}), tuple(addresses), prints)
        for address in addresses:
            old = {each for each in before if each == address or each.startswith(f"{address}.")}
            for each in sorted(old.union(prints.at_address(address))):
                print_ = _updated(before.get(each), each, prints)
                if print_ is not None:
                    found.setdefault(part, {})[each] = print_
    return found


def _as_followed(
    part: str, before: Mapping[str, Fingerprint], addresses: tuple[str, ...], prints: Fingerprints
) -> Mapping[str, Fingerprint]:
    """What is remembered, by where the devices are now if what names them has just these addresses: they were followed.

    One of the new addresses may be an old one of another of the devices.
    """
    # Of a mapping any device may be taken: the order of its entries says nothing.
    in_order = part != MAP
    if not before or (in_order and _are_named(before, addresses, in_order)):
        return before
    now = {where_is(known, prints).address: known for known in before.values()}
    return now if len(now) == len(before) and _are_named(now, addresses, in_order) else before


def _are_named(functions: Iterable[str], addresses: tuple[str, ...], in_order: bool) -> bool:
    """Whether these are the functions that the addresses stand for, some of each."""
    places = [next((number for number, each in enumerate(addresses) if f"{name}.".startswith(f"{each}.")), -1) for name in functions]
    return set(places) == set(range(len(addresses))) and (not in_order or places == sorted(places))


def _updated(before: Fingerprint | None, address: str, prints: Fingerprints) -> Fingerprint | None:
    """What is remembered of an address, completed from the device that is there, if it is that one."""
    now = prints.at(address)
    if before is None:
        return now
    if now is None or where_is(before, prints).address != address:
        return before
    # On vfio-pci neither disks nor interfaces are seen.
    return now._replace(serial=now.serial or before.serial, disks=now.disks or before.disks, mac=now.mac or before.mac)


def where_is(known: Fingerprint, prints: Fingerprints) -> Whereabouts:
    """Where a device is now."""
    found = whereabouts.locate(known, prints.alike(known))
    if known.vf is None:
        return found
    if not found.address:
        return found._replace(why=f"of its physical function: {found.why}")
    address = prints.vf(found.address, known.vf)
    if address:
        return Whereabouts(address, f"it is virtual function {known.vf} of {found.address}: {found.why}")
    why = f"its physical function, at {found.address} now, does not have {known.vf + 1} virtual functions"
    return Whereabouts("", f"{why}: pvehooks bind {found.address} --vfs {known.vf + 1} --now --persist")


def store(host: Host, meant: Meant) -> None:
    """Writes what an owner means if it has changed; nothing to remember has no file. Without space or root nothing is written."""
    path, content = remembered.path(meant.owner), remembered.written(meant.now)
    # Also if the order alone is another one.
    if content == remembered.written(meant.before):
        return
    try:
        if not meant.now.devices:
            host.remove(path)
            return
        try:
            host.replace(path, content, mode=0o600, durable=True)
        except FileNotFoundError:
            host.make_dir(remembered.DIRECTORY, mode=0o700)
            host.replace(path, content, mode=0o600, durable=True)
    except OSError:
        return


def renew(host: Host, guest: Guest, prints: Fingerprints) -> None:
    """Has a VM mean the devices that are at its addresses now."""
    now = OwnersDevices(guest.uuid, guest.ctime, _kept({}, named_by_guest(guest), prints))
    store(host, Meant(remembered.of_guest(guest.vmid), OwnersDevices(), now))


def forget(host: Host, owner: str) -> None:
    """Removes what is remembered of an owner."""
    try:
        host.remove(remembered.path(owner))
    except OSError:
        return
