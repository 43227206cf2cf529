"""What gives physical functions their virtual functions (VFs): settings that do so at boot, DKMS modules, drivers (the kernel's PCI/pci-iov-howto)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from pvehooks.facts.pci import bindings, vflinks
from pvehooks.facts.pci.bindings import BootBinding
from pvehooks.facts.reading import names_in, text_of
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Unread
from pvehooks.values.base import cached_property
from pvehooks.values.pci import VfMacs, VfNote, VfSource, is_pci_address, last_pci_address

_NET = "/sys/class/net"
_DKMS = "/var/lib/dkms"
_ALIASES_LIMIT = 1 << 23
_COUNT = r"(\d{1,4})"
# A number written to a path of sysfs: by a shell (echo N > PATH, or with tee), by sysfsutils (PATH = N).
_WRITTEN = re.compile(r"""(?:>|\|\s*(?:sudo\s+)?tee\s(?:\s*-\w+)*)\s*['"]?([^\s>|]*?)/?sriov_numvfs""")
_NUMBER_BEFORE = re.compile(rf"""(?<!\S)['"]?{_COUNT}['"]?\s*>*\Z""")
# What a shell fills in: which device is meant does not stand there.
_FILLED_IN = re.compile(r"[$*?`%\[]")
_ASSIGNED = re.compile(rf"^\s*(\S*?)/sriov_numvfs\s*=\s*{_COUNT}\s*$", re.MULTILINE)
_UDEV = re.compile(rf"""ATTR\{{(?:device/)?sriov_numvfs\}}\s*=\s*"{_COUNT}\"""")
_UDEV_MATCH = re.compile(r"""(?:KERNELS?|NAME|ENV\{INTERFACE\}|ENV\{PCI_SLOT_NAME\})\s*==\s*"([^"]+)\"""")
_INTERFACE = re.compile(r"/sys/class/net/([^/]+)/|^class/net/([^/]+)/|^([A-Za-z][\w.-]*)$")
# Units that start before pve-guests.service and pve-ha-lrm.service, or are one of them (pve-manager, pve-ha-manager).
_BEFORE_GUESTS = frozenset(
    "pve-guests.service pve-ha-lrm.service pve-ha-crm.service pve-storage.target pve-cluster.service pvedaemon.service pveproxy.service"
    " pvestatd.service spiceproxy.service pve-firewall.service lxc.service network.target network-online.target network-pre.target"
    " networking.service sysinit.target basic.target local-fs.target systemd-modules-load.service systemd-udev-settle.service".split()
)
_EARLY_TARGETS = frozenset(
    ("sysinit.target", "basic.target", "local-fs.target", "network.target", "network-pre.target", "network-online.target")
)
_UNITS = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
_LINKS = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network")
_CRON = ("/etc/crontab", "/var/spool/cron/crontabs/root")
_LATE = "/etc/rc.local"
_DEVICES = "/sys/bus/pci/devices"
_NVIDIA_UNIT = re.compile(r"pve-nvidia-sriov@(.+)\.service")
_SRIOV_MANAGE = "/usr/lib/nvidia/sriov-manage"


class SupportOnNode:
    """What makes VFs on this node (values.pci.VfSupport); each part is read when it is first asked for."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._macs: dict[str, VfMacs] = {}

    @cached_property
    def sources(self) -> tuple[VfSource, ...]:
        """The settings, those of pvehooks first."""
        host = self._host
        return (
            *_noted(host),
            *_sysfsutils(host),
            *_units(host),
            *_nvidia(host),
            *_links(host),
            *_rules(host),
            *_interfaces(host),
            *_scripts(host),
        )

    @cached_property
    def release(self) -> str:
        """The running kernel's release."""
        return text_of(self._host, "/proc/sys/kernel/osrelease")

    @cached_property
    def unbuilt(self) -> tuple[str, ...]:
        """The modules in DKMS, by name, that were not built for the running kernel (dkms(8): NAME/VERSION/KERNEL, links kernel-KERNEL-ARCH)."""
        found = []
        for name in names_in(self._host, _DKMS):
            below = f"{_DKMS}/{name}"
            versions = [
                each for each in names_in(self._host, below) if not each.startswith("kernel-") and self._host.is_dir(f"{below}/{each}")
            ]
            built = any(self._host.is_dir(f"{below}/{version}/{self.release}") for version in versions)
            if self.release and versions and not built:
                found.append(name)
        return tuple(found)

    def module(self, address: str) -> str:
        """The module that the running kernel would load for the device (modules.alias), '' for none."""
        alias = text_of(self._host, f"{_DEVICES}/{address}/modalias")
        try:
            lines = self._host.read(f"/lib/modules/{self.release}/modules.alias", _ALIASES_LIMIT).decode("ascii", "replace").split("\n")
        except OSError:
            return ""
        rows = (line.split() for line in lines if line.startswith("alias pci:"))
        return next((row[2] for row in rows if alias and len(row) == 3 and fnmatchcase(alias, row[1])), "")

    def interface(self, address: str) -> str:
        """The name of the device's network interface, '' without one."""
        return vflinks.interface(self._host, address)

    def macs(self, address: str) -> VfMacs:
        """What is noted of a PF's VFs, and what the card has; asked once, since a process answers."""
        if address not in self._macs:
            self._macs[address] = self._read_macs(address)
        return self._macs[address]

    def _read_macs(self, address: str) -> VfMacs:
        note = bindings.noted(self._host, address)
        count, given = (note.vfs or 0, note.vf_settings) if isinstance(note, BootBinding) else (0, ())
        noted = {number: VfNote(each.mac, each._replace(mac="").text) for number, each in given}
        shown = vflinks.read(self._host, address)
        if isinstance(shown, Unread):
            return VfMacs(count, noted, shown)
        given_trust = {number: each.trust for number, each in given}
        trusted = frozenset(number for number, each in shown.items() if each.get("trust", given_trust.get(number)) == "on")
        return VfMacs(count, noted, {number: each["MAC"] for number, each in shown.items() if "MAC" in each}, trusted)


# -- what is written where ----------------------------------------------------------------------------------------------


def _noted(host: Host) -> Iterator[VfSource]:
    for address, note in bindings.all_noted(host).items():
        if not isinstance(note, Unread) and note.vfs:
            yield VfSource(f"pvehooks ({bindings.path(address)})", address, note.vfs)


def _sysfsutils(host: Host) -> Iterator[VfSource]:
    """Debian 13's sysfsutils reads /etc/sysfs.d only where there is an /etc/sysfs.conf, which it does not bring along."""
    names = (f"/etc/sysfs.d/{name}" for name in names_in(host, "/etc/sysfs.d") if name.endswith(".conf"))
    trouble = ""
    if not host.exists("/etc/sysfs.conf"):
        trouble = "sysfsutils applies nothing without /etc/sysfs.conf, which is not there (touch /etc/sysfs.conf)"
    if not any(
        host.exists(path)
        for path in ("/usr/lib/systemd/system/sysfsutils.service", "/lib/systemd/system/sysfsutils.service", "/etc/init.d/sysfsutils")
    ):
        trouble = "the package sysfsutils, which applies it, is not installed" if host.is_dir("/usr/lib/systemd") else trouble
    for path in ("/etc/sysfs.conf", *names):
        for match in _ASSIGNED.finditer(_without_comments(text_of(host, path))):
            yield VfSource(path, _address(host, match[1]), int(match[2]), trouble)


def _units(host: Host) -> Iterator[VfSource]:
    """Services of the administrator, and scripts that they run."""
    wanted = frozenset(
        name
        for folder in _UNITS
        for target in names_in(host, folder)
        if target.endswith((".wants", ".requires"))
        for name in names_in(host, f"{folder}/{target}")
    )
    for folder in _UNITS:
        for file in names_in(host, folder):
            if file.endswith(".service"):
                yield from _unit(host, f"{folder}/{file}", file, wanted)


def _unit(host: Host, path: str, file: str, wanted: frozenset[str]) -> Iterator[VfSource]:
    text = "\n".join(text_of(host, each) for each in (path, *_drop_ins(host, f"{path}.d")))
    unit = _without_comments(text.replace("\\\n", " "))
    scripts = re.findall(r"(?:^Exec\w+=|\s)[-@:+!]*(/(?:usr/local|opt|root|etc)/[^\s;'\"]+)", unit, re.MULTILINE)
    commands = "\n".join((unit, *(_without_comments(text_of(host, each)) for each in scripts)))
    if "sriov_numvfs" not in commands:
        return
    words = _words(unit)
    targets = words.get("WantedBy", frozenset()) | words.get("RequiredBy", frozenset())
    early = words.get("Before", frozenset()) & _BEFORE_GUESTS or targets & _EARLY_TARGETS
    template, at, _ = file.partition("@.")
    # systemd.unit(5): "name@value.service" is made of "name@.service", with the value for %i.
    for name in sorted(each for each in wanted if each.startswith(f"{template}@")) if at else [file]:
        instance = name.removeprefix(f"{template}@").removesuffix(".service")
        filled = re.sub("%[iI]", lambda _, value=instance: value, commands) if at else commands  # type: ignore[misc]
        # A timer of the same name starts it later.
        timed = f"{name.removesuffix('.service')}.timer" in wanted
        trouble = "" if name in wanted or timed else f"it is not enabled (systemctl enable {name})"
        for address, count in _written(host, filled):
            yield VfSource(name, address, count, trouble, late=not early or (timed and name not in wanted))


def _nvidia(host: Host) -> Iterator[VfSource]:
    """Proxmox VE's unit for NVIDIA's sriov-manage, ordered before the VMs (pve-nvidia-vgpu-helper): of a card, or of ALL."""
    trouble = "" if host.exists(_SRIOV_MANAGE) else f"NVIDIA's {_SRIOV_MANAGE}, which it calls, is not installed"
    for target in (name for name in names_in(host, _UNITS[0]) if name.endswith(".wants")):
        for name in names_in(host, f"{_UNITS[0]}/{target}"):
            match = _NVIDIA_UNIT.fullmatch(name)
            cards = _nvidia_cards(host) if match and match[1] == "ALL" else filter(None, [last_pci_address(match[1])] if match else [])
            for address in cards:
                yield VfSource(name, address, 0, trouble)


def _nvidia_cards(host: Host) -> list[str]:
    return [
        address
        for address in names_in(host, _DEVICES)
        if text_of(host, f"{_DEVICES}/{address}/vendor") == "0x10de" and text_of(host, f"{_DEVICES}/{address}/sriov_totalvfs")
    ]


def _drop_ins(host: Host, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in names_in(host, folder) if name.endswith(".conf")]


def _words(unit: str) -> dict[str, frozenset[str]]:
    """The words of a unit's assignments by their key."""
    found: dict[str, frozenset[str]] = {}
    for line in unit.split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip()] = found.get(key.strip(), frozenset()) | frozenset(value.split())
    return found


