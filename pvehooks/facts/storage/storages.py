"""The cluster's storages, and where volumes of snippets lie: /etc/pve/storage.cfg (pve-storage, PVE/Storage.pm, PVE/Storage/Plugin.pm)."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping

from pvehooks.facts.reading import optional_of
from pvehooks.formats import propertystring, sectionconfig
from pvehooks.formats.sectionconfig import Section
from pvehooks.host import Host
from pvehooks.values import Hookscript, Unread
from pvehooks.values.base import cached_property
from pvehooks.values.storages import Storage

STORAGE_CFG = "/etc/pve/storage.cfg"
_VOLUME_ID = r"([A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]):(.+)"
_SEPARATORS = r"[,; \t\n\r\f\0]+"
_NETWORK = ("nfs", "cifs", "cephfs", "glusterfs")
_WITH_SNIPPETS = ("dir", "btrfs", *_NETWORK)
_WITH_FOLDERS = ("dir", "nfs", "cifs", "cephfs")
_WITHOUT_SNIPPETS = ("lvm", "lvmthin", "zfspool", "zfs", "rbd", "iscsi", "iscsidirect", "pbs", "esxi")
# Those that all nodes see, whatever the file says (`shared` in each plugin's plugindata).
_SEEN_BY_ALL = ("nfs", "cifs", "cephfs", "glusterfs", "iscsi", "iscsidirect", "rbd", "zfs", "pbs", "esxi")
# File systems that the kernel serves from a disk or from memory of this node, as /proc/mounts names them. With all others another machine or
# a program answers, or, with autofs, the walk to a path waits for a server.
_LOCAL_FILE_SYSTEMS = frozenset(
    (
        *(
            "ext2",
            "ext3",
            "ext4",
            "xfs",
            "btrfs",
            "bcachefs",
            "zfs",
            "f2fs",
            "jfs",
            "reiserfs",
            "nilfs2",
            "vfat",
            "msdos",
            "exfat",
            "ntfs3",
        ),
        *("hfsplus", "iso9660", "udf", "squashfs", "erofs", "tmpfs", "ramfs", "rootfs", "devtmpfs", "hugetlbfs", "overlay", "aufs"),
        *(
            "proc",
            "sysfs",
            "devpts",
            "cgroup",
            "cgroup2",
            "efivarfs",
            "securityfs",
            "configfs",
            "debugfs",
            "tracefs",
            "bpf",
            "pstore",
            "mqueue",
        ),
    )
)
# MAXSYMLINKS of the kernel's include/linux/namei.h.
_MAX_LINKS = 40


def read(host: Host) -> Mapping[str, Storage] | Unread:
    """The storages by name, disabled ones among them; `local` is always there."""
    return StorageSections(host).storages()


def _storage(section: Section) -> Storage:
    options = section.options
    nodes = frozenset(name for name in re.split(r"[,;\s\0]+", options.get("nodes", "")) if name)
    shared = section.type in _SEEN_BY_ALL or propertystring.boolean(options.get("shared", "0")) == 1
    path = base_of(section) if section.type in _WITH_SNIPPETS else ""
    disabled = propertystring.boolean(options.get("disable", "0")) == 1
    return Storage(section.name, section.type, nodes, disabled, shared, path, options, section.line > 0)


class StorageSections:
    """The sections of storage.cfg, read when first asked for; one reading serves all guests."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._found: Mapping[str, Section] | Unread | None = None
        self._hookscripts: dict[str, Hookscript] = {}

    def read(self) -> Mapping[str, Section] | Unread:
        """The storages by name, disabled ones among them; `local` is always there."""
        if self._found is None:
            self._found = _read(self._host)
        return self._found

    def storages(self) -> Mapping[str, Storage] | Unread:
        """The same as values."""
        found = self.read()
        return found if isinstance(found, Unread) else {name: _storage(section) for name, section in found.items()}

    def path_of(self, volid: str) -> str | Unread:
        """The path of a snippet (STORAGE:snippets/NAME); Unread for all other volumes."""
        storage, _, volume = volid.partition(":")
        if not re.fullmatch(_VOLUME_ID, volid):
            return Unread(f"'{volid}' is no volume ID")
        kind, _, name = volume.partition("/")
        if kind != "snippets" or not name or "/" in name:
            return Unread(f"'{volid}' is no snippet (STORAGE:snippets/NAME)")
        known = self.read()
        if isinstance(known, Unread):
            return known
        section = known.get(storage)
        if section is None:
            return Unread(f"the storage '{storage}' does not exist")
        directory = snippets_of(section)
        return directory if isinstance(directory, Unread) else f"{directory}/{name}"

    def hookscript(self, volid: str) -> Hookscript:
        """A hookscript with what PVE would say against it (pve-guest-common, PVE/GuestHelpers.pm, check_hookscript).

        PVE does not ask whether the storage is disabled, or meant for another node. On network storage nothing is looked for:
        a server that is away would hold us up.
        """
        known = self._hookscripts.get(volid)
        if known is None:
            known = self._hookscripts[volid] = self._hookscript(volid)
        return known

    def _hookscript(self, volid: str) -> Hookscript:
        path = self.path_of(volid)
        storages = self.read()
        section = None if isinstance(storages, Unread) else storages.get(volid.partition(":")[0])
        if isinstance(path, Unread):
            unknown = isinstance(storages, Unread) or (section is not None and section.type not in _WITH_SNIPPETS + _WITHOUT_SNIPPETS)
            return Hookscript(volid, "", "" if unknown else path.why)
        if (section is not None and _is_network(section)) or self.local_path(path) is None:
            return Hookscript(volid, path, "")
        return Hookscript(volid, path, _file_trouble(self._host, path))

    def local_path(self, path: str) -> str | None:
        """The path with its links resolved, None where that leads to what this node does not serve itself; see local_path()."""
        return local_path(self._host, path, self._mounts)

    @cached_property
    def _mounts(self) -> Mapping[str, str]:
        return mounted(self._host)


