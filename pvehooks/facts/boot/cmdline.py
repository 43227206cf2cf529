"""The kernel command line three ways: what runs, what the boot loaders' files would give, and what stands in the boot loader's menu."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.boot import grubdefaults, kernels
from pvehooks.facts.node import moduleoptions
from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import GRUB_DEFAULTS, KERNEL_CMDLINE, CommandLines, Loader, Planned, Written

_GRUB_CFG = "/boot/grub/grub.cfg"
_CFG_LIMIT = 1 << 22
_LINUX = re.compile(r"^\s*linux(?:16|efi)?\s+(\S+)[ \t]*(.*)$", re.MULTILINE)
_VERSION = re.compile(r"vmlinuz-(\S+)$")
# Where ESPs are mounted by hand, beside those that the mounts tell of.
_ESPS = ("/boot/efi", "/efi", "/boot")
_LONGEST = 1 << 16


def read(host: Host, loader: Loader | Unread) -> CommandLines | Unread:
    """The command lines; only the loader's own menu is looked at."""
    running: tuple[str, ...] | Unread
    try:
        running = words(host.read_text(moduleoptions.COMMAND_LINE))
    except OSError as error:
        running = unread(moduleoptions.COMMAND_LINE, error)
    return CommandLines(running, _grub(host), _kernel(host), _written(host, loader))


def words(text: str) -> tuple[str, ...]:
    """The arguments of a command line, without the double quotes that hold them together."""
    return tuple(f"{name}={value}" if value else name for name, value in moduleoptions.split(text))


def _grub(host: Host) -> Planned | None:
    """GRUB's files; the arguments in the order of grub-mkconfig's 10_linux."""
    try:
        values = grubdefaults.read(host)
    except grubdefaults.Broken as broken:
        return Planned(GRUB_DEFAULTS, Unread(str(broken)), str(broken))
    if values is None or isinstance(values, Unread):
        return values and Planned(GRUB_DEFAULTS, values)
    text = f"{values['GRUB_CMDLINE_LINUX']} {values['GRUB_CMDLINE_LINUX_DEFAULT']}"
    return Planned(GRUB_DEFAULTS, words(text), _quotes(text))


def _kernel(host: Host) -> Planned | None:
    """/etc/kernel/cmdline: one line (the manual, "Editing the Kernel Commandline")."""
    try:
        text = host.read(KERNEL_CMDLINE, _LONGEST).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        return Planned(KERNEL_CMDLINE, unread(KERNEL_CMDLINE, error))
    lines = text.split("\n")
    first, *more = lines
    return Planned(KERNEL_CMDLINE, words(first), _quotes(first), tuple(line for line in more if line.strip()))


def _quotes(text: str) -> str:
    return "a double quote is not closed: the kernel takes all that follows it for one argument" if text.count('"') % 2 else ""


def _written(host: Host, loader: Loader | Unread) -> tuple[Written, ...] | Unread:
    """The menu's entries that are not for rescue. ESPs that proxmox-boot-tool keeps are not mounted while the node runs."""
    if isinstance(loader, Unread):
        return loader
    if loader.kind == "systemd-boot":
        found = [entry for esp in _mounted_esps(host) for entry in _entries(host, f"{esp}/loader/entries")]
        return _sorted(found) or Unread("its ESP is not mounted")
    if loader.kind != "grub":
        return Unread("which boot loader it is cannot be told")
    if not loader.managed:
        return _sorted(list(_menu(host, _GRUB_CFG))) or Unread(f"{_GRUB_CFG} has no entries, or cannot be read")
    found = [entry for esp in _mounted_esps(host) for entry in _menu(host, f"{esp}/grub/grub.cfg") if esp != "/boot"]
    return _sorted(found) or Unread("its ESP is not mounted")


def _sorted(found: list[Written]) -> tuple[Written, ...]:
    """The newest kernel first; entries of one kernel in their order."""
    return tuple(sorted(found, key=lambda entry: kernels.order(entry.kernel), reverse=True))


def _mounted_esps(host: Host) -> list[str]:
    """Where file systems that can be ESPs are mounted."""
    try:
        rows = (line.split() for line in host.read_text("/proc/mounts").split("\n"))
        mounted = [row[1] for row in rows if len(row) > 2 and row[2] == "vfat" and row[1].isprintable()]
    except OSError:
        mounted = []
    return list(dict.fromkeys((*mounted, *_ESPS)))


def _menu(host: Host, path: str) -> Iterator[Written]:
    """The Linux entries of a grub.cfg."""
    try:
        text = host.read(path, _CFG_LIMIT).decode("utf-8", "surrogateescape")
    except OSError:
        return
    for match in _LINUX.finditer(text):
        arguments, release = words(match[2]), _release(match[1])
        if release and not {"single", "recovery", "rescue"} & set(arguments):
            yield Written(path, release, arguments)


def _entries(host: Host, folder: str) -> Iterator[Written]:
    """The entries of systemd-boot (https://uapi-group.org/specifications/specs/boot_loader_specification/)."""
    try:
        names = host.names(folder)
    except OSError:
        return
    for name in names:
        if not name.endswith(".conf"):
            continue
        try:
            text = host.read(f"{folder}/{name}", _LONGEST).decode("utf-8", "surrogateescape")
        except OSError:
            continue
        rows = [(row[0], row[1]) for line in text.split("\n") if len(row := line.split(maxsplit=1)) == 2]
        options = " ".join(value for key, value in rows if key == "options")
        yield Written(f"{folder}/{name}", _release(dict(rows).get("linux", "")), words(options))


def _release(path: str) -> str:
    match = _VERSION.search(path)
    return match[1] if match else ""
