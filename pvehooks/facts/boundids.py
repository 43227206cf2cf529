"""The ids that vfio-pci takes at boot: its parameter `ids` (the kernel's drivers/vfio/pci/vfio_pci.c)."""

from __future__ import annotations

from pvehooks.facts import moduleoptions
from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import BoundIds, Unread


def read(host: Host) -> tuple[BoundIds, ...] | Unread:
    """The ids by the place where they are written; what is no id is left out, as the kernel leaves it out."""
    try:
        given = list(moduleoptions.given(host, "vfio_pci", "ids"))
    except OSError as error:
        return unread(f"what vfio-pci takes at boot: {error.filename}", error)
    bound = (BoundIds(tuple(filter(None, map(_id, value.split(",")))), place) for place, value in given)
    return tuple(each for each in bound if each.ids)


def _id(text: str) -> tuple[int, int] | None:
    """vendor:device, whatever follows: subvendor, subdevice, class and its mask."""
    try:
        vendor, device = (int(word, 16) for word in text.split(":")[:2])
    except ValueError:
        return None
    return vendor, device
