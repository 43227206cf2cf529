"""What guests of a node have in common, found once for all: the USB devices and the shared memory that they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pvehooks.text import propertystring
from pvehooks.values import Guest, Options, Unread
from pvehooks.values.sharing import MemoryShare
from pvehooks.values.usb import UsbClaim, UsbMapping, wanted


def usb_claims(guests: Iterable[Guest], mappings: Mapping[str, UsbMapping] | Unread) -> Mapping[str, tuple[UsbClaim, ...]]:
    """The guests that run, or start at boot, by the name of the USB device that they ask for: its id or its place."""
    found: dict[str, list[UsbClaim]] = {}
    for guest in guests:
        onboot = bool(guest.options.get("onboot"))
        if guest.template or not (guest.running or onboot):
            continue
        for option in guest.options:
            if option.startswith("usb") and (want := wanted(guest.properties(option), mappings)):
                found.setdefault(want.name, []).append(UsbClaim(guest.vmid, guest.label, option, guest.running, onboot))
    return {name: tuple(claims) for name, claims in found.items()}


def memory_shares(guests: Iterable[Guest]) -> Mapping[str, tuple[MemoryShare, ...]]:
    """The guests with ivshmem by the name of their file; PVE's default is the VMID (qemu-server, config_to_command).

    A running guest counts with what it runs with, too: PVE removes that file, not the one that is pending.
    """
    found: dict[str, list[MemoryShare]] = {}
    for guest in guests:
        if guest.template or guest.config is None:
            continue
        known: set[str] = set()
        for options in (guest.options, guest.config.main):
            share = _ivshmem(options)
            if share is not None:
                name = share[0] or str(guest.vmid)
                if name not in known:
                    known.add(name)
                    found.setdefault(name, []).append(MemoryShare(guest.vmid, guest.label, share[1], guest.running))
    return {name: tuple(shares) for name, shares in found.items()}


def _ivshmem(options: Options) -> tuple[str, int] | None:
    """The name as written, or '', and the size in MiB."""
    if "ivshmem" not in options:
        return None
    try:
        properties = propertystring.parse("ivshmem", str(options["ivshmem"]))
    except propertystring.PropertyError:
        return None
    return str(properties.get("name", "")), int(properties["size"])
