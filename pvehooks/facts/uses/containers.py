"""The running containers of a node, and the device nodes and NICs that their configs give them (pct.conf(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pvehooks.facts.reading import folders_in, text_of
from pvehooks.host import Host
from pvehooks.values.base import NamedTuple
from pvehooks.values.guests import guest_label

# As pve-container reads them (PVE/LXC/Config.pm): its own options, and LXC's with either sign.
_KEY = re.compile(r"([a-z][a-z0-9_]*|lxc\.[a-z0-9_.\-]+)[ \t]*[:=]")
_SECTION = re.compile(r"^\[[A-Za-z][A-Za-z0-9_-]*\]\s*$", re.MULTILINE | re.ASCII)
_COMMAND = rb"(?m)@/var/lib/lxc/([1-9][0-9]{2,8})/command[ \t]*$"
_ALLOWED = r"(?:[abc]\s+)?([0-9]{1,9}|\*):([0-9]{1,9}|\*)(?:\s.*)?|a(?:\s.*)?"
_CONFIG = r"([1-9][0-9]{2,8})\.conf"
# Of pmxcfs.
_LARGEST = 1 << 20
_CGROUPS = "/sys/fs/cgroup"
# Where root alone makes directories for containers: unified, and with the controllers of version 1 (lxc.cgroup.dir.container).
_CGROUP_PARENTS = ("lxc", "unified/lxc", "systemd/lxc", "devices/lxc")
_CGROUP = r"([1-9][0-9]{2,8})(?:-[0-9]+)?"


class Container(NamedTuple):
    """A running container."""

    vmid: int
    label: str
    # The paths of device nodes and mounted files below /dev that it was given.
    nodes: tuple[str, ...]
    # The numbers that its cgroup lets it open, a wildcard being -1.
    allowed: tuple[tuple[int, int], ...]
    # The network interfaces that were moved to it.
    nics: tuple[str, ...]

    def has(self, path: str, number: tuple[int, int] | None) -> bool:
        """Whether it was given the device node.

        A node by name, or by number in a rule of its own, is; one in a mounted directory (/dev/dri) where its rules allow the number.
        """
        if path in self.nodes or (number is not None and number in self.allowed):
            return True
        if not any(path.startswith(f"{node.rstrip('/')}/") for node in self.nodes):
            return False
        return number is None or not self.allowed or (number[0], -1) in self.allowed or (-1, -1) in self.allowed


class Containers:
    """The running containers of a node that were given device nodes or NICs; read when first asked for."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.node = node
        self._found: tuple[Container, ...] | None = None
        self.unread: tuple[str, ...] = ()

    def all(self) -> tuple[Container, ...]:
        """All of them, by VMID; what could not be read is in `unread`."""
        if self._found is None:
            self._found = self._look()
        return self._found

    def given(self, paths: Iterable[str], number: tuple[int, int] | None = None) -> tuple[Container, ...]:
        """Those that were given one of these names of a device node, or its number."""
        wanted = tuple(paths)
        return tuple(container for container in self.all() if any(container.has(path, number) for path in wanted))

    def label(self, vmid: int) -> str:
        """How messages call the container: "CT 105 (media)"."""
        try:
            return self._read(vmid, self._text(vmid)).label
        except OSError:
            return guest_label(vmid, kind="CT")

    def _look(self) -> tuple[Container, ...]:
        directory = f"/etc/pve/nodes/{self.node}/lxc"
        try:
            names = self.host.names(directory)
        except FileNotFoundError:
            return ()
        except OSError as error:
            self.unread = (f"what containers were given ({directory}: {error.strerror})",)
            return ()
        found = []
        for vmid in sorted(int(match[1]) for name in names if (match := re.fullmatch(_CONFIG, name))):
            try:
                text = self._text(vmid)
            except OSError as error:
                self.unread = (*self.unread, f"what container {vmid} was given ({error.strerror})")
                continue
            container = self._read(vmid, text)
            if container.nodes or container.allowed or container.nics:
                found.append(container)
        running = self._running() if found else frozenset()
        return tuple(container for container in found if container.vmid in running)

    def _text(self, vmid: int) -> str:
        raw = self.host.read(f"/etc/pve/nodes/{self.node}/lxc/{vmid}.conf", limit=_LARGEST)
        return raw.decode("utf-8", "surrogateescape")

    def _read(self, vmid: int, text: str) -> Container:
        """What a config says before its snapshots begin."""
        live = _SECTION.split(text, maxsplit=1)[0]
        matches = ((_KEY.match(line), line) for line in live.split("\n"))
        lines = [(match[1], line[match.end() :].strip()) for match, line in matches if match]
        nodes: list[str] = []
        allowed: list[tuple[int, int]] = []
        name = ""
        for key, value in lines:
            if key == "hostname":
                name = value
            elif key.startswith("dev") and key[3:].isdecimal():
                nodes.append(self._resolved(_path_of(value)))
            elif key == "rootfs" or (key.startswith("mp") and key[2:].isdecimal()):
                volume = value.split(",")[0].removeprefix("volume=")
                nodes.append(self._resolved(volume) if volume.startswith("/dev/") else "")
            elif key == "lxc.mount.entry" and value.startswith("/dev/"):
                nodes.append(self._resolved(value.split()[0]))
            elif key in ("lxc.cgroup2.devices.allow", "lxc.cgroup.devices.allow"):
                match = re.fullmatch(_ALLOWED, value)
                if match:
                    allowed.append((_number(match[1]), _number(match[2])))
        return Container(vmid, guest_label(vmid, name, "CT"), tuple(filter(None, nodes)), tuple(allowed), _nics(lines))

    def _resolved(self, path: str) -> str:
        """The node behind a name like /dev/dri/by-path/...: links below /dev are next to what they name, or lead up from there."""
        try:
            target = self.host.link_text(path)
        except OSError:
            return path
        parts = [] if target.startswith("/") else path.split("/")[:-1]
        for part in target.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(part for part in parts if part)

    def _running(self) -> frozenset[int]:
        """The VMIDs whose cgroup holds processes: only root makes one there, while any user makes a socket of any name."""
        if not self.host.is_dir(_CGROUPS):
            if not self.host.is_node:
                return self._by_sockets()
            self.unread = (*self.unread, f"which containers run ({_CGROUPS} is not there)")
        found = set()
        for parent in _CGROUP_PARENTS:
            for name in folders_in(self.host, f"{_CGROUPS}/{parent}"):
                match = re.fullmatch(_CGROUP, name)
                if match and "populated 0" not in text_of(self.host, f"{_CGROUPS}/{parent}/{name}/cgroup.events").split("\n"):
                    found.add(int(match[1]))
        return frozenset(found)

    def _by_sockets(self) -> frozenset[int]:
        """The same in a tree without cgroups, by the command sockets by which pve-container knows it (PVE/LXC.pm, list_active_containers)."""
        try:
            raw = self.host.read("/proc/net/unix", limit=1 << 23)
        except OSError as error:
            self.unread = (*self.unread, f"which containers run (/proc/net/unix: {error.strerror})")
            return frozenset()
        return frozenset(int(vmid) for vmid in re.findall(_COMMAND, raw))


def _path_of(value: str) -> str:
    """The path in a devN option, its default property."""
    for part in value.split(","):
        key, equals, path = part.partition("=")
        if not equals or key == "path":
            return path if equals else key
    return ""


def _number(text: str | None) -> int:
    return int(text) if text is not None and text != "*" else -1


def _nics(lines: list[tuple[str, str]]) -> tuple[str, ...]:
    """The interfaces of `lxc.net.N.type: phys`: LXC moves them into the container."""
    values = dict(lines)
    moved = [
        key.rpartition(".")[0]
        for key, value in values.items()
        if key.startswith("lxc.net.") and key.endswith(".type") and value in ("phys", "macvlan", "ipvlan", "vlan")
    ]
    return tuple(values[f"{key}.link"] for key in moved if f"{key}.link" in values)
