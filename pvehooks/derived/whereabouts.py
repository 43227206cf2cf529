"""Where a PCI device is that was somewhere else before: by what only it has, else by its place, else as the only one of its kind."""

from __future__ import annotations

from collections.abc import Mapping

from pvehooks.values.fingerprints import Fingerprint, Whereabouts


def locate(known: Fingerprint, alike: Mapping[str, Fingerprint]) -> Whereabouts:
    """The one device, among those that it may be by their ids, that it is; no address where none or more than one fits."""
    same = {address: known.same_device(each) for address, each in alike.items()}
    sure = [address for address, answer in same.items() if answer]
    if len(sure) == 1:
        return Whereabouts(sure[0], known.number)
    possible = sure or [address for address, answer in same.items() if answer is None]
    here = [address for address in possible if known.place and alike[address].place == known.place]
    if len(here) == 1:
        return Whereabouts(here[0], "it sits in the same slot")
    # Another one that was there at that time, and still is in its slot, is not this one.
    left = possible if sure else [address for address in possible if alike[address].place not in known.twins]
    if len(left) == 1:
        return Whereabouts(left[0], "it is the only one of its kind that it can be")
    if left:
        why = f"{len(left)} devices fit: neither a serial number nor the slot shows which of them it is"
        return Whereabouts("", why, tuple(sorted(left)))
    others = [f"{address} has {alike[address].number}" for address, answer in same.items() if answer is False]
    if others:
        return Whereabouts("", f"no device of the node is this one: it has {known.number}, and {', '.join(others)}")
    if alike:
        return Whereabouts(
            "", f"no device of the node is this one: what is at {', '.join(sorted(alike))} sits where another one of its kind was"
        )
    return Whereabouts("", "no device of the node is of its kind")