def _links(host: Host) -> Iterator[VfSource]:
    """systemd.link(5): applied when the interface appears."""
    for folder in _LINKS:
        for name in names_in(host, folder):
            if not name.endswith(".link"):
                continue
            values = {key: " ".join(words) for key, words in _words(_without_comments(text_of(host, f"{folder}/{name}"))).items()}
            count = values.get("SR-IOVVirtualFunctions", "")
            if count.isdecimal() and int(count):
                interface = _interface_of(host, values)
                yield VfSource(f"{folder}/{name}", _address(host, interface) if interface else "", int(count))


def _interface_of(host: Host, values: dict[str, str]) -> str:
    """The interface that a .link file matches, by its name or MAC; '' where none does."""
    there = names_in(host, _NET)
    for key in ("Name", "OriginalName"):
        if values.get(key) in there:
            return values[key]
    mac = (values.get("MACAddress") or values.get("PermanentMACAddress") or "").lower()
    return next((name for name in there if mac and text_of(host, f"{_NET}/{name}/address") == mac), "")


def _rules(host: Host) -> Iterator[VfSource]:
    for name in names_in(host, "/etc/udev/rules.d"):
        for line in _without_comments(text_of(host, f"/etc/udev/rules.d/{name}")).replace("\\\n", " ").split("\n"):
            count = _UDEV.search(line) if name.endswith(".rules") else None
            if count:
                matched = _UDEV_MATCH.findall(line)
                yield VfSource(
                    f"/etc/udev/rules.d/{name}", next(filter(None, (_address(host, each) for each in matched)), ""), int(count[1])
                )


