"""Firmware images: files below `efi-firmware/` of storages that are directories of this node (STORAGE:efi-firmware/NAME).

The folder and the volume id are as Proxmox's developers agreed on them for a content type of their own.
"""

from __future__ import annotations

import re
import stat

from pvehooks.facts.reading import content_of, within
from pvehooks.facts.storage import storages as storage_facts
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.images import LIMIT, FirmwareNetwork, ImageFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvehooks.facts.storage.storages import StorageSections
    from pvehooks.values.storages import Storage

CONTENT = "efi-firmware"
# A name that needs quotes neither in a shell nor in QEMU's options (where a comma ends a value).
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_WRITABLE_BY_OTHERS = 0o022
_DIRECTORIES = ("dir", "btrfs")
# Seconds for a file system whose server or program may be away.
_PATIENCE = 2.0
# What a writer that was ended leaves beside its file (Host.replace).
_LEFT_OVER = r".+\.tmp\.[0-9]+"


def is_name(name: str) -> bool:
    """Whether an image may have this name."""
    return re.fullmatch(_NAME, name, re.ASCII) is not None and len(name) <= 128 and not is_left_over(name)


def is_left_over(name: str) -> bool:
    """Whether a file of this name is what an import that was ended has left."""
    return re.fullmatch(_LEFT_OVER, name, re.ASCII) is not None


def folder(storage: Storage) -> str | Unread:
    """The directory of a storage's firmware images; Unread for one that is no directory of a node."""
    if storage.type not in _DIRECTORIES or not storage.path.startswith("/"):
        return Unread(f"the storage '{storage.name}' ({storage.type}) is no directory of this node")
    return f"{storage.path}/{CONTENT}"


def is_image_path(path: str) -> bool:
    """Whether a file lies where images do."""
    directory, _, name = path.rpartition("/")
    return path.startswith("/") and directory.endswith(f"/{CONTENT}") and is_name(name)


def path_of(storages: Mapping[str, Storage] | Unread, volid: str) -> str | Unread:
    """The path of an image (STORAGE:efi-firmware/NAME)."""
    name, _, volume = volid.partition(":")
    kind, _, file = volume.partition("/")
    if kind != CONTENT or not is_name(file):
        return Unread(f"'{volid}' is no firmware image (STORAGE:{CONTENT}/NAME)")
    if isinstance(storages, Unread):
        return storages
    storage = storages.get(name)
    if storage is None:
        return Unread(f"the storage '{name}' does not exist")
    directory = folder(storage)
    return directory if isinstance(directory, Unread) else f"{directory}/{file}"


def look(host: Host, volid: str, content: bool = True, known: StorageSections | None = None) -> ImageFile:
    """The image's file, read whole for its sha256 unless `content` is False. `known` are the storages, if they were read already.

    Who else than root could write it could give the guest another firmware: that is trouble, and so is a link.
    """
    known = known or storage_facts.StorageSections(host)
    path = path_of(known.storages(), volid)
    if isinstance(path, Unread):
        return ImageFile(volid, "", path.why, missing=True)
    file: str = path
    if known.local_path(path) is not None:
        return _look(host, volid, path, content)
    answer = within(_PATIENCE, lambda: _look(host, volid, file, content))
    if isinstance(answer, TimeoutError):
        return ImageFile(volid, path, f"{path} cannot be read: its file system has not answered for {_PATIENCE:.0f} s")
    return answer


def _look(host: Host, volid: str, path: str, content: bool) -> ImageFile:
    try:
        mode, owner, _, _ = host.attributes(path)
        trouble, remedy = _trouble(volid.partition(":")[0], path, mode, owner)
        if trouble or not content:
            # A link may lead to a file that QEMU takes.
            is_refused = not (stat.S_ISREG(mode) or stat.S_ISLNK(mode))
            return ImageFile(volid, path, trouble, remedy=remedy, is_refused=is_refused)
        raw = host.read(path, limit=LIMIT)
    except FileNotFoundError:
        return ImageFile(volid, path, f"{path} does not exist", missing=True)
    except OSError as error:
        return ImageFile(volid, path, f"{path} cannot be read: {error.strerror}")
    if len(raw) > LIMIT:
        return ImageFile(volid, path, f"{path} is larger than any firmware ({LIMIT >> 20} MiB)", size=len(raw))
    return ImageFile(volid, path, sha256=sha256(raw), size=len(raw))


class NetworksOfImages:
    """The network stacks of images (values.images.FirmwareNetworks). Unpacking one takes a tenth of a second: each is read once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._found: dict[str, FirmwareNetwork | Unread] = {}

    def of(self, image: str) -> FirmwareNetwork | Unread:
        """What is in the image: STORAGE:efi-firmware/NAME, or a path on this node."""
        if image not in self._found:
            self._found[image] = self._of(image)
        return self._found[image]

    def _of(self, image: str) -> FirmwareNetwork | Unread:
        path = image if image.startswith("/") else path_of(storage_facts.read(self._host), image)
        if isinstance(path, Unread):
            return path
        file: str = path
        if storage_facts.local_path(self._host, path, storage_facts.mounted(self._host)) is not None:
            return self._read(file)
        answer = within(_PATIENCE, lambda: self._read(file))
        return Unread(f"{path} cannot be read: its file system has not answered") if isinstance(answer, TimeoutError) else answer

    def _read(self, path: str) -> FirmwareNetwork | Unread:
        from pvehooks.formats import firmwaredrivers

        raw = content_of(self._host, path, LIMIT)
        if isinstance(raw, Unread):
            return raw
        found = firmwaredrivers.read(raw) if len(raw) <= LIMIT else None
        return found or Unread(f"{path} has no drivers that can be read")


def sha256(content: bytes) -> str:
    """The SHA-256 of an image, 64 lower-case hex digits."""
    import hashlib

    return hashlib.sha256(content, usedforsecurity=True).hexdigest()


def _trouble(storage: str, path: str, mode: int, owner: int) -> tuple[str, str]:
    """What is wrong with the file by its attributes, and what to type; two empty words if nothing."""
    name = path.rpartition("/")[2]
    anew = f"Move it away, and put the image itself there: pvehooks firmware import FILE --storage {storage} --name {name}"
    if stat.S_ISLNK(mode):
        return f"{path} is a symbolic link", anew
    if not stat.S_ISREG(mode):
        return f"{path} is no regular file", anew
    cure = f"Another user may have written it. If it is the right one: chown root: '{path}' && chmod 444 '{path}'"
    if owner != 0:
        return f"{path} does not belong to root", cure
    if mode & _WRITABLE_BY_OTHERS:
        return f"{path} can be written by others than root", cure
    return "", ""
