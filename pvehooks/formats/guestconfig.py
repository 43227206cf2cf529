"""A VM's config, /etc/pve/nodes/NODE/qemu-server/VMID.conf: read as PVE reads it, with the lines that PVE would drop when rewriting it.

Source: parse_vm_config and write_vm_config in PVE/QemuServer.pm (qemu-server 9.2).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pvehooks.formats.checks import WHITESPACE
from pvehooks.formats.propertystring import drives, is_cloudinit
from pvehooks.formats.reader import ConfigSection, DeclaredByNode, Reading, option_name, section_name
from pvehooks.values import Dropped, GuestConfig, Options
from pvehooks.values.base import sha1

__all__ = ["Dropped", "EditError", "EditableSection", "GuestConfig", "insert_line", "parse", "remove_line"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    EditableSection = Literal["", "PENDING"]
else:
    EditableSection = str
"""The live part of a config, or its pending changes."""


def parse(raw: bytes, cpu_models: Collection[str] = (), declared: DeclaredByNode | None = None) -> GuestConfig:
    """Reads a config of any content; nothing raises.

    `cpu_models` are the names this node accepts as `cputype` beyond those of qemu-server, `custom-NAME` for those of
    /etc/pve/virtual-guest/cpu-models.conf: PVE refuses a `cpu` line whose model it does not find. `declared` is what this node's
    PVE has and we do not know: it is taken as it stands.
    """
    return _config(_read(raw, cpu_models, declared), raw)


def _read(raw: bytes, cpu_models: Collection[str] = (), declared: DeclaredByNode | None = None) -> Reading:
    return Reading(raw.decode(errors="surrogateescape"), cpu_models, declared).read()


# One for all: a dictionary takes 64 bytes, and most configs have neither of what these hold.
_NO_OPTIONS: Options = {}
_NO_SECTIONS: Mapping[str, Options] = {}
_NO_DELETES: Mapping[str, bool] = {}


def _config(reading: Reading, raw: bytes) -> GuestConfig:
    _note_losses(reading)
    main = reading.main.values
    main.pop("snapstate", None)
    pending, delete = _NO_OPTIONS, _NO_DELETES
    if reading.pending is not None:
        delete = _pending_delete(str(reading.pending.values.pop("delete", "")))
        pending = reading.pending.values
    return GuestConfig(
        main,
        pending,
        delete,
        _by_name(reading.snapshots),
        _by_name(reading.specials),
        tuple([dropped for _, dropped in sorted(reading.dropped.items())]) if reading.dropped else (),
        sha1(raw).hex(),
        tuple(dict.fromkeys(reading.newer)),
    )


def _by_name(sections: Mapping[str, ConfigSection]) -> Mapping[str, Options]:
    return {name: section.values for name, section in sections.items()} if sections else _NO_SECTIONS


def _pending_delete(text: str) -> dict[str, bool]:
    """Which options [PENDING] deletes, and whether by force (parse_pending_delete in PVE/AbstractConfig.pm)."""
    if text in ("", "0"):
        return {}
    entries = re.split(r"\s+", re.sub("[,;]", " ", text).strip(WHITESPACE), flags=re.ASCII)
    return {entry.removeprefix("!"): entry.startswith("!") for entry in entries if entry}


class EditError(ValueError):
    """The config cannot be edited as asked; the message says why."""


def insert_line(raw: bytes, option: str, value: str, section: EditableSection = "") -> bytes:
    """`raw` with one more line, `option: value`, at its sorted place in the live part or in [PENDING], every other byte kept.

    A [PENDING] that is not there is made after the live part, as PVE lays it out. The result reads as before plus that option.
    Raises EditError when the option is set there already, or would not be read, or would change what else is read.
    """
    before = parse(raw)
    if option in (before.pending if section else before.main):
        raise EditError(f"'{option}' is set already")
    reading = _read(raw)
    lines = reading.lines
    new = [f"{option}: {value}"]
    if not section:
        at = _place(lines, option, 0, _live_end(lines))
    elif reading.pending is not None:
        at = _place(lines, option, reading.pending.first, reading.pending.last)
    else:
        at = _last_text(lines, 0, _live_end(lines))
        new = ["", "[PENDING]", *new]
    if lines[max(at - 1, 0)].endswith("\r"):
        new = [f"{line}\r" for line in new[:-1]] + [new[-1] if at == len(lines) else f"{new[-1]}\r"]
    edited = "\n".join((*lines[:at], *new, *lines[at:])).encode(errors="surrogateescape")
    if not _differs_only_by(option, section, before, parse(edited)):
        raise EditError(f"'{option}: {value}' would not be read as such")
    return edited


def remove_line(raw: bytes, option: str, section: EditableSection = "") -> bytes:
    """`raw` without the line that sets the option: undoes insert_line byte for byte.

    A [PENDING] that holds nothing else goes too, with the blank line before it; so one that was there, empty, before
    insert_line does not come back. Raises EditError when no single line there sets the option.
    """
    reading = _read(raw)
    place = reading.pending if section else reading.main
    if place is None or option not in place.values or option == "description":
        raise EditError(f"'{option}' is not set by one line")
    lines = reading.lines
    first = last = place.at[option] - 1
    if section and not any(line.strip(WHITESPACE) for line in (*lines[place.first : first], *lines[last + 1 : place.last])):
        first = place.first - 1
        if first and not lines[first - 1].strip(WHITESPACE):
            first -= 1
    return "\n".join((*lines[:first], *lines[last + 1 :])).encode(errors="surrogateescape")


def _live_end(lines: list[str]) -> int:
    return next((index for index, line in enumerate(lines) if section_name(line) is not None), len(lines))


def _last_text(lines: list[str], start: int, end: int) -> int:
    while end > start and not lines[end - 1].strip(WHITESPACE):
        end -= 1
    return end


def _place(lines: list[str], option: str, start: int, end: int) -> int:
    """Where in lines[start:end] PVE, which sorts options by their bytes, would have it; an unsorted part is taken as it is."""
    last = _last_text(lines, start, end)
    found = [(index, name) for index in range(start, last) if (name := option_name(lines[index]))]
    return next((index for index, other in found if other > option), found[-1][0] + 1 if found else last)


def _differs_only_by(option: str, section: str, before: GuestConfig, after: GuestConfig) -> bool:
    here = after.pending if section else after.main
    if option not in here:
        return False
    added = {option: here[option]}
    same = before._replace(digest=after.digest, dropped=after.dropped)
    if section:
        return after == same._replace(pending={**before.pending, **added})
    return after == same._replace(main={**before.main, **added})


# -- what PVE leaves out, or changes, when it writes a config again (write_vm_config) ----------------------------------

_NEVER_WRITTEN = ("digest", "pending", "snapshots", "special-sections")


def _note_losses(reading: Reading) -> None:
    """Adds to `reading.dropped` what write_vm_config leaves out or changes."""
    main = reading.main.values
    if "snapstate" in main:
        _note(reading, reading.main, "snapstate", "PVE removes 'snapstate' outside snapshots")
    if "smp" in main:
        _note_smp(reading)
    if "\nunused" in reading.text or reading.text.startswith("unused"):
        _note_unused(reading)
    for section in (reading.main, reading.pending, *reading.snapshots.values(), *reading.specials.values()):
        if section is not None and section.values.get("description") == "0":
            _note(reading, section, "description", "PVE does not write a description that is just '0'")
    cloudinit = reading.specials.get("cloudinit")
    if cloudinit is not None:
        _note_cloudinit(reading, cloudinit)


def _note(reading: Reading, section: ConfigSection, option: str, reason: str) -> None:
    number = section.at[option]
    reading.dropped.setdefault(number, Dropped(number, section.label, reading.lines[number - 1], reason))


def _note_smp(reading: Reading) -> None:
    main = reading.main
    if main.values.get("sockets"):
        _note(reading, main, "smp", "PVE removes 'smp' where there is 'sockets'")
        return
    if main.values["smp"] == 0:
        return
    _note(reading, main, "smp", "PVE rewrites 'smp' as 'sockets'")
    if "cores" in main.values:
        _note(reading, main, "cores", "PVE removes 'cores' where there is 'smp' and no 'sockets'")


def _note_unused(reading: Reading) -> None:
    in_use = {}
    for section in (reading.pending, reading.main):
        if section is not None:
            in_use.update({str(parts.get("file")): option for option, parts in drives(section.values)})
    for option, value in reading.main.values.items():
        if option.startswith("unused") and value in in_use:
            _note(reading, reading.main, option, f"PVE removes '{option}': its volume is in use as '{in_use[str(value)]}'")


def _note_cloudinit(reading: Reading, section: ConfigSection) -> None:
    if not any(is_cloudinit(parts) for _, parts in drives(reading.main.values)):
        for option in section.values:
            _note(reading, section, option, "PVE removes [special:cloudinit] where there is no cloud-init drive")
        return
    for option in _NEVER_WRITTEN:
        if option in section.values:
            _note(reading, section, option, f"PVE does not write '{option}'")
