"""Commands of remedies: each changes one thing, and keeps all else that the option or the mapping says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from pvehooks.values import Guest, HostPci, NamedTuple, Node, PciDevice, PciMapping, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_FUNCTION = r"\.[0-7]\Z"
# The keys of a mapping's entry that say what the device is (pve-guest-common, PVE/Mapping/PCI.pm).
_KIND = ("id", "subsystem-id", "iommugroup")


def with_parts(value: str, changed: Callable[[str, str], str | None]) -> str:
    """A property string with its parts changed; all that is not changed stays as it is written.

    `changed` is given the name of each part ('' for the default one) and its value, and returns the part or None to take it out.
    """
    found = []
    for part in value.split(","):
        name, equals, content = part.partition("=")
        new = changed(name if equals else "", content if equals else part)
        if new is not None:
            found.append(new)
    return ",".join(found)


def _part(name: str, content: str) -> str:
    return f"{name}={content}" if name else content


def without(guest: Guest, option: str, *names: str) -> str:
    """The command that takes these parts out of an option."""
    value = with_parts(str(guest.options[option]), lambda name, content: None if name in names else _part(name, content))
    return setting(guest, option, value)


def for_shell(text: str) -> str:
    """A property string as one word of a shell command; addresses are joined by semicolons."""
    return text if re.fullmatch(r"[A-Za-z0-9_@%+=:,./-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def setting(guest: Guest, option: str, value: str) -> str:
    """The command that sets an option."""
    return f"qm set {guest.vmid} --{option} {for_shell(value)}"


def replacing(guest: Guest, option: str, part: str, content: str, default: str = "") -> str:
    """The command that gives a part of an option another value, or adds it; `default` is the part that may be written without its name."""
    written = str(guest.options.get(option, ""))
    names = (part, "") if part == default else (part,)
    found = False

    def changed(name: str, was: str) -> str | None:
        nonlocal found
        if name in names and was:
            found = True
            return _part(name, content)
        return _part(name, was) or None

    value = with_parts(written, changed)
    added = content if not value and part == default else f"{part}={content}"
    return setting(guest, option, value if found else ",".join(filter(None, (value, added))))


def machine_of_version(guest: Guest, version: Sequence[int]) -> str:
    """The command that gives the guest's machine this version, and keeps its type and the rest of the option."""
    present = str(guest.properties("machine").get("type", ""))
    base = "pc-q35" if "q35" in present else "virt" if "virt" in present or guest.options.get("arch") == "aarch64" else "pc-i440fx"
    return replacing(guest, "machine", "type", f"{base}-{'.'.join(map(str, version))}", "type")


def by_mapping(guest: Guest, option: str, name: str) -> str:
    """The command that has a `hostpciN` name a mapping in place of addresses."""
    return setting(guest, option, mapped(str(guest.options[option]), name))


def mapped(value: str, name: str) -> str:
    """A `hostpciN` that names a mapping in place of addresses."""
    return with_parts(value, lambda key, content: f"mapping={name}" if key in ("", "host") else _part(key, content))


def _long(address: str) -> str:
    return address.lower() if address.count(":") > 1 else f"0000:{address.lower()}"


def _in_form(old: str, new: str) -> str:
    """The new address, as the old one is written: the whole slot where that was named, and without the domain where that was left out."""
    shown = new if "." in old else re.sub(_FUNCTION, "", new)
    return shown.removeprefix("0000:") if old.count(":") == 1 else shown


# -- hostpciN --------------------------------------------------------------------------------------------------------


def command(guest: Guest, entry: HostPci, addresses: Mapping[str, str] | None = None, without: Collection[str] = (), **changed: str) -> str:
    """The qm command that writes the option anew: `addresses` old -> new, properties left out, properties with another value."""
    return setting(guest, entry.option, hostpci(str(guest.options.get(entry.option, "")), addresses, without, **changed))


def hostpci(value: str, addresses: Mapping[str, str] | None = None, without: Collection[str] = (), **changed: str) -> str:
    """The value of a `hostpciN` with these changes; addresses keep their form, and all else stays as it is written."""
    kept = []
    for part in value.split(","):
        key, equals, content = part.partition("=")
        if equals and key in without:
            continue
        if not equals or key == "host":
            content = ";".join(_moved(each, addresses or {}) for each in (content if equals else key).split(";"))
            part = f"{key}={content}" if equals else content
        elif key in changed:
            part = f"{key}={changed[key]}"
        kept.append(part)
    return ",".join(kept)


def _moved(written: str, addresses: Mapping[str, str]) -> str:
    """The address as it is now, in the form in which it is written: with or without domain and function."""
    whole = written if written.count(":") == 2 else f"0000:{written}"
    for old, new in addresses.items():
        if old == whole:
            moved = new
        elif "." not in whole and old.startswith(f"{whole}."):
            moved = new.rpartition(".")[0] or new
        else:
            continue
        return moved.removeprefix("0000:") if written.count(":") == 1 else moved
    return written


