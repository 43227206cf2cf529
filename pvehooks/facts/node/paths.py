"""What is at the paths that a start needs: volumes of storages, disks and ports given by path.

"Not there" is said only where it is certain: a directory that cannot be listed, a storage that is not mounted, a group or pool that is not
active, a file system that a server or a program provides and does not answer: of these nothing is known.
Source: pve-storage, Plugin.pm (filesystem_path, activate_volume) and each storage's plugin; qemu-server, Blockdev.pm and QemuServer.pm.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping

from pvehooks.facts.reading import content_of, within
from pvehooks.facts.storage import storages as files
from pvehooks.formats import propertystring
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import cached_property
from pvehooks.values.starting import Gone
from pvehooks.values.storages import Storage

_NETWORK = {"nfs": ("nfs", "nfs4"), "cifs": ("cifs", "smb3"), "cephfs": ("ceph",)}
_ANSWERING = tuple(kind for kinds in _NETWORK.values() for kind in kinds)
_WITH_FOLDERS = ("dir", *_NETWORK)
_FOLDERS = {"images": "images", "iso": "template/iso"}
_IMAGE = re.compile(r"(?:\d+/[^/\s]+/)?(\d+)/([^/\s]+)", re.ASCII)
_ISO = re.compile(r"iso/([^/]+\.(?:iso|img))", re.ASCII | re.IGNORECASE)
_ZVOL = re.compile(r"(?:base-\d+-\S+/)?((?:base|vm)-\d+-[^/\s]+)", re.ASCII)
_LV = re.compile(r"[a-zA-Z0-9+_.-]+", re.ASCII)
# A service with systemd's PrivateTmp= has others of its own.
_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108 - nothing is written there
# What is asked of a server at most.
_PATIENCE = 1.0
_HOOKS = "/etc/pvehooks/hooks.d"
_SNIPPET = 1 << 18
_HOOK = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class NodePaths:
    """Looked at when a rule asks (values.starting.Paths), what many guests share only once."""

    def __init__(self, host: Host, node: str, storages: Mapping[str, Storage] | Unread) -> None:
        self._host = host
        there = {} if isinstance(storages, Unread) else storages
        self._storages = {name: storage for name, storage in there.items() if storage.serves(node)}
        self._folders: dict[str, bool] = {}
        self._groups: dict[str, frozenset[str] | None] = {}
        self._found: dict[str, Gone | None] = {}
        self._remote: dict[str, bool] = {}
        self._silent: set[str] = set()

    def volume(self, storage: str, volume: str) -> Gone | None:
        """A volume of a storage."""
        known = self._storages.get(storage)
        if known is None:
            return None
        if known.path:
            return self._file(known, volume)
        if known.type in ("lvm", "lvmthin") and not known.shared:
            return self._logical_volume(known.options.get("vgname", ""), volume)
        return self._zvol(known.options.get("pool", ""), volume) if known.type == "zfspool" else None

    def hooks(self) -> bool:
        """Whether scripts run before starts."""
        return hooks_are_there(self._host)

    def drive(self, path: str) -> Gone | None:
        """A disk or an image that is given by its path."""
        directory = path.rpartition("/")[0]
        if path.startswith("/dev/"):
            return Gone(f"{path} does not exist") if self._has_devices and self._absent(path) else None
        if not path.startswith("/") or path.startswith(_PRIVATE) or self._is_remote(directory) or not self._host.is_dir(directory):
            return None
        return Gone(f"{path} does not exist") if self._absent(path) else None

    def port(self, path: str) -> Gone | None:
        """A character device."""
        if not path.startswith("/dev/") or not self._has_devices:
            return None
        if self._absent(path):
            return Gone(f"{path} does not exist")
        # Trees have no device nodes.
        if not self._host.is_node:
            return None
        try:
            mode = self._host.owner_and_mode(path)[1]
        except FileNotFoundError:
            return Gone(f"{path} is a link to what does not exist")
        except OSError:
            return None
        return None if stat.S_ISCHR(mode) else Gone(f"{path} is no character device")

    def snippet(self, volid: str) -> str | Unread:
        """The text of a snippet; a longer one is cut."""
        path = files.path_of(self._host, volid)
        if isinstance(path, Unread):
            return path
        if self._is_remote(path):
            return Unread(f"{path} is not on a file system of this node's own")
        text = content_of(self._host, path, _SNIPPET)
        return text if isinstance(text, Unread) else text.decode("utf-8", "replace")

    @cached_property
    def _has_devices(self) -> bool:
        """Whether the node's devices are seen: not so in most trees, nor where systemd's PrivateDevices= hides them."""
        return self._host.is_dir("/dev/disk")

    def _absent(self, path: str) -> bool:
        """Whether surely nothing is there; a link is something."""
        try:
            self._host.attributes(path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False

    # -- directories --------------------------------------------------------------------------------------------------

    def _file(self, storage: Storage, volume: str) -> Gone | None:
        place = _place(storage, volume)
        if place is None:
            return None
        folder, path = place
        if path not in self._found:
            self._found[path] = self._look(storage, folder, path)
        return self._found[path]

    def _look(self, storage: Storage, folder: str, path: str) -> Gone | None:
        if not self._is_mounted(storage) or path.startswith(_PRIVATE):
            return None
        if not self._is_remote(folder):
            return self._missing(folder, path)
        if storage.name in self._silent or not self._answers(folder):
            return None
        answer = within(_PATIENCE, lambda: self._missing(folder, path))
        if isinstance(answer, TimeoutError):
            # The next one would wait as long.
            self._silent.add(storage.name)
            return None
        return answer

    def _missing(self, folder: str, path: str) -> Gone | None:
        """PVE makes the directory of each content when it activates a storage: where that is not there, the storage is not."""
        if folder not in self._folders:
            self._folders[folder] = self._host.is_dir(folder)
        if not self._folders[folder] or not self._absent(path):
            return None
        try:
            empty = "" if self._host.names(folder) else folder
        except OSError:
            return None
        return Gone(f"{path} does not exist", empty)

    def _is_mounted(self, storage: Storage) -> bool:
        """Whether what is to be mounted for the storage is; what is not to be, is."""
        if storage.type in _NETWORK:
            return self._mounts.get(storage.path) in _NETWORK[storage.type]
        wanted = storage.options.get("is_mountpoint", "0")
        switch = propertystring.boolean(wanted)
        point = wanted if switch is None else storage.path if switch else ""
        return not point or point in self._mounts or files.local_path(self._host, point, self._mounts) in self._mounts

    @cached_property
    def _mounts(self) -> Mapping[str, str]:
        return files.mounted(self._host)

    def _is_remote(self, path: str) -> bool:
        """Whether asking there, or where the links on the way lead, may take for ever."""
        if path not in self._remote:
            self._remote[path] = files.local_path(self._host, path, self._mounts) is None
        return self._remote[path]

    def _answers(self, path: str) -> bool:
        """Whether the path is on a file system whose server can be waited for: FUSE, unlike the kernel's own, may hold who asks for ever."""
        while path not in self._mounts and path != "/":
            path = path.rpartition("/")[0] or "/"
        return self._mounts.get(path) in _ANSWERING

    # -- LVM and ZFS --------------------------------------------------------------------------------------------------

    def _logical_volume(self, group: str, volume: str) -> Gone | None:
        """LVM keeps a copy of each group's metadata, and renews it whenever it lists groups (lvm2, tools/reporter.c), as pvestatd has it do.

        The nodes below /dev show nothing: PVE activates a guest's volumes when it starts.
        """
        if not group or not _LV.fullmatch(volume) or not _LV.fullmatch(group):
            return None
        if group not in self._groups:
            self._groups[group] = self._volumes_of(group)
        there = self._groups[group]
        if there is None or volume in there or not self._absent(f"/dev/{group}/{volume}") or not self._keeps_backups:
            return None
        return Gone(f"the volume group {group} has no {volume}")

    def _volumes_of(self, group: str) -> frozenset[str] | None:
        try:
            text = self._host.read(f"/etc/lvm/backup/{group}", limit=16 << 20).decode("utf-8", "replace")
        except OSError:
            return None
        inside = f"\n{text}".partition(f"\n{group} {{\n")[2]
        _, found, after = f"\n{inside}".partition("\n\tlogical_volumes {\n")
        return frozenset(re.findall(r"^\t\t(\S+) \{$", after, re.MULTILINE)) if found else None

    @cached_property
    def _keeps_backups(self) -> bool:
        """Whether lvm.conf(5) leaves `backup` on."""
        for path in ("/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"):
            try:
                text = self._host.read_text(path)
            except OSError:
                continue
            if re.search(r"^\s*(?:backup/)?backup\s*=\s*0", text, re.MULTILINE):
                return False
        return True

    def _zvol(self, dataset: str, volume: str) -> Gone | None:
        match = _ZVOL.fullmatch(volume)
        pool = dataset.partition("/")[0]
        imported = pool and "/." not in dataset and self._host.is_dir(f"/proc/spl/kstat/zfs/{pool}")
        # Where the pool has no directory there, udev may not have come to it yet.
        if match is None or not imported or not self._host.is_dir(f"/dev/zvol/{pool}"):
            return None
        path = f"/dev/zvol/{dataset}/{match[1]}"
        return Gone(f"{path} does not exist, although the pool {pool} is imported") if self._absent(path) else None


