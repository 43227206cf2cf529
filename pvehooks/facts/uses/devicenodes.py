"""Devices in use through their device nodes: open by a process, given to a running container, a watchdog that runs."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.facts.uses.containers import Containers
from pvehooks.facts.uses.nodes import Node, nodes
from pvehooks.facts.uses.processes import OpenFiles
from pvehooks.host import Host
from pvehooks.values import PciDevice, Unread, Use, Uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pvehooks.facts.holders import RunningGuests

_SHOWN = 3


class DeviceNodes:
    """The uses of a device's nodes in /dev. It may look at the open files of all processes: ask it last."""

    def __init__(self, host: Host, running: RunningGuests, containers: Containers, files: OpenFiles) -> None:
        self.host = host
        self.running = running
        self.containers = containers
        self.files = files

    def of(self, device: PciDevice) -> Uses:
        """The uses of the device's nodes; without a driver, or with vfio, it has none of the host's."""
        if device.vfio or not device.driver:
            return Uses()
        found: dict[str, Use] = {}
        unread: tuple[str, ...] = ()
        there = list(nodes(self.host, device.address))
        for node in there:
            opened = list(self._open(node))
            have_it_open = {use.vmid for use in opened}
            for use in (*opened, *(each for each in self._given(node) if each.vmid not in have_it_open)):
                found.setdefault(use.sentence, use)
        if there:
            unread = (*filter(None, (self.files.unread,)), *self.containers.unread)
        return Uses(tuple(found.values()), unread)

    def _open(self, node: Node) -> Iterator[Use]:
        watchdog = "/watchdog/" in node.place
        processes = [pid for path in node.paths for pid in self.files.pids(path)]
        for vmid, label in dict.fromkeys(map(self._guest, processes)):
            if vmid:
                yield Use(f"is in use by the running {label} through {node.paths[0]}", vmid)
        hosts = []
        for pid in (pid for pid in dict.fromkeys(processes) if not self._guest(pid)[0]):
            container = self.files.container(pid)
            if container:
                words = f"{self.files.words(pid)} in the running {self.containers.label(container)}"
                yield Use(f"is in use through {node.paths[0]} by {words}", container)
            else:
                hosts.append(self.files.words(pid))
        more = f" and {len(hosts) - _SHOWN} more" if len(hosts) > _SHOWN else ""
        who = f" by {', '.join(hosts[:_SHOWN])}{more}" if hosts else ""
        if watchdog and (hosts or self._runs(node)):
            yield Use(f"is the hardware watchdog in use{who} ({node.paths[0]})")
        elif hosts:
            yield Use(f"is in use through {node.paths[0]}{who}")

    def _runs(self, node: Node) -> bool:
        """Whether the watchdog counts down (the kernel's ABI/testing/sysfs-class-watchdog)."""
        try:
            return self.host.read_text(f"{node.place}/state") == "active"
        except OSError:
            return False

    def _given(self, node: Node) -> Iterator[Use]:
        for container in self.containers.given(node.paths, node.number):
            yield Use(f"is given to the running {container.label} through {node.paths[0]}", container.vmid)

    def _guest(self, pid: str) -> tuple[int, str]:
        """VMID and label of the running guest whose QEMU the process is, else 0 and ''."""
        guests = self.running.all()
        if isinstance(guests, Unread):
            return 0, ""
        return next(((guest.vmid, guest.label) for guest in guests if str(guest.pid) == pid), (0, ""))
