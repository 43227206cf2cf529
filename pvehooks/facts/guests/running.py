"""The VMs that run on the node: their processes, their command lines, and the configs that they run with."""

from __future__ import annotations

import re

from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.reading import names_in, number_in, unread
from pvehooks.formats import guestconfig
from pvehooks.host import Host
from pvehooks.values import Options, Unread
from pvehooks.values.base import cached_property
from pvehooks.values.guests import guest_label

RUN_DIR = "/run/qemu-server"
# Patterns are compiled when first used: a start beside no other guest uses none.
# What PVE takes for the beginning of a section, and nothing else: a line "[x y]" ends nothing (qemu-server, parse_vm_config).
_SECTION = rb"(?m)^\[[A-Za-z][A-Za-z0-9_:-]*\][ \t\r\f\v]*$"
_ASKED = rb"(?m)^(hostpci[0-9]+|usb[0-9]+|machine|name|ostype|template|vga|bios|args):[^\n]*"


class RunningVmids:
    """The VMIDs whose pid file names a live QEMU of that VM (as qemu-server's vm_running_locally looks); looked at when one is asked for."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __contains__(self, vmid: object) -> bool:
        return vmid in self._there and isinstance(vmid, int) and is_running(self._host, vmid)

    @cached_property
    def _there(self) -> frozenset[int]:
        return frozenset(_with_pid_file(names_in(self._host, RUN_DIR)))


def _with_pid_file(names: list[str]) -> list[int]:
    """The VMIDs, sorted, by the names in RUN_DIR."""
    stems = (name[:-4] for name in names if name.endswith(".pid"))
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def is_running(host: Host, vmid: int) -> bool:
    """Whether the VM runs here."""
    return process(host, vmid) is not None


def process(host: Host, vmid: int) -> tuple[int, tuple[str, ...]] | None:
    """The pid and the arguments of the VM's live QEMU; None when it does not run here."""
    try:
        pid = host.read_text(f"{RUN_DIR}/{vmid}.pid")
        words = _arguments(host.read(f"/proc/{pid}/cmdline")) if number_in(pid) else ()
    except OSError:
        return None
    is_it = any(word in ("-id", "--id") and words[i + 1 : i + 2] == (str(vmid),) for i, word in enumerate(words))
    return (int(pid), words) if is_it else None


def _arguments(cmdline: bytes) -> tuple[str, ...]:
    return tuple(cmdline.decode("utf-8", "surrogateescape").rstrip("\0").split("\0"))


class RunningGuest:
    """A VM whose QEMU runs here, with this pid and these arguments; its config is read when first asked for."""

    def __init__(self, host: Host, node: str, vmid: int, pid: int, cmdline: tuple[str, ...]) -> None:
        self.vmid = vmid
        self.pid = pid
        self.cmdline = cmdline
        self._host = host
        self._node = node
        self._raw: bytes | Unread | None = None
        self._options: Options | None = None

    @property
    def raw(self) -> bytes | Unread:
        """The bytes of its config, or why they cannot be read."""
        if self._raw is None:
            self._raw = _raw(self._host, self._node, self.vmid)
        return self._raw

    def mentions(self, start: bytes) -> bool:
        """Whether a live option begins with these bytes: ask before `options`, which costs a parse."""
        return any(line.startswith(start) for line in self._lines)

    @cached_property
    def _lines(self) -> tuple[bytes, ...]:
        """The lines of the live options that are asked for here, the last of each name: a tenant may write a description of a megabyte."""
        if isinstance(self.raw, Unread):
            return ()
        end = re.search(_SECTION, self.raw)
        return tuple(
            {match[1]: match[0] for match in re.compile(_ASKED).finditer(self.raw, 0, end.start() if end else len(self.raw))}.values()
        )

    def options(self) -> Options:
        """The live ones of _ASKED (a running guest has not taken its pending ones); none where the config could not be read."""
        if self._options is None:
            self._options = guestconfig.parse(b"".join(line + b"\n" for line in self._lines)).main
        return self._options

    @property
    def label(self) -> str:
        """What messages call it: "VM 100 (web)"."""
        return guest_label(self.vmid, str(self.options().get("name", "")))


class RunningGuests:
    """The running VMs of a node, enumerated once for all who ask."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.node = node
        self._found: tuple[RunningGuest, ...] | Unread | None = None

    def all(self) -> tuple[RunningGuest, ...] | Unread:
        """Those whose pid file names a live QEMU of that VM, by VMID."""
        if self._found is None:
            self._found = running_guests(self.host, self.node)
        return self._found


def running_guests(host: Host, node: str) -> tuple[RunningGuest, ...] | Unread:
    """The VMs whose pid file names a live QEMU of that VM, by VMID."""
    try:
        vmids = _with_pid_file(host.names(RUN_DIR))
    except FileNotFoundError:
        return ()
    except OSError as error:
        return unread(RUN_DIR, error)
    live = ((vmid, process(host, vmid)) for vmid in vmids)
    return tuple(RunningGuest(host, node, vmid, *found) for vmid, found in live if found)


def _raw(host: Host, node: str, vmid: int) -> bytes | Unread:
    """The config's bytes; that of a guest that is just coming here lies below the node it comes from."""
    try:
        try:
            return guests.read_raw(host, node, vmid)
        except FileNotFoundError:
            owner = node_facts.owner(host, vmid)
            if not owner:
                raise
            return guests.read_raw(host, owner, vmid)
    except OSError as error:
        return unread(f"the config of VM {vmid}", error)