def path_of(host: Host, volid: str) -> str | Unread:
    """The path of a snippet (STORAGE:snippets/NAME); Unread for all other volumes."""
    return StorageSections(host).path_of(volid)


def _read(host: Host) -> Mapping[str, Section] | Unread:
    raw = optional_of(host, STORAGE_CFG)
    if isinstance(raw, Unread):
        return raw
    return {section.name: section for section in sectionconfig.parse_storages(raw).sections}


def base_of(storage: Section) -> str:
    """The directory of a storage that keeps files; network storage has a default (check_config of each plugin)."""
    return (storage.options.get("path") or f"/mnt/pve/{storage.name}").rstrip("/")


def snippets_of(storage: Section) -> str | Unread:
    """The directory of a storage's snippets, with `content-dirs` as it is set."""
    if storage.type in _WITHOUT_SNIPPETS:
        return Unread(f"the storage '{storage.name}' ({storage.type}) cannot hold snippets")
    if storage.type not in _WITH_SNIPPETS:
        return Unread(f"where the storage '{storage.name}' ({storage.type}) keeps snippets is not known")
    folder = "snippets"
    if storage.type in _WITH_FOLDERS:
        for each in re.split(_SEPARATORS, storage.options.get("content-dirs", "")):
            content, _, there = each.partition("=")
            folder = there if content == "snippets" and there else folder
    return f"{base_of(storage)}/{folder}"


def _is_network(storage: Section) -> bool:
    return storage.type in _NETWORK or propertystring.boolean(storage.options.get("shared", "0")) != 0


def _file_trouble(host: Host, path: str) -> str:
    try:
        _, mode = host.owner_and_mode(path)
    except OSError as error:
        return f"the script {path} does not exist" if isinstance(error, FileNotFoundError) else f"the script {path}: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"the script {path} is no file"
    return "" if mode & 0o111 else f"the script {path} is not executable"


# -- where a stub may lie ---------------------------------------------------------------------------------------------


