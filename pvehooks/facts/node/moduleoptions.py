"""What the kernel command line and modprobe.d(5) say of kernel modules."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.reading import unread
from pvehooks.host import Host
from pvehooks.values import BoundIds, Unread

COMMAND_LINE = "/proc/cmdline"
# In this order, as kmod has it: a file shadows those of its name in later directories.
_DIRECTORIES = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")


def arguments(host: Host) -> list[tuple[str, str]]:
    """The kernel's arguments as (name, value), '' for those without a value; raises OSError.

    None where there is no command line.
    """
    try:
        text = host.read_text(COMMAND_LINE)
    except FileNotFoundError:
        return []
    return split(text)


def split(text: str) -> list[tuple[str, str]]:
    """The arguments of a kernel command line; double quotes keep white space together (the kernel's lib/cmdline.c, next_arg)."""
    words = [""]
    for index, part in enumerate(text.split('"')):
        pieces = [part] if index % 2 else re.split(r"\s", part)
        words[-1] += pieces[0]
        words += pieces[1:]
    return [(name, value) for name, _, value in (word.partition("=") for word in words if word)]


def given(host: Host, module: str, parameter: str) -> Iterator[tuple[str, str]]:
    """Where a module's parameter is set, and to what: (place, value), in no order that decides; raises OSError.

    `module` is spelt with underscores; both spellings are found. The place is a file, or "the kernel command line".
    """
    for name, value in arguments(host):
        owner, dot, key = name.partition(".")
        if dot and owner.replace("-", "_") == module and key == parameter:
            yield "the kernel command line", value
    for path in files(host):
        try:
            text = host.read_text(path)
        except FileNotFoundError:
            continue
        for line in text.replace("\\\n", " ").split("\n"):
            words = line.split()
            if words[:1] == ["options"] and len(words) > 1 and words[1].replace("-", "_") == module:
                settings = (word.partition("=") for word in words[2:])
                yield from ((path, value.strip("\"'")) for key, _, value in settings if key == parameter)


def files(host: Host) -> Iterator[str]:
    """The files that modprobe reads."""
    seen: set[str] = set()
    for directory in _DIRECTORIES:
        try:
            names = host.names(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if name.endswith(".conf") and name not in seen:
                seen.add(name)
                yield f"{directory}/{name}"


def bound_ids(host: Host) -> tuple[BoundIds, ...] | Unread:
    """The ids that vfio-pci takes at boot, by the place where they are written; what is no id is left out, as the kernel does.

    Source: the kernel's drivers/vfio/pci/vfio_pci.c, parameter `ids`.
    """
    try:
        places = list(given(host, "vfio_pci", "ids"))
    except OSError as error:
        return unread(f"what vfio-pci takes at boot: {error.filename}", error)
    bound = (BoundIds(tuple(filter(None, map(_id, value.split(",")))), place) for place, value in places)
    return tuple(each for each in bound if each.ids)


def _id(text: str) -> tuple[int, int] | None:
    """vendor:device, whatever follows: subvendor, subdevice, class and its mask."""
    try:
        vendor, device = (int(word, 16) for word in text.split(":")[:2])
    except ValueError:
        return None
    return vendor, device
