"""Which kernel the boot loader takes at the next boot, and with which command line."""

from __future__ import annotations

import re

from pvehooks.facts.boot import grubdefaults, kernels
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import CommandLines, Kernels, Loader, NextBoot

_ENVIRONMENT = "/boot/grub/grubenv"
# A saved entry: "gnulinux-advanced-UUID>gnulinux-6.8.12-4-pve-advanced-UUID", or its title, "... with Linux 6.8.12-4-pve".
_IN_ENTRY = re.compile(r"(?:gnulinux-|[Ww]ith Linux )([0-9][A-Za-z0-9_.+~-]*?)(?:-advanced-|-recovery-|-init-|\s|\)|'|\Z)")


def choose(host: Host, known: Kernels, loader: Loader | Unread, lines: CommandLines | Unread, asked: str) -> NextBoot | Unread:
    """The kernel that was asked for, else the one that will be booted; Unread where none is installed, or the boot loader's choice is not understood."""
    if asked:
        release, why = asked, "as asked for"
    elif not known.installed:
        return Unread("/boot has no kernel")
    else:
        chosen = _chosen(host, known, loader)
        if isinstance(chosen, Unread):
            return chosen
        release, why = chosen
    if isinstance(lines, Unread):
        return lines
    if isinstance(lines.running, Unread):
        return lines.running
    source, words = _command_line(lines, lines.running, loader, release)
    return NextBoot(release, why, known.running, source, words, lines.running)


def _chosen(host: Host, known: Kernels, loader: Loader | Unread) -> tuple[str, str] | Unread:
    """A pin comes first (the administrator's manual, "Override the Kernel-Version for next Boot"), then GRUB's own setting, then the newest one."""
    for release, place in ((known.next_boot, kernels.NEXT_BOOT_PIN), (known.pinned, kernels.PIN)):
        if release in known.installed:
            return release, f"pinned in {place}"
    newest = known.installed[0]
    if isinstance(loader, Unread) or loader.kind != "grub" or loader.managed:
        return newest, "the newest one"
    return _by_grub(host, known) or (newest, "the newest one")


def _by_grub(host: Host, known: Kernels) -> tuple[str, str] | Unread | None:
    """What GRUB_DEFAULT, or the entry that is saved for it, chooses; None for the first entry, which is the newest kernel (grub-mkconfig(8))."""
    environment = _environment(host)
    saved = environment.get("next_entry", "")
    place = _ENVIRONMENT
    if not saved:
        try:
            values = grubdefaults.read(host)
        except grubdefaults.Broken:
            # update-grub fails: the menu stays as it is, and so does its default.
            return Unread("GRUB's settings have a mistake, so its default entry is not known")
        if values is None or isinstance(values, Unread):
            return values
        saved, place = values["GRUB_DEFAULT"], "GRUB_DEFAULT"
        if saved == "saved":
            saved, place = environment.get("saved_entry", ""), _ENVIRONMENT
    if saved in ("", "0"):
        return None
    match = _IN_ENTRY.search(saved)
    if match is None:
        return (
            None
            if saved.startswith("gnulinux-simple-")
            else Unread(f"{place} chooses the entry {saved!r}, of which the kernel is not known")
        )
    if match[1] not in known.installed:
        return known.installed[0], f"the newest one, since {place} chooses {match[1]}, which is not installed"
    return match[1], f"chosen by {place}"


def _environment(host: Host) -> dict[str, str]:
    """GRUB's environment block (its manual, "The GRUB environment block")."""
    try:
        text = host.read(_ENVIRONMENT, 1 << 12).decode("utf-8", "replace")
    except OSError:
        return {}
    rows = (line.partition("=") for line in text.split("\n") if not line.startswith("#"))
    return {name: value for name, _, value in rows if value}


def _command_line(lines: CommandLines, running: tuple[str, ...], loader: Loader | Unread, release: str) -> tuple[str, tuple[str, ...]]:
    """Where the kernel's command line is written and what it is: in the menu, if its entry can be read, else in the boot loader's file.

    ('', what runs now) where neither is known.
    """
    entry = None if isinstance(lines.written, Unread) else next((each for each in lines.written if each.kernel == release), None)
    if entry is not None:
        return entry.place, entry.words
    planned = None if isinstance(loader, Unread) or not loader.kind else lines.grub if loader.kind == "grub" else lines.kernel
    if planned is not None and not isinstance(planned.words, Unread) and not planned.broken:
        return planned.place, _with_root(planned.words, running)
    return "", running


def _with_root(words: tuple[str, ...], running: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments with root=, which GRUB adds (grub-mkconfig's 10_linux)."""
    return words if any(word.startswith("root=") for word in words) else (*(word for word in running if word.startswith("root=")), *words)


def require_installed(host: Host, release: str) -> Unread | None:
    """Why a kernel cannot be booted, None where it can."""
    known = kernels.read(host)
    if isinstance(known, Unread):
        return known
    return (
        None
        if release in known.installed
        else Unread(f"the kernel {release} is not installed, but: {', '.join(known.installed) or 'none'}")
    )


def as_read(words: tuple[str, ...]) -> bytes:
    """A command line as the kernel will show it."""
    shown = (f'"{word}"' if any(char.isspace() for char in word) else word for word in words)
    return " ".join(shown).encode("utf-8", "surrogateescape") + b"\n"
