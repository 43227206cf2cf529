"""The files of /etc that set up kernel modules, sysctls, sysfs and GRUB: which of them no program reads, and the lines of the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pvehooks.facts.reading import folders_in, names_in, unread
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.settingfiles import SettingFiles, SettingLine, UnreadFile

_REBUILD = "update-initramfs -u -k all"
_LIMIT = 1 << 16
# Names that say that a file is meant to be inactive, or is no file of settings.
_INACTIVE = re.compile(
    r"(?:\..*|.*~|README.*|.*\.(?:conf|cfg)\..*|.*[._-](?:bak|backup|old|orig|off|disabled?|save|saved|tmp|swp|dpkg-\w+|ucf-\w+|sample|example))",
    re.IGNORECASE,
)
# A name as the reader wants it, and how near another one has to be to be taken for it (difflib's ratio).
_NEAR = 0.84
_COMMENTS = ("#", ";")


class _Place(NamedTuple):
    """A directory that a program reads: the ending of its files, what a line of them looks like, what makes a change effective."""

    directory: str
    ending: str
    reader: str
    line: re.Pattern[str]
    apply: str


_MODPROBE = _Place(
    "/etc/modprobe.d", ".conf", "modprobe", re.compile(r"(?:alias|blacklist|install|options?|remove|softdep|weakdep)\s+\S"), _REBUILD
)
_MODULES = _Place("/etc/modules-load.d", ".conf", "systemd-modules-load", re.compile(r"[\w-]+(?:\s.*)?"), _REBUILD)
_SYSCTL = _Place("/etc/sysctl.d", ".conf", "systemd-sysctl", re.compile(r"-?[\w.*/-]+\s*=\s*\S"), "sysctl --system")
_SYSFS = _Place("/etc/sysfs.d", ".conf", "sysfsutils", re.compile(r"[\w./:-]+\s*=\s*\S"), "systemctl restart sysfsutils")
_GRUB = _Place("/etc/default/grub.d", ".cfg", "grub-mkconfig", re.compile(r"(?:export\s+)?GRUB_\w+="), "update-grub")
_PLACES = (_MODPROBE, _MODULES, _SYSCTL, _SYSFS, _GRUB)


def read(host: Host) -> SettingFiles | Unread:
    """The files as they are; a file that cannot be read is left out: the rules on modules say so."""
    try:
        host.names("/etc")
    except OSError as error:
        return unread("/etc", error)
    files = (*_misnamed(host), *_misplaced(host), *_old_names(host), *_without_sysfsutils(host))
    return SettingFiles(tuple(_each_to_its_place(files)), tuple(_lines(host, _MODPROBE)), tuple(_module_lines(host)))


def _each_to_its_place(files: Iterable[UnreadFile]) -> Iterator[UnreadFile]:
    """The files; where several belong to one path, only the first is moved there: the command for the next would overwrite it."""
    taken: set[str] = set()
    for file in files:
        _, also, rest = file.cure.partition(" && ")
        if file.target in taken and also:
            yield file._replace(cure=f"Move its lines into {file.target}, where another file belongs, then: {rest}")
        else:
            yield file
        taken |= {file.target} - {""}


def _misnamed(host: Host) -> Iterator[UnreadFile]:
    """Files in the right directory whose names have the wrong ending (modprobe.d(5), modules-load.d(5), sysctl.d(5), grub-mkconfig(8))."""
    for place in _PLACES:
        for name in names_in(host, place.directory):
            if name.endswith(place.ending) or _INACTIVE.fullmatch(name):
                continue
            path = f"{place.directory}/{name}"
            target = f"{place.directory}/{_stem(name, place.ending)}{place.ending}"
            example = _example(host, path, place)
            if example:
                yield UnreadFile(
                    path,
                    place.reader,
                    f"{place.reader} reads only files that end in {place.ending}",
                    example,
                    _moved(host, path, target, place),
                    target,
                )


def _stem(name: str, ending: str) -> str:
    """The name without a mistaken ending: vfio.cfg, vfio.CONF and vfio.txt are all vfio."""
    stem, dot, last = name.rpartition(".")
    return stem if dot and stem and last.lower() in ("conf", "cfg", "cnf", "config", "txt", "con", "confg", "cof", ending[1:]) else name


def _misplaced(host: Host) -> Iterator[UnreadFile]:
    """Directories of /etc whose names are nearly those of one that is read."""
    known = {place.directory.rpartition("/")[2]: place for place in (_MODPROBE, _MODULES, _SYSCTL, _SYSFS)}
    aliases = {"modules.d": _MODULES, "module.d": _MODULES, "modprobe": _MODPROBE, "sysctl": _SYSCTL, "sysfs": _SYSFS}
    for folder in folders_in(host, "/etc"):
        if folder in known:
            continue
        near = max((each for each in known if _may_be_near(folder, each)), key=lambda each: _likeness(folder, each), default="")
        place = aliases.get(folder) or (known[near] if near and _likeness(folder, near) >= _NEAR else None)
        for name in names_in(host, f"/etc/{folder}") if place else ():
            path = f"/etc/{folder}/{name}"
            example = _example(host, path, place) if place and not _INACTIVE.fullmatch(name) else ""
            if place and example:
                target = f"{place.directory}/{_stem(name, place.ending)}{place.ending}"
                yield UnreadFile(
                    path,
                    place.reader,
                    f"{place.reader} reads {place.directory}, not /etc/{folder}",
                    example,
                    _moved(host, path, target, place),
                    target,
                )


def _may_be_near(one: str, other: str) -> bool:
    """Whether two words may be alike, by the characters that they have in common; /etc has a hundred directories, and finding out takes long."""
    common = sum(min(one.count(char), other.count(char)) for char in set(one))
    return 2 * common >= _NEAR * (len(one) + len(other))


def _likeness(one: str, other: str) -> float:
    from difflib import SequenceMatcher

    return SequenceMatcher(None, one, other).ratio()


def _old_names(host: Host) -> Iterator[UnreadFile]:
    """Files that programs read once.

    kmod reads directories only (its libkmod.c, default_config_paths). Debian 13 has no link to /etc/sysctl.conf in /etc/sysctl.d any more
    (its release notes, "/etc/sysctl.conf is no longer honored").
    """
    example = _example(host, "/etc/modprobe.conf", _MODPROBE)
    if example:
        target = "/etc/modprobe.d/local.conf"
        cure = _moved(host, "/etc/modprobe.conf", target, _MODPROBE)
        yield UnreadFile("/etc/modprobe.conf", "modprobe", "modprobe reads only files in /etc/modprobe.d", example, cure, target)
    example = _example(host, "/etc/sysctl.conf", _SYSCTL)
    linked = any(host.real(f"/etc/sysctl.d/{name}") == "/etc/sysctl.conf" for name in names_in(host, "/etc/sysctl.d"))
    if example and not linked and _debian(host) >= 13:
        target = "/etc/sysctl.d/99-local.conf"
        cure = _moved(host, "/etc/sysctl.conf", target, _SYSCTL)
        yield UnreadFile(
            "/etc/sysctl.conf", "systemd-sysctl", "systemd-sysctl does not read it at boot since Debian 13", example, cure, target
        )


def _without_sysfsutils(host: Host) -> Iterator[UnreadFile]:
    """The files of sysfsutils without the package, or without /etc/sysfs.conf: its unit of Debian 13 does nothing then."""
    unit = host.exists("/usr/lib/systemd/system/sysfsutils.service") or host.exists("/lib/systemd/system/sysfsutils.service")
    there = unit or host.exists("/etc/init.d/sysfsutils")
    if unit and host.exists("/etc/sysfs.conf"):
        return
    if there and not unit:
        return
    paths = ["/etc/sysfs.conf", *(f"{_SYSFS.directory}/{name}" for name in names_in(host, _SYSFS.directory) if name.endswith(".conf"))]
    for path in paths:
        example = _example(host, path, _SYSFS)
        if example and unit:
            yield UnreadFile(
                path,
                "sysfsutils",
                "sysfsutils applies nothing without /etc/sysfs.conf",
                example,
                f"Type: touch /etc/sysfs.conf && {_SYSFS.apply}",
            )
        elif example:
            yield UnreadFile(
                path, "sysfsutils", "the package sysfsutils, which reads it, is not installed", example, "Type: apt install sysfsutils"
            )


def _debian(host: Host) -> int:
    """The release of Debian, 0 where it is unknown (os-release(5))."""
    try:
        match = re.search(r'^VERSION_ID="?([0-9]{1,3})', host.read_text("/etc/os-release"), re.MULTILINE)
    except OSError:
        return 0
    return int(match[1]) if match else 0


def _moved(host: Host, path: str, target: str, place: _Place) -> str:
    """The command that puts a file where it is read; it never overwrites one."""
    if not re.fullmatch(r"[A-Za-z0-9_./@%+-]+", path) or host.exists(target):
        return f"Move its lines into a file of {place.directory} that ends in {place.ending}, then: {place.apply}"
    return f"Type: mv {path} {target} && {place.apply}"


def _text(host: Host, path: str) -> str:
    """The file's text, '' for what is no plain text file."""
    try:
        content = host.read(path, _LIMIT)
    except OSError:
        return ""
    return "" if len(content) > _LIMIT or b"\0" in content else content.decode("utf-8", "replace")


