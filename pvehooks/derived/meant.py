"""Which devices addresses of configs and mappings mean, by what is remembered of them, and where those are now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.derived import whereabouts
from pvehooks.values import PciMapping
from pvehooks.values.fingerprints import Fingerprint, Prints, Whereabouts

Named = Mapping[str, Iterable[str]]
"""Addresses of functions and slots, by what names them."""
MAP = "map"


def named_by_mapping(mapping: PciMapping) -> Named:
    """The addresses that a mapping has for this node."""
    return {MAP: [path if path.count(":") > 1 else f"0000:{path}" for entry in mapping.entries for path in entry.paths]}


def kept(known: Mapping[str, Mapping[str, Fingerprint]], named: Named, prints: Prints) -> dict[str, dict[str, Fingerprint]]:
    """The devices that these addresses mean: those that are known, completed from what is there now, and at addresses that are new those there."""
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


def _as_followed(part: str, before: Mapping[str, Fingerprint], addresses: tuple[str, ...], prints: Prints) -> Mapping[str, Fingerprint]:
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


def _updated(before: Fingerprint | None, address: str, prints: Prints) -> Fingerprint | None:
    """What is remembered of an address, completed from the device that is there, if it is that one."""
    now = prints.at(address)
    if before is None:
        return now
    if now is None or where_is(before, prints).address != address:
        return before
    # On vfio-pci neither disks nor interfaces are seen.
    return now._replace(serial=now.serial or before.serial, disks=now.disks or before.disks, mac=now.mac or before.mac)


def where_is(known: Fingerprint, prints: Prints) -> Whereabouts:
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
