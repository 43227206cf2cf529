"""What the `hostpciN` of a guest stand for on this node (qemu-server, PVE/QemuServer/PCI.pm; pve-common, PVE/SysFSTools.pm)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pvehooks.formats import checks, propertystring
from pvehooks.host import Host
from pvehooks.values import HostPci, Options, PciMapping, Properties, Unread

_BOTH = "'host' and 'mapping' exclude each other"
_NEITHER = "neither 'host' nor 'mapping' is set"

Choices = tuple[tuple[str, ...], ...]


class Mappings:
    """The PCI mappings, read when first asked for; one reading serves all guests."""

    def __init__(self, host: Host, node: str) -> None:
        self._host = host
        self.node = node
        self._found: Mapping[str, PciMapping] | Unread | None = None

    def read(self) -> Mapping[str, PciMapping] | Unread:
        """The mappings by name; those without an entry for this node are among them."""
        if self._found is None:
            from pvehooks.facts.cluster import mappings

            self._found = mappings.read(self._host, self.node)
        return self._found


def read(options: Options, mappings: Mappings) -> tuple[HostPci, ...]:
    """The guest's passed-through devices, in PVE's order; `options` are those of the start in question."""
    names = [name for name in options if name.startswith("hostpci") and name[7:].isdecimal()]
    if not names:
        return ()
    names.sort(key=lambda name: int(name[7:]))
    found = [_hostpci(name, str(options[name]), mappings) for name in names]
    troubles = _troubles(found, options)
    return tuple(each._replace(trouble=each.trouble or troubles.get(each.option, "")) for each in found)


def functions(address: str, bus: Collection[str]) -> tuple[str, ...]:
    """The functions on the bus that an address stands for: itself, or all of a slot; none where it is not there."""
    if "." in address:
        return (address,) if address in bus else ()
    return tuple(sorted(name for name in bus if name.startswith(f"{address}.")))


def _hostpci(option: str, text: str, mappings: Mappings) -> HostPci:
    try:
        properties = propertystring.parse(option, text, propertystring.as_accepted)
    except propertystring.PropertyError as error:
        return HostPci(option, Unread(f"{option}: {error}"), "", {}, str(error))
    mapping = str(properties.get("mapping", ""))
    choices = _choices(properties, mappings)
    trouble = _BOTH if mapping and "host" in properties else "" if mapping or "host" in properties else _NEITHER
    return HostPci(option, Unread(trouble) if trouble else choices, mapping, properties, trouble)


def _choices(properties: Properties, mappings: Mappings) -> Choices | Unread:
    """The alternatives: what a mapping has for this node, else the one that `host` gives."""
    name = properties.get("mapping")
    if name is None:
        written = [tuple(str(properties.get("host", "")).split(";"))]
    else:
        known = mappings.read()
        if isinstance(known, Unread):
            return known
        mapping = known.get(str(name))
        if mapping is None:
            return Unread(f"there is no mapping '{name}'")
        if mapping.trouble and not mapping.entries:
            return Unread(f"the mapping '{name}' is malformed ({mapping.trouble})")
        if not mapping.entries:
            return Unread(f"the mapping '{name}' has no device on this node")
        written = [entry.paths for entry in mapping.entries]
    found = []
    for paths in written:
        choice = []
        for path in paths:
            # PVE compares addresses as text with sysfs' names, which are in lower case.
            if not checks.is_pci_address(path):
                return Unread(f"'{path}' is no PCI address")
            choice.append(path if path.count(":") == 2 else f"0000:{path}")
        found.append(tuple(choice))
    return tuple(found)


# -- what PVE refuses whatever the bus shows --------------------------------------------------------------------------


def _troubles(found: list[HostPci], options: Options) -> dict[str, str]:
    """Why PVE would refuse a start with these, by option, as far as the config alone shows (parse_hostpci_devices)."""
    q35 = "q35" in str(_machine(options).get("type", ""))
    troubles: dict[str, str] = {}
    legacy = ""
    for each in found:
        reasons: list[str] = []
        if each.properties.get("pcie") and not q35:
            reasons.append("pcie=1 needs the machine type q35")
        if each.properties.get("legacy-igd"):
            reasons.extend(_legacy_troubles(each, options, q35))
            if legacy:
                reasons.append(f"only one device can be in legacy-igd mode, {legacy} is")
            legacy = legacy or each.option
        if each.mdev and not isinstance(each.choices, Unread) and any(len(choice) > 1 for choice in each.choices):
            reasons.append("a mediated device cannot be made of several devices")
        if reasons:
            troubles[each.option] = reasons[0]
    for option, reason in _twice(found):
        troubles.setdefault(option, reason)
    return troubles


def _legacy_troubles(each: HostPci, options: Options, q35: bool) -> Iterator[str]:
    properties = each.properties
    if options.get("vga") != "none":
        yield "legacy-igd=1 needs 'vga: none'"
    if not properties.get("rombar", 1):
        yield "legacy-igd=1 excludes rombar=0"
    for name in ("x-vga", "mdev"):
        if properties.get(name):
            yield f"legacy-igd=1 excludes {name}"
    if q35:
        yield "legacy-igd=1 excludes the machine type q35"
    if isinstance(each.choices, Unread):
        return
    if len(each.choices) > 1:
        yield "legacy-igd=1 excludes a mapping with several entries for this node"
    elif len(each.choices[0]) > 1:
        yield "legacy-igd=1 excludes several devices"
    elif not each.choices[0][0].endswith(("02.0", "02")):
        yield "legacy-igd=1 works for the device 0000:00:02.0 only"


def _twice(found: list[HostPci]) -> Iterator[tuple[str, str]]:
    """(option, reason) where a device is named again; of alternatives PVE takes one that is left (choose_hostpci_devices)."""
    used: list[tuple[str, str]] = []
    for each in found:
        # Mediated devices of one device may be many; of those on NVIDIA's newer driver the bus would have to be read.
        if isinstance(each.choices, Unread) or each.mdev:
            continue
        clashes = [_clash(each.option, choice, used) for choice in each.choices]
        if all(clashes):
            yield each.option, clashes[-1]
        elif len(each.choices) == 1:
            # Which of several PVE takes depends on who else has them.
            used.extend((each.option, address) for address in each.choices[0])


def _clash(option: str, choice: tuple[str, ...], used: list[tuple[str, str]]) -> str:
    seen = list(used)
    for address in choice:
        for where, before in seen:
            if _overlap(before, address):
                return f"{address} is named twice" if where == option else f"{address} is in {where} already"
        seen.append((option, address))
    return ""


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _machine(options: Options) -> Properties:
    try:
        return propertystring.parse("machine", str(options.get("machine", "")), propertystring.as_accepted)
    except propertystring.PropertyError:
        return {}
