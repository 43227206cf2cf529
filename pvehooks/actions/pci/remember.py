"""Remembers which devices VMs, mappings and the network's configuration mean, so that they are known again at another address.

What an address meant when it was first seen stays, until the address is written anew or an administrator accepts the device that is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from pvehooks.derived import meant
from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.pci import remembered
from pvehooks.facts.pci.fingerprints import Fingerprints
from pvehooks.facts.pci.remembered import OwnersDevices
from pvehooks.facts.reading import names_in
from pvehooks.host import Host
from pvehooks.records.guests import Identity
from pvehooks.values import Guest, NamedTuple, PciMapping, Unread
from pvehooks.values.fingerprints import Fingerprint
from pvehooks.values.pci import last_pci_address

_NET = "/sys/class/net"


class Meant(NamedTuple):
    """What an owner means, and what was stored about that before."""

    owner: str
    before: OwnersDevices
    now: OwnersDevices


def named_by_guest(guest: Guest) -> meant.Named:
    """The addresses that a VM's config has; those of its mappings are the mappings'."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in (*guest.hostpci, *guest.args_pci):
        if not entry.mapping and not isinstance(entry.addresses, Unread):
            found[entry.option] = (*found.get(entry.option, ()), *entry.addresses)
    return found


def named_by_network(host: Host) -> meant.Named:
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
    return Meant(owner, before, OwnersDevices(guest.uuid, guest.ctime, meant.kept(known, named, prints)))


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
    return Meant(owner, before, OwnersDevices(devices=meant.kept(before.devices, meant.named_by_mapping(mapping), prints)))


def of_network(host: Host, prints: Fingerprints) -> Meant:
    """The cards that the network's configuration means by their names: also those that have another name now."""
    before, named = remembered.read(host, remembered.NETWORK), named_by_network(host)
    files = NetworkConfig(host)
    wanted = {word.split(".")[0] for _, _, word, _ in files.lower()}
    lost = {name: tuple(each) for name, each in before.devices.items() if name not in named and (name in wanted or files.file_of(name))}
    return Meant(remembered.NETWORK, before, OwnersDevices(devices=meant.kept(before.devices, {**named, **lost}, prints)))


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
    now = OwnersDevices(guest.uuid, guest.ctime, meant.kept({}, named_by_guest(guest), prints))
    store(host, Meant(remembered.of_guest(guest.vmid), OwnersDevices(), now))


def forget(host: Host, owner: str) -> None:
    """Removes what is remembered of an owner."""
    try:
        host.remove(remembered.path(owner))
    except OSError:
        return
