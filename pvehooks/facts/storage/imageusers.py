"""Which guests of the cluster use a firmware image, and which images there are on this node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guest_facts
from pvehooks.facts.storage import images
from pvehooks.formats import firmwareimage
from pvehooks.host import Host
from pvehooks.records import guests as records
from pvehooks.values import Guest, Unread
from pvehooks.values.base import NamedTuple
from pvehooks.values.images import LIMIT, FirmwareImage, ImageFile
from pvehooks.values.storages import Storage


class ImageUser(NamedTuple):
    """A guest with an image: `how` is "set" (by us, with its sha256 pinned), or "args" (its config names the file)."""

    vmid: int
    label: str
    node: str
    how: str
    sha256: str = ""


class ListedImage(NamedTuple):
    """An image of a storage: its file, and what it is."""

    file: ImageFile
    image: FirmwareImage


def users(host: Host, paths: Mapping[str, str]) -> dict[str, tuple[ImageUser, ...]]:
    """The users of images by volume id; `paths` are the paths by volume id. A snapshot that names an image uses it too.

    Raises PmxcfsAway.
    """
    recorded = records.known_vmids(host)
    found: dict[str, list[ImageUser]] = {volid: [] for volid in paths}
    for node in node_facts.node_names(host):
        guest_context = guest_facts.gather_context(host, node, None)
        for vmid in node_facts.guest_ids_or_none(host, node):
            raw = guest_facts.read_raw_or_error(host, node, vmid)
            if isinstance(raw, OSError) or (vmid not in recorded and b"args:" not in raw):
                continue
            guest = guest_facts.parse_guest(host, node, vmid, raw, guest_context)
            pinned = guest.firmware
            for volid, path in paths.items():
                if pinned is not None and pinned.volid == volid:
                    found[volid].append(ImageUser(vmid, guest.label, node, "set", pinned.sha256))
                elif any(path in args for args in _args(guest)):
                    found[volid].append(ImageUser(vmid, guest.label, node, "args"))
    return {volid: tuple(each) for volid, each in found.items()}


def _args(guest: Guest) -> Iterator[str]:
    config = guest.config
    if config is not None:
        for section in (config.main, config.pending, *config.snapshots.values()):
            yield str(section.get("args", ""))


def there(host: Host, storages: Mapping[str, Storage], node: str) -> Iterator[ListedImage]:
    """The images on the storages that are directories of this node, by storage and name; not what an import that was ended has left."""
    for storage in storages.values():
        directory = images.folder(storage)
        if isinstance(directory, Unread) or not storage.serves(node):
            continue
        try:
            names = host.names(directory)
        except OSError:
            continue
        for name in names:
            if images.is_name(name):
                yield read(host, f"{storage.name}:{images.CONTENT}/{name}")


def read(host: Host, volid: str) -> ListedImage:
    """An image by its volume id, with what it is as far as it can be read."""
    file = images.look(host, volid)
    try:
        content = host.read(file.path, limit=LIMIT) if file.path and not file.missing else b""
    except OSError:
        content = b""
    return ListedImage(file, firmwareimage.read(content))