def _interfaces(host: Host) -> Iterator[VfSource]:
    """Commands of ifupdown2, which networking.service runs before the VMs start."""
    names = names_in(host, "/etc/network/interfaces.d")
    for path in ("/etc/network/interfaces", *(f"/etc/network/interfaces.d/{name}" for name in names)):
        for address, count in _written(host, _without_comments(text_of(host, path))):
            yield VfSource(path, address, count)


def _scripts(host: Host) -> Iterator[VfSource]:
    """What runs at the end of the boot: rc.local, cron's @reboot."""
    for address, count in _written(host, _without_comments(text_of(host, _LATE))):
        yield VfSource(_LATE, address, count, late=True)
    for path in (*_CRON, *(f"/etc/cron.d/{name}" for name in names_in(host, "/etc/cron.d"))):
        for line in _without_comments(text_of(host, path)).split("\n"):
            for address, count in _written(host, line) if "@reboot" in line else ():
                yield VfSource(f"{path} (@reboot)", address, count, late=True)


class _Write(NamedTuple):
    address: str
    number: int


def _written(host: Host, text: str) -> Iterator[_Write]:
    """What commands write to sriov_numvfs: the PF's address ('' where it is filled in) and the number (0 where that is).

    A write of 0 takes VFs away, and one to an interface that is not there makes none.
    """
    for line in text.split("\n"):
        for match in _WRITTEN.finditer(line):
            before = _NUMBER_BEFORE.search(line[: match.start()])
            path, number = match[1], int(before[1]) if before else 0
            address = _address(host, path)
            known = address or not path or _FILLED_IN.search(path)
            if known and (number or not before):
                yield _Write(address, number)


def _address(host: Host, path: str) -> str:
    """The address of the PCI device that a path or the name of an interface stands for, '' where that is unknown."""
    address = last_pci_address(path)
    if address:
        return address
    match = _INTERFACE.search(path)
    name = next(filter(None, match.groups()), "") if match else ""
    try:
        found = last_pci_address(host.real(f"{_NET}/{name}/device")) if name else ""
    except OSError:
        return ""
    # A tree may have only the interface's own link, /sys/devices/.../ADDRESS/net/NAME.
    return found if is_pci_address(found) else ""


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(("#", ";")))
