"""Files in which people set up kernel modules, sysctls and sysfs, as they stand on the node."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple


class SettingLine(NamedTuple):
    """A line of a file that is read: its number counts from 1, lines that end in a backslash are joined."""

    file: str
    number: int
    text: str


class UnreadFile(NamedTuple):
    """A file with settings that no program reads.

    `reader` is the program that should, `why` the reason in words, `example` its first setting, `cure` how to have it read, `target` the path
    where it would be read ('' where its path is right).
    """

    path: str
    reader: str
    why: str
    example: str
    cure: str
    target: str = ""


class SettingFiles(NamedTuple):
    """What was written on the node: files that no program reads, and the lines of those in /etc that are read."""

    unread: tuple[UnreadFile, ...]
    # modprobe.d(5).
    modprobe: tuple[SettingLine, ...]
    # modules-load.d(5) and /etc/modules.
    modules: tuple[SettingLine, ...]


class VfMaker(NamedTuple):
    """Something of the administrator's that makes virtual functions at boot.

    `place` is its file, `unit` the unit's name ('' for rc.local and cron), `early` whether it is ordered before guests start, `devices` are
    the addresses of the PFs (none where it does not name them).
    """

    place: str
    unit: str
    early: bool
    devices: tuple[str, ...]
