"""Before a start: makes the virtual functions of a guest that are gone, and gives those that are there what was noted for them.

A reset of their card takes MACs, VLANs or the functions themselves away.
"""

from __future__ import annotations

from pvehooks.actions.pci import at_boot, vf_settings, vfs
from pvehooks.errors import PvehooksError
from pvehooks.facts.pci import bindings
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.values import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvehooks.host import Host
    from pvehooks.values import Guest

_DEVICES = "/sys/bus/pci/devices"


def restore(host: Host, node: str, guest: Guest) -> None:
    """Does it for this guest's virtual functions alone, as far as that can be done: what is missing then the rules find."""
    try:
        _restore(host, node, guest)
    except (OSError, PvehooksError):
        return


def _restore(host: Host, node: str, guest: Guest) -> None:
    addresses = [each for entry in guest.hostpci if not isinstance(entry.addresses, Unread) for each in entry.addresses if "." in each]
    if any(not host.exists(f"{_DEVICES}/{each}") for each in addresses):
        for pf, note in bindings.all_noted(host).items():
            if isinstance(note, BootBinding) and note.vfs and vfs.present(host, pf) != note.vfs:
                at_boot.apply(host, node, pf, patient=False)
    for address in addresses:
        pf, number = _place(host, address)
        noted = bindings.noted(host, pf) if pf else None
        settings = dict(noted.vf_settings) if isinstance(noted, BootBinding) else {}
        if number in settings:
            vf_settings.apply_unread(host, pf, {number: settings[number]})


def _place(host: Host, address: str) -> tuple[str, int]:
    """The PF of a VF and its number there; ('', -1) for any other device."""
    try:
        pf = host.link_name(f"{_DEVICES}/{address}/physfn")
    except OSError:
        return "", -1
    return pf, next(_numbers(host, pf, address), -1)


def _numbers(host: Host, pf: str, address: str) -> Iterator[int]:
    try:
        links = host.link_texts(f"{_DEVICES}/{pf}")
    except OSError:
        return
    for name, target in links.items():
        if name.startswith("virtfn") and name[6:].isdecimal() and target.endswith(f"/{address}"):
            yield int(name[6:])
