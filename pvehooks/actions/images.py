"""Putting firmware images into a storage, and taking them out."""

from __future__ import annotations

import posixpath
from contextlib import suppress

from pvehooks.errors import NodeError, Refused, UsageError
from pvehooks.facts.storage import images, imageusers
from pvehooks.formats import firmwareimage
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.images import LIMIT, FirmwareImage, ImageFile
from pvehooks.values.storages import Storage

_LOCK = "/run/pvehooks/locks/firmware.lock"
_LOCK_SECONDS = 10.0
_MODE = 0o444
_OLD = 3600.0


def store(host: Host, storage: Storage, name: str, content: bytes) -> tuple[ImageFile, bool]:
    """Writes an image whole, read-only and root's; the file, and whether it is new. Raises Refused where another has the name."""
    directory = images.folder(storage)
    if isinstance(directory, Unread):
        raise UsageError(directory.why, hint="Give a storage of type dir or btrfs: pvesm status")
    _must_be_there(host, storage)
    volid = f"{storage.name}:{images.CONTENT}/{name}"
    try:
        with host.lock(_LOCK, _LOCK_SECONDS):
            present = images.look(host, volid)
            if not present.missing:
                if present.sha256 == images.sha256(content):
                    return present, False
                what = present.trouble or "it is there already, and is another image"
                raise Refused(f"{volid}: {what}", hint="Give the new one another name: --name NAME")
            host.make_dir(directory, durable=True)
            _forget_left_overs(host, directory)
            host.replace(present.path, content, mode=_MODE, durable=True, keep_mode=False, owner=(0, 0))
    except BlockingIOError:
        raise NodeError("another pvehooks writes an image now", hint="Try again.") from None
    written = images.look(host, volid)
    if written.trouble or written.sha256 != images.sha256(content):
        raise NodeError(f"{volid} is not as it was written: {written.trouble or 'it reads differently'}", hint="See: dmesg")
    return written, True


def _forget_left_overs(host: Host, directory: str) -> None:
    """Removes what imports that were ended have left; another node may write into a shared storage at this moment."""
    for name in filter(images.is_left_over, host.names(directory)):
        with suppress(OSError):
            if host.modified(f"{directory}/{name}") < host.now() - _OLD:
                host.remove(f"{directory}/{name}")


def discard(host: Host, volid: str, path: str) -> None:
    """Removes an image that no guest uses; raises Refused. Nobody can be given it meanwhile."""
    try:
        with host.lock(_LOCK, _LOCK_SECONDS):
            users = imageusers.users(host, {volid: path})[volid]
            if users:
                names = ", ".join(f"{user.label} on {user.node}" for user in users)
                first = users[0]
                if first.how == "set":
                    hint = f"Take it from them first: pvehooks firmware unset {first.vmid}"
                else:
                    hint = f"The args of VM {first.vmid}, or of one of its snapshots, name {path}: qm config {first.vmid}; qm listsnapshot {first.vmid}"
                raise Refused(f"{volid} is used by {names}", hint=hint)
            host.remove(path)
    except BlockingIOError:
        raise NodeError("another pvehooks writes an image now", hint="Try again.") from None


def readable(host: Host, path: str) -> tuple[bytes, FirmwareImage]:
    """A file that is to become an image; raises NodeError and, where it is none that a guest could start with, Refused."""
    try:
        content = host.read(path, limit=LIMIT)
    except OSError as error:
        raise NodeError(f"{path}: {error.strerror}") from error
    image = firmwareimage.read(content)
    if not image.kind:
        raise Refused(f"{path} is {image.why}")
    if image.kind == "variables":
        other = path.replace("_VARS", "_CODE")
        hint = f"Its code: {other}" if other != path and host.exists(other) else "Import the code image that belongs to it."
        raise Refused(f"{path} holds variables, not code: those are in each guest's own EFI disk", hint)
    return content, image


def default_name(path: str) -> str:
    """The name that a file gets in a storage."""
    return posixpath.basename(path)


def _must_be_there(host: Host, storage: Storage) -> None:
    """A mount that is away must not have the image written below it (pve-storage: is_mountpoint)."""
    if not host.is_dir(storage.path):
        raise NodeError(f"{storage.path} of the storage '{storage.name}' is not there", hint=f"See: pvesm status --storage {storage.name}")
    mount = storage.options.get("is_mountpoint", "0")
    if mount in ("", "0", "no", "off", "false") or not host.is_node:
        return
    where = posixpath.normpath(mount if mount.startswith("/") else storage.path)
    mounts = host.read("/proc/self/mounts", limit=1 << 24).decode("utf-8", "surrogateescape").split("\n")
    if where not in {line.split(" ")[1].replace("\\040", " ") for line in mounts if " " in line}:
        raise NodeError(f"nothing is mounted at {where}, where the storage '{storage.name}' lies", hint=f"Mount it: mount {where}")
