"""Files in which people set up kernel modules, sysctls and sysfs, as they stand on the node."""

from __future__ import annotations

from pvehooks.values.base import NamedTuple


class SettingLine(NamedTuple):
    """A line of a file that is read: its number counts from 1, lines that end in a backslash are joined."""

    file: str
    number: int
    text: str


class UnreadFile(NamedTuple):
    """A file with settings that no program reads."""

    path: str
    # The program that should.
    reader: str
    # The reason in words.
    why: str
    # Its first setting.
    example: str
    # How to have it read.
    cure: str
    # The path where it would be read, '' where its path is right.
    target: str = ""


class SettingFiles(NamedTuple):
    """What was written on the node: files that no program reads, and the lines of those in /etc that are read."""

    unread: tuple[UnreadFile, ...]
    # modprobe.d(5).
    modprobe: tuple[SettingLine, ...]
    # modules-load.d(5) and /etc/modules.
    modules: tuple[SettingLine, ...]