def listed(words: Sequence[str]) -> str:
    """A few things for a sentence: "a", "a and b", "a, b and c"; '' for none."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def giving_up(guest: Guest, entry: HostPci) -> str:
    """How to take the device from the guest, as the end of a sentence."""
    if entry.by_args:
        return f"take its -device out of the args, which this shows: qm config {guest.vmid}"
    return f"take the device from the VM: qm set {guest.vmid} --delete {entry.option}"


# -- mappings ---------------------------------------------------------------------------------------------------------


class _MapEntry(NamedTuple):
    parts: dict[str, str]

    @property
    def text(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.parts.items())


def _entries(mapping: PciMapping) -> list[_MapEntry]:
    return [_MapEntry(dict(part.partition("=")[::2] for part in text.split(","))) for text in mapping.written]


def _setting(mapping: PciMapping, entries: Iterable[_MapEntry]) -> str:
    """The command that gives a mapping these entries; entries that are not repeated are lost, those of other nodes too."""
    return setting_mapping(mapping.name, (each.text for each in entries))


def setting_mapping(name: str, entries: Iterable[str]) -> str:
    """The command that gives a mapping these entries, and no others."""
    return f"pvesh set /cluster/mapping/pci/{name} {' '.join(f'--map {for_shell(each)}' for each in entries)}"


def mapping_at(mapping: PciMapping, node: Node, old: str, device: PciDevice) -> str:
    """The command that has a mapping name, for this node, the device in place of what was at `old`."""
    return setting_mapping(mapping.name, mapping_entries(mapping, node, {old: device}))


def mapping_entries(mapping: PciMapping, node: Node, moved: Mapping[str, PciDevice]) -> tuple[str, ...]:
    """A mapping's entries for all nodes, with these devices of this node, old address -> device, where they are now; addresses keep their form.

    An entry says what its first device is (pve-guest-common, PVE/Mapping/PCI.pm, assert_valid).
    """
    entries = []
    for entry in _entries(mapping):
        paths = entry.parts.get("path", "").split(";")
        if entry.parts.get("node") == node.name and any(_long(path) in moved for path in paths):
            now = ";".join(_in_form(path, moved[_long(path)].address) if _long(path) in moved else path for path in paths)
            entry = _as_is(_MapEntry({**entry.parts, "path": now}), moved.get(_long(paths[0])))
        entries.append(entry.text)
    return tuple(entries)


def mapping_without(mapping: PciMapping, node: Node, old: str) -> str:
    """The command that takes this node's entry with an address out of a mapping, '' where none would be left for the node."""
    entries = _entries(mapping)
    left = [each for each in entries if each.parts.get("node") != node.name or old not in map(_long, each.parts.get("path", "").split(";"))]
    return _setting(mapping, left) if any(each.parts.get("node") == node.name for each in left) else ""


def mapping_as_is(mapping: PciMapping, node: Node, mdev: str = "") -> str:
    """The command that has a mapping say of this node's devices what they are; `mdev` is 1 or 0 where that is wrong."""
    if mdev:
        return f"pvesh set /cluster/mapping/pci/{mapping.name} --mdev {mdev}"
    devices = {} if isinstance(node.pci, Unread) else node.pci
    entries = []
    for entry in _entries(mapping):
        first = _long(entry.parts.get("path", "").split(";")[0])
        device = devices.get(first) or devices.get(f"{first}.0")
        entries.append(_as_is(entry, device) if entry.parts.get("node") == node.name else entry)
    return _setting(mapping, entries)


def mapping_entry(node: Node, paths: Sequence[str], device: PciDevice) -> str:
    """A new entry of a mapping for this node; `device` is the first of its paths."""
    parts = _as_is(_MapEntry({"node": node.name, "path": ";".join(paths)}), device).parts
    return ",".join(f"{name}={parts[name]}" for name in sorted(parts))


def _as_is(entry: _MapEntry, device: PciDevice | None) -> _MapEntry:
    if device is None:
        return entry
    subsystem = "" if device.subsystem is None else "{:04x}:{:04x}".format(*device.subsystem)
    kind = {"id": f"{device.vendor:04x}:{device.device:04x}", "subsystem-id": subsystem, "iommugroup": device.group}
    parts = {**entry.parts, **kind}
    return _MapEntry({name: value for name, value in parts.items() if value or name not in _KIND})


def mapping_of_absent(entry: HostPci, address: str, now: str, node: Node) -> str:
    """What to do about a device of a mapping that is not there; `now` is where it is ('' if that is unknown), a slot for a slot."""
    mapping = None if isinstance(node.mappings, Unread) else node.mappings.get(entry.mapping)
    devices = {} if isinstance(node.pci, Unread) else node.pci
    device = devices.get(now) or devices.get(f"{now}.0")
    if mapping is not None and mapping.written and device is not None:
        return f"Have the mapping name it where it is now: {mapping_at(mapping, node, address, device)}"
    rest = mapping_without(mapping, node, address) if mapping is not None else ""
    if rest:
        return f"Put the device in again, or take it out of the mapping: {rest}"
    return f"Put the device in again, or edit the mapping: Datacenter, Resource Mappings, {entry.mapping}, Edit"