def _example(host: Host, path: str, place: _Place) -> str:
    """The first line that is one of this kind of file, '' where none is."""
    for line in _text(host, path).split("\n"):
        text = line.strip()
        if text and not text.startswith(_COMMENTS) and place.line.match(text):
            return text[:80]
    return ""


# -- the lines of files that are read -------------------------------------------------------------------------------------


def _lines(host: Host, place: _Place) -> Iterator[SettingLine]:
    for name in names_in(host, place.directory):
        if name.endswith(place.ending) and not name.startswith("."):
            yield from _of_file(host, f"{place.directory}/{name}")


def _module_lines(host: Host) -> Iterator[SettingLine]:
    """Debian has a link to /etc/modules in /etc/modules-load.d: each file counts once."""
    paths = [f"{_MODULES.directory}/{name}" for name in names_in(host, _MODULES.directory) if name.endswith(".conf")]
    for path in dict.fromkeys((*(path for path in paths if host.real(path) == path), "/etc/modules")):
        yield from _of_file(host, path)


def _of_file(host: Host, path: str) -> Iterator[SettingLine]:
    joined, first = "", 0
    for number, line in enumerate(_text(host, path).split("\n"), 1):
        joined, first = joined + line, first or number
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        if joined.strip() and not joined.lstrip().startswith(_COMMENTS):
            yield SettingLine(path, first, joined)
        joined, first = "", 0
