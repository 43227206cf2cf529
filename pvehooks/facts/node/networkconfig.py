"""What /etc/network/interfaces and the files it sources mean to do with an interface (interfaces(5), ifupdown2's addons, PVE's INotify.pm)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from pvehooks.facts.reading import number_in
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

FILE = "/etc/network/interfaces"
FABRICS = "/etc/pve/sdn/fabrics.cfg"
# Option, with _ for -, and what an interface is that it names.
_LOWER = {
    "bridge_ports": "a port of",
    "bond_slaves": "a slave of",
    "slaves": "a slave of",
    "ovs_ports": "a port of",
    "ovs_bonds": "a slave of",
    "vlan_raw_device": "the device below",
    "vxlan_physdev": "the device below",
}
_STARTED = ("auto", "allow-auto", "allow-hotplug", "allow-ovs")
# The methods that give no address.
_NO_ADDRESS = ("manual", "loopback", "none", "")
_STANZAS = ("iface", "mapping", "source", "source-directory", "rename", "no-auto-down", "no-scripts", "template", "vlan")
_DEEPEST = 4


class _Stanza(NamedTuple):
    """An `iface`: the file it is in, its name and its method, '' for none."""

    file: str
    name: str
    method: str


class NetworkConfig:
    """What the files name; read when first asked for. `unread` has in words what could not be read of them."""

    def __init__(self, host: Host, node: str = "") -> None:
        self.host = host
        self.node = node
        self.unread: tuple[str, ...] = ()
        self._above: dict[str, str] = {}
        self._started: set[str] = set()
        self._stanzas: list[_Stanza] = []
        self._lower: list[tuple[str, str, str, str]] = []
        self._looked = False

    def ovs_bridge(self, name: str) -> str:
        """The Open vSwitch bridge that has the interface as a port, maybe through a bond, or ''."""
        self._look()
        above = ""
        for _ in range(_DEEPEST):
            name = self._above.get(name, "")
            if not name:
                break
            above = name
        return above

    def file_of(self, name: str) -> str:
        """The file with a stanza for the interface, '' for none."""
        self._look()
        return next((stanza.file for stanza in self._stanzas if stanza.name == name), "")

    def lower(self) -> list[tuple[str, str, str, str]]:
        """(upper interface, role, word, file) of each option that names a port, a slave or a device below."""
        self._look()
        return self._lower

    def _look(self) -> None:
        if not self._looked:
            self._looked = True
            self._read(FILE, set())
            self._lower += self._fabrics()

    def _fabrics(self) -> Iterator[tuple[str, str, str, str]]:
        """The interfaces of SDN fabrics: an unnumbered one has neither an address nor a route while it has no neighbour.

        Sections PROTOCOL_node are named FABRIC_NODE (the first _ parts them), a line `interfaces` is one interface, a property string with its
        `name`. Those of WireGuard are no cards.
        Source: proxmox-ve-rs, proxmox-ve-config/src/sdn/fabric/section_config (mod.rs, node.rs, protocol/*.rs) and tests/fabric/cfg.
        """
        try:
            text = self.host.read_text(FABRICS) if self.node else ""
        except FileNotFoundError:
            return
        except OSError as error:
            self.unread = (*self.unread, f"what {FABRICS} names ({error.strerror})")
            return
        fabric = ""
        for line in text.split("\n"):
            header = re.match(r"(?!wireguard)\w+_node:\s*([^\s_]+)_(\S+)", line)
            if not line[:1].isspace():
                fabric = header[1] if header and header[2] == self.node else ""
            match = re.match(r"\s+interfaces\s+(?:.*,)?name=([^,\s]+)", line)
            if fabric and match:
                yield f"the SDN fabric {fabric}", "an interface of", match[1], FABRICS

    def sentences(self, names: Collection[str]) -> Iterator[str]:
        """What the files mean to do with the interface that has these names; an `inet manual` line alone is nothing."""
        self._look()
        for upper, role, word, file in self._lower:
            matching = [name for name in names if _names(word, name)]
            if matching:
                yield f"is named as {role} {upper} in {file} ({matching[0]})"
        for stanza in self._stanzas:
            raw, dot, tag = stanza.name.rpartition(".")
            if raw in names and dot and tag.isdecimal():
                yield f"is named as the device below the VLAN {stanza.name} in {stanza.file} ({raw})"
            if stanza.name in names and stanza.name in self._started and stanza.method not in _NO_ADDRESS:
                yield f"is given an address in {stanza.file} ({stanza.name}, {stanza.method})"

    def _read(self, path: str, seen: set[str]) -> None:
        if path in seen or len(seen) > 256:
            return
        seen.add(path)
        try:
            text = self.host.read_text(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self.unread = (*self.unread, f"what {path} names ({error.strerror})")
            return
        stanza: _Stanza | None = None
        for line in re.sub(r"\\\n", " ", text).split("\n"):
            words = line.split()
            if not words:
                continue
            key, values = words[0], words[1:]
            if key in _STANZAS or key in _STARTED or key.startswith("allow-"):
                stanza = self._start(path, key, values, seen)
            elif stanza is not None:
                self._option(stanza, key.replace("-", "_"), values)

    def _start(self, path: str, key: str, values: list[str], seen: set[str]) -> _Stanza | None:
        if key == "iface" and values:
            stanza = _Stanza(path, values[0], values[2] if len(values) > 2 else "")
            self._stanzas.append(stanza)
            return stanza
        if key in _STARTED:
            self._started.update(values)
        elif key.startswith("source") and values:
            for each in values:
                for found in self._sourced(key, each):
                    self._read(found, seen)
        return None

    def _option(self, stanza: _Stanza, key: str, values: list[str]) -> None:
        if key in ("ovs_bridge", "vrf") and values:
            self._lower.append((values[0], "a port of", stanza.name, stanza.file))
            if key == "ovs_bridge":
                self._above[stanza.name] = values[0]
        elif key == "address" and values and stanza.method in _NO_ADDRESS:
            # ifupdown2 needs no method for an address.
            self._stanzas.append(stanza._replace(method="static"))
        elif key in _LOWER:
            for word in _words(key, values):
                self._lower.append((stanza.name, _LOWER[key], word, stanza.file))
                if key.startswith("ovs_"):
                    self._above.setdefault(word, stanza.name)

    def _sourced(self, key: str, given: str) -> list[str]:
        """The files that a source line names, relative to the first file's directory."""
        path = given if given.startswith("/") else f"{FILE.rpartition('/')[0]}/{given}"
        found = [""]
        for part in path.strip("/").split("/"):
            found = [f"{directory}/{name}" for directory in found for name in self._matching(directory, part)]
        if key == "source":
            return found
        return [f"{directory}/{name}" for directory in found for name in self._listed(directory) if re.fullmatch(r"[a-zA-Z0-9_.-]+", name)]

    def _matching(self, directory: str, pattern: str) -> list[str]:
        if not re.search(r"[*?\[]", pattern):
            return [pattern]
        from fnmatch import fnmatchcase

        hidden = pattern.startswith(".")
        return [name for name in self._listed(directory) if fnmatchcase(name, pattern) and (hidden or not name.startswith("."))]

    def _listed(self, directory: str) -> list[str]:
        try:
            return self.host.names(directory or "/")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self.unread = (*self.unread, f"what {directory} holds ({error.strerror})")
            return []


def _words(key: str, values: list[str]) -> Iterator[str]:
    """The names of interfaces in an option; those given as patterns with their kind before them."""
    kind = ""
    for word in values:
        if word in ("regex", "glob"):
            kind = word
        elif kind:
            yield f"{kind} {word}"
            kind = "" if kind == "regex" else kind
        elif word == "all" and key == "bridge_ports":
            yield "regex (?:eth|en|wl).*"
        elif word not in ("none", "noregex"):
            yield word


def _names(word: str, name: str) -> bool:
    """Whether the word of an option names the interface; a port may have a VLAN's tag (eno1.100)."""
    kind, _, pattern = word.rpartition(" ")
    if kind == "regex":
        try:
            return re.fullmatch(pattern, name) is not None
        except re.error:
            return False
    if kind == "glob":
        return _in_range(pattern, name)
    raw, dot, tag = word.rpartition(".")
    return name == word or (dot == "." and tag.isdecimal() and raw == name)


def _in_range(pattern: str, name: str) -> bool:
    """ifupdown2's globs: swp1-4 and swp[1-4]."""
    match = re.fullmatch(r"(.*?)\[?(\d{1,9})-(\d{1,9})\]?(.*)", pattern, re.ASCII)
    if match is None:
        return pattern == name
    middle = name.removeprefix(match[1]).removesuffix(match[4])
    return name == f"{match[1]}{middle}{match[4]}" and number_in(middle) is not None and int(match[2]) <= int(middle) <= int(match[3])
