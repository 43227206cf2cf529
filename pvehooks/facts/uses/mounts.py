"""Mounted file systems and swap (proc_pid_mountinfo(5), proc_swaps(5), and what file systems show in /sys/fs)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pvehooks.facts.reading import unread
from pvehooks.facts.uses.blockdevices import Block, as_written_and_resolved
from pvehooks.host import Host
from pvehooks.values import Unread
from pvehooks.values.base import cached_property

# The daemon has a mount namespace of its own, and may not read that of PID 1; the last has paths only.
_TABLES = ("/proc/1/mountinfo", "/proc/self/mountinfo", "/proc/mounts")
_ESCAPED = re.compile(r"\\([0-7]{3})", re.ASCII)
# They have a directory in /sys/fs for each device that is mounted, in whatever mount namespace.
_SHOWING = ("ext4", "xfs", "f2fs", "nilfs2")
# The kernel's number of these (0:NN) is that of no device, and their source is one, which the kernel has opened. Of all others without
# a device (fuse.*, nfs, tmpfs, overlay) the source is any text: a user chooses it for a FUSE of theirs (fusermount3(1), fsname=).
_WITHOUT_NUMBER = ("btrfs", "bcachefs")
# /proc/mounts has no numbers: there the source is believed of those that always lie on a device.
_ON_DEVICES = (
    *_WITHOUT_NUMBER,
    *("ext2", "ext3", "ext4", "xfs", "f2fs", "nilfs2", "jfs", "reiserfs", "gfs2", "ocfs2", "vfat", "msdos", "exfat", "ntfs", "ntfs3"),
    *("fuseblk", "iso9660", "udf", "hfs", "hfsplus", "squashfs", "erofs", "minix", "ufs"),
)
_LARGEST = 16 << 20


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)


class Mounts:
    """The mount table and the swaps, read once."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def _table(self) -> Mapping[str, list[tuple[str, str]]] | Unread:
        """(mount point, type) by 'major:minor', and by the path of the device as written and resolved."""
        found: dict[str, list[tuple[str, str]]] = {}
        for table in _TABLES:
            try:
                raw = self.host.read(table, limit=_LARGEST)
            except OSError as error:
                why = f"{table}: {error.strerror}"
                continue
            if len(raw) > _LARGEST:
                return Unread(f"{table} is longer than {_LARGEST >> 20} MiB")
            text = raw.decode("utf-8", "surrogateescape")
            for line in text.split("\n"):
                fields = line.split(" ")
                keys, mount = _mountinfo(fields) if table != _TABLES[-1] else _mounts(fields)
                for key in keys:
                    for each in as_written_and_resolved(self.host, key):
                        found.setdefault(each, []).append(mount)
            return found
        return Unread(why)

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read, in words."""
        mounts = (f"what is mounted ({self._table.why})",) if isinstance(self._table, Unread) else ()
        return (*mounts, f"what is swap ({self._swaps.why})") if isinstance(self._swaps, Unread) else mounts

    def of(self, block: Block) -> tuple[tuple[str, ...], str]:
        """Where a device is mounted, the shortest path first, and the type of its file system ('' where it is not mounted).

        There is a type without mount points where it is mounted in another mount namespace only.
        """
        found = {point: kind for key in (block.number, *block.paths) for point, kind in self._mounted(key)}
        kind = self._shown_by(block.name)
        if not found and not kind:
            for fellow in self._btrfs.get(block.name, ()):
                found.update(self._mounted(f"/dev/{fellow}"))
            kind = "btrfs" if block.name in self._btrfs else ""
        points = tuple(sorted(found, key=lambda point: (len(point), point)))
        return points, found[points[0]] if points else kind

    def _mounted(self, key: str) -> list[tuple[str, str]]:
        return [] if isinstance(self._table, Unread) or not key else self._table.get(key, [])

    def _shown_by(self, name: str) -> str:
        return next((kind for kind in _SHOWING if self.host.is_dir(f"/sys/fs/{kind}/{name}")), "")

    @cached_property
    def _btrfs(self) -> Mapping[str, tuple[str, ...]]:
        """The devices of the same mounted btrfs, by the name of each."""
        try:
            systems = self.host.names("/sys/fs/btrfs")
        except OSError:
            return {}
        found = {}
        for system in systems:
            try:
                names = tuple(self.host.names(f"/sys/fs/btrfs/{system}/devices"))
            except OSError:
                continue
            found.update(dict.fromkeys(names, names))
        return found

    def is_journal(self, block: Block) -> bool:
        """Whether a mounted ext4 has its journal on the device: one inside the file system is called NAME-INODE (the kernel's fs/jbd2)."""
        return self.host.is_dir(f"/proc/fs/jbd2/{block.name}")

    def is_swap(self, block: Block) -> bool:
        """Whether the node swaps to the device."""
        return not isinstance(self._swaps, Unread) and any(path in self._swaps for path in block.paths)

    @cached_property
    def _swaps(self) -> frozenset[str] | Unread:
        try:
            lines = self.host.read("/proc/swaps").decode("utf-8", "surrogateescape").split("\n")[1:]
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            return unread("/proc/swaps", error)
        written = [_plain(line.split()[0]) for line in lines if line.strip()]
        return frozenset(path for each in written for path in as_written_and_resolved(self.host, each))


def _mountinfo(fields: list[str]) -> tuple[tuple[str, ...], tuple[str, str]]:
    try:
        end = fields.index("-", 6)
        point, kind, source = _plain(fields[4]), fields[end + 1], _plain(fields[end + 2])
    except (ValueError, IndexError):
        return (), ("", "")
    if fields[2].startswith("0:"):
        return (_sources(source) if kind in _WITHOUT_NUMBER else ()), (point, kind)
    sources = () if kind.startswith("fuse") else _sources(source)
    return (fields[2], *sources, *_logs(kind, fields[-1])), (point, kind)


def _mounts(fields: list[str]) -> tuple[tuple[str, ...], tuple[str, str]]:
    if len(fields) < 4:
        return (), ("", "")
    sources = _sources(_plain(fields[0])) if fields[2] in _ON_DEVICES else ()
    return (*sources, *_logs(fields[2], fields[3])), (_plain(fields[1]), fields[2])


def _sources(source: str) -> tuple[str, ...]:
    """The devices that a mount's source names: btrfs says one of them, bcachefs all, with colons between."""
    return tuple(path for path in source.replace(":/dev/", "\0/dev/").split("\0") if path.startswith("/dev/"))


def _logs(kind: str, options: str) -> Iterator[str]:
    """XFS' external log and real-time devices."""
    if kind != "xfs":
        return iter(())
    return (_plain(option.partition("=")[2]) for option in options.split(",") if option.startswith(("logdev=", "rtdev=")))
