"""A look at all that pvehooks can look at on a node, so that whoever records it has all that the rules read."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pvehooks import firstlook
from pvehooks.errors import PvehooksError
from pvehooks.facts import hardware
from pvehooks.facts.cluster import members, pmxcfs, summaries
from pvehooks.facts.cluster import nodes as node_facts
from pvehooks.facts.guests import configs as guests
from pvehooks.facts.pci import bindings, identity
from pvehooks.facts.storage import storages
from pvehooks.host import Host
from pvehooks.judge import judge, load_settings, weighed
from pvehooks.rules import catalogue, grouping
from pvehooks.rules.host.book import CHECKS
from pvehooks.rules.host.candidates import candidates, described
from pvehooks.settings import Settings
from pvehooks.values import Finding, Guest, Unread
from pvehooks.values.base import fact_names

_ABOUT_DEVICES = (
    *("uevent", "modalias", "resource", "enable", "power_state", "revision", "irq"),
    *("sriov_totalvfs", "sriov_numvfs", "sriov_drivers_autoprobe"),
)
# What no rule asks for, and a person who reads a report does.
FURTHER = (
    *("/etc/debian_version", "/etc/pve/.version", "/etc/pve/.vmlist", "/etc/pve/.members", "/etc/pve/local", "/etc/hostname"),
    *("/proc/sys/kernel/osrelease", "/proc/cmdline", "/proc/interrupts", "/proc/iomem", "/proc/meminfo", "/proc/swaps"),
    *(f"/sys/class/dmi/id/{name}" for name in ("board_vendor", "board_name", "product_name", "bios_vendor", "bios_version", "bios_date")),
)


class Seen(NamedTuple):
    """What came of the look: the findings (those of the node without a VMID), what `host check` says beside them, and what went wrong."""

    findings: tuple[tuple[int, Finding], ...]
    troubles: tuple[str, ...]
    said: tuple[str, ...] = ()


class _Look:
    """One look; a step that fails is noted, and those after it are made all the same: broken nodes are what captures are for."""

    def __init__(self, host: Host, node: str) -> None:
        self.host = host
        self.name = node
        self.node = hardware.gather(host, node)
        self.findings: list[tuple[int, Finding]] = []
        self.troubles: list[str] = []
        self.said: list[str] = []
        self.settings: Settings | None = None

    def step(self, what: str, deed: Callable[[], object]) -> None:
        """Does it, and notes what it ends with."""
        try:
            deed()
        except (PvehooksError, OSError, pmxcfs.PmxcfsAway) as error:
            self.troubles.append(f"{what}: {error}")
        except Exception as bug:  # noqa: BLE001 - what a bug of ours needs is a capture
            self.troubles.append(f"{what}: {type(bug).__name__}: {bug}")

    def everything(self) -> Seen:
        """All steps."""
        self.step("the settings", self._settings)
        self.step("the guests", self._guests)
        self.step("the node's facts", lambda: self._ask(self.node))
        self.step("the node", self._node)
        self.step("the devices", self._devices)
        self.step("the groups", lambda: grouping.groups(self.node))
        self.step("host check", self._host_check)
        self.step("bindings", lambda: (bindings.all_noted(self.host), bindings.driverctl(self.host)))
        self.step("snippets", lambda: storages.local_snippets(self.host, self.name))
        self.step("the cluster", self._cluster)
        for path in FURTHER:
            self._further(path)
        return Seen(tuple(self.findings), tuple(self.troubles), tuple(self.said))

    def _settings(self) -> None:
        self.settings = load_settings(self.host)

    def _guests(self) -> None:
        around = guests.surroundings(self.host, self.name, firstlook.read(self.host, self.name))
        for vmid in node_facts.guest_ids(self.host, self.name):
            guest = guests.read(self.host, self.name, vmid, around)
            self.step(f"VM {vmid}", lambda guest=guest: self._guest(guest))  # type: ignore[misc]
            self.step(f"VM {vmid}", lambda guest=guest: self._ask(guest))  # type: ignore[misc]

    def _guest(self, guest: Guest) -> None:
        found = catalogue.look(guest, self.node)
        if self.settings is not None:
            found = tuple(item.finding for item in judge(guest, found, self.settings).findings)
        self.findings += ((guest.vmid, finding) for finding in found)

    def _node(self) -> None:
        severities = self.settings.severities if self.settings else {}
        self.findings += ((0, weighed(finding, severities, "bind")) for finding in catalogue.look_at_node(self.node))

    def _host_check(self) -> None:
        self.said += filter(None, (check.passed(self.node) for check in CHECKS))
        self.said += (" ".join((each.device.label, *described(each, self.node))) for each in candidates(self.node))

    def _devices(self) -> None:
        pci, uses = self.node.pci, self.node.uses
        for device in () if isinstance(pci, Unread) else pci.values():
            self.step(device.address, lambda device=device: self._ask(device))  # type: ignore[misc]
            self.step(device.address, lambda device=device: identity.of(self.host, device))  # type: ignore[misc]
            if not isinstance(uses, Unread):
                self.step(device.address, lambda device=device: uses.of(device))  # type: ignore[misc]
            for name in _ABOUT_DEVICES:
                self._further(f"/sys/bus/pci/devices/{device.address}/{name}")

    def _cluster(self) -> None:
        members.members(self.host, self.name)
        summaries.standings(self.host, self.name)
        pmxcfs.version(self.host)
        pmxcfs.quorate(self.host)
        pmxcfs.guests(self.host)

    def _ask(self, value: object) -> None:
        """All that can be known of a node, a guest or a device."""
        for name in fact_names(type(value)):
            self.step(name, lambda name=name: getattr(value, name))  # type: ignore[misc]

    def _further(self, path: str) -> None:
        try:
            self.host.read(path)
        except OSError:
            return


def at_everything(host: Host, node: str) -> Seen:
    """Looks at the node; nothing raises."""
    return _Look(host, node).everything()