def _place(storage: Storage, volume: str) -> tuple[str, str] | None:
    """The directory of the volume's content, and the volume's path; None for what is neither a disk nor an ISO image."""
    image = _IMAGE.fullmatch(volume)
    iso = None if image else _ISO.fullmatch(volume)
    if image is None and iso is None:
        return None
    content = "images" if image else "iso"
    folder = _FOLDERS[content]
    moved = storage.options.get("content-dirs", "") if storage.type in _WITH_FOLDERS else ""
    for each in re.split(r"[,;\s\0]+", moved) if moved else ():
        name, _, there = each.partition("=")
        folder = there if name == content and there else folder
    folder = f"{storage.path}/{folder}"
    if iso:
        return folder, f"{folder}/{iso[1]}"
    assert image is not None
    name = image[2]
    if storage.type == "btrfs" and name.endswith(".raw"):
        name = f"{name.removesuffix('.raw')}/disk.raw"
    return folder, f"{folder}/{image[1]}/{name}"


def hooks_are_there(host: Host) -> bool:
    """Whether the administrator has scripts that libexec/hookscript runs before starts: they may make what is missing. Also where that cannot be seen."""
    try:
        return any(_HOOK.fullmatch(name) for name in host.names(_HOOKS))
    except FileNotFoundError:
        return False
    except OSError:
        return True