def local_snippets(host: Host, node: str = "") -> tuple[tuple[str, str], ...]:
    """(storage, directory of snippets) of each local directory storage that root alone can write to, `local` first, disabled ones last.

    The directory itself may be missing. Not among them: storages that are shared, not mounted, not on a local file system, or, but for
    `local`, for other nodes than `node`. PVE runs hookscripts from a disabled storage as well (pve-guest-common, GuestHelpers.pm).
    """
    storages = StorageSections(host).read()
    if isinstance(storages, Unread):
        return ()
    mounts = mounted(host)
    found = []
    for storage in sorted(storages.values(), key=lambda each: (each.name != "local", _is_disabled(each))):
        directory = snippets_of(storage) if storage.type == "dir" else None
        if isinstance(directory, str) and _is_ours(storage, node) and _is_there(host, storage, mounts) and roots_alone(host, directory):
            found.append((storage.name, directory))
    return tuple(found)


def _is_disabled(storage: Section) -> bool:
    return propertystring.boolean(storage.options.get("disable", "0")) != 0


def _is_ours(storage: Section, node: str) -> bool:
    """Whether the storage is this node's own. `local` always is, whatever its `nodes` say: its directory comes with PVE."""
    nodes = [name for name in re.split(_SEPARATORS, storage.options.get("nodes", "")) if name]
    return not _is_network(storage) and (not nodes or node in nodes or storage.name == "local")


def _is_there(host: Host, storage: Section, mounts: Mapping[str, str]) -> bool:
    """Whether the storage's directory is there, mounted where it has to be, and on a local file system."""
    base = base_of(storage) or "/"
    if local_path(host, base, mounts) is None:
        return False
    if storage.name != "local" and not host.is_dir(base):
        return False
    wanted = storage.options.get("is_mountpoint", "0")
    switch = propertystring.boolean(wanted)
    mount_point = wanted if switch is None else base if switch else ""
    return not mount_point or local_path(host, mount_point, mounts) in mounts


def is_remote(path: str, mounts: Mapping[str, str]) -> bool:
    """Whether the path, as it is written, lies on a file system that is not known to be local: who asks there may wait for ever.

    A path below no known mount (in a tree without a mount table) is taken for local.
    """
    while path not in mounts and path != "/":
        path = path.rpartition("/")[0] or "/"
    return path in mounts and mounts[path] not in _LOCAL_FILE_SYSTEMS


def local_path(host: Host, path: str, mounts: Mapping[str, str]) -> str | None:
    """The path with all links resolved; None where it, or a link on the way, leads to a file system that is not known to be local.

    Nothing on such a file system is asked: also lstat(2) of a mount point asks its server. Links that lead in a circle leave the path as
    it is: who opens it gets ELOOP.
    """
    done = ""
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        if is_remote(here, mounts):
            return None
        target = _link(host, here)
        if not target:
            done = here
            continue
        links += 1
        if links > _MAX_LINKS:
            return path
        done = "" if target.startswith("/") else done
        todo.extend(each for each in reversed(target.split("/")) if each not in ("", "."))
    return done or "/"


def mounted(host: Host) -> Mapping[str, str]:
    """The kind of file system by mount point; of several on one, the last, which is the one that is seen."""
    try:
        lines = host.read("/proc/mounts").decode("utf-8", "surrogateescape").split("\n")
    except OSError:
        return {}
    found = {}
    for line in lines:
        parts = line.split(" ")
        if len(parts) > 2:
            found[re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), parts[1])] = parts[2]
    return found


def roots_alone(host: Host, directory: str) -> bool:
    """Whether root owns the directory and all above it, also those that symbolic links lead to, and no other user may write there.

    What is not there yet does not count.
    """
    todo = [directory]
    seen = set()
    while todo:
        parts = todo.pop().rstrip("/").split("/")
        for path in ("/".join(parts[:count]) or "/" for count in range(1, len(parts) + 1)):
            if path in seen:
                continue
            seen.add(path)
            try:
                owner, mode = host.owner_and_mode(path)
            except FileNotFoundError:
                break
            except OSError:
                return False
            if owner != 0 or mode & (stat.S_IWGRP | stat.S_IWOTH):
                return False
            target = _link(host, path)
            if target:
                todo.append(target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}")
    return True


def _link(host: Host, path: str) -> str:
    try:
        return host.link_text(path)
    except OSError:
        return ""
