"""Which PCI devices are to be given to vfio-pci at boot, or to have virtual functions then, and by whom."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pvehooks.facts.pci.identity import DeviceIdentity
from pvehooks.facts.reading import unread
from pvehooks.formats import vfsettings
from pvehooks.formats.vfsettings import VfSettings
from pvehooks.host import Host
from pvehooks.values import NamedTuple, Unread

DIRECTORY = "/etc/pvehooks/bind.d"
# A driver a file: what a device was on before it was bound; gone with the next boot, as the binding is.
FORMER = "/run/pvehooks/bound"
# A VMID a file: the guest that a device was bound for (pvehooks lend); likewise gone with the next boot.
LENT = "/run/pvehooks/lent"
# driverctl(8) keeps BUS-ADDRESS here, with the driver's name inside.
DRIVERCTL = "/etc/driverctl.d"
_DRIVERCTL_BUS = "pci-"
ADDRESS = r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
_LIMIT = 1 << 12
_VFIO = "vfio-pci"


class BootBinding(NamedTuple):
    """What is to be done with a device at boot, and by what it is known."""

    address: str
    identity: DeviceIdentity
    # How many VFs it is given; None: it is given to vfio-pci.
    vfs: int | None = None
    # Of a VF: its PF. The VF is not there before its PF has VFs.
    physfn: str = ""
    # Its name in words at that time.
    words: str = ""
    # What VFs are given beside, by their number.
    vf_settings: tuple[tuple[int, VfSettings], ...] = ()

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"{self.address} ({self.words})" if self.words else self.address

    @property
    def purpose(self) -> str:
        """What is done at boot, in words."""
        return "vfio-pci" if self.vfs is None else f"{self.vfs} virtual function{'' if self.vfs == 1 else 's'}"


def path(address: str) -> str:
    """The file about a device."""
    return f"{DIRECTORY}/{address}"


def noted(host: Host, address: str) -> BootBinding | Unread | None:
    """What is noted of this address, None for nothing."""
    try:
        text = host.read(path(address), _LIMIT).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        return unread(path(address), error)
    return _parsed(address, text)


def all_noted(host: Host) -> Mapping[str, BootBinding | Unread]:
    """All that is noted, by address; files with other names are not ours."""
    try:
        names = host.names(DIRECTORY)
    except OSError:
        return {}
    found = {name: noted(host, name) for name in names if re.fullmatch(ADDRESS, name)}
    return {address: each for address, each in found.items() if each is not None}


def _parsed(address: str, text: str) -> BootBinding | Unread:
    lines = (line.partition("=") for line in text.split("\n") if "=" in line and not line.lstrip().startswith("#"))
    values = {key.strip(): value.strip() for key, _, value in lines}
    ids, subsystem = _ids(values.get("id", "")), _ids(values.get("subsystem-id", ""))
    driver, vfs = values.get("driver", ""), values.get("vfs", "")
    if ids is None or (driver != _VFIO if not vfs else not (vfs.isdecimal() and vfs.isascii() and not driver)):
        return Unread(f"{path(address)} is not as pvehooks wrote it: write it anew (pvehooks bind {address} --persist), or remove it")
    identity = DeviceIdentity(*ids, subsystem, values.get("place", ""), values.get("serial", ""))
    settings: list[tuple[int, VfSettings]] = []
    for key in filter(re.compile(r"vf\d{1,5}").fullmatch, values):
        each = vfsettings.parse(values[key])
        if isinstance(each, str) or int(key[2:]) >= int(vfs or 0):
            why = each if isinstance(each, str) else f"there are {vfs or 'no'} virtual functions, from 0 on"
            return Unread(f"{path(address)}: {key}: {why}; write it anew (pvehooks bind {address} --vfs N --persist), or remove it")
        settings.append((int(key[2:]), each))
    given = tuple(sorted(settings))
    return BootBinding(address, identity, int(vfs) if vfs else None, values.get("physfn", ""), values.get("words", ""), given)


def _ids(text: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"([0-9a-f]{4}):([0-9a-f]{4})", text)
    return (int(match[1], 16), int(match[2], 16)) if match else None


def written(note: BootBinding) -> str:
    """The content of the file about a device."""
    identity = note.identity
    lines = [
        "# Read at boot: only the device that is described here is bound, no other one that is found at its address.",
        f"# Forget it: pvehooks unbind {note.address} --persist",
        f"words = {note.words}",
        f"id = {identity.vendor:04x}:{identity.device:04x}",
    ]
    if identity.subsystem:
        lines.append(f"subsystem-id = {identity.subsystem[0]:04x}:{identity.subsystem[1]:04x}")
    given = {"place": identity.place, "serial": identity.serial, "physfn": note.physfn}
    lines += [f"{key} = {value}" for key, value in given.items() if value]
    lines.append(f"driver = {_VFIO}" if note.vfs is None else f"vfs = {note.vfs}")
    lines += [f"vf{number} = {settings.text}" for number, settings in note.vf_settings]
    return "\n".join(lines) + "\n"


def driverctl(host: Host) -> Mapping[str, str]:
    """The drivers that driverctl gives PCI devices at boot, by address."""
    found = {}
    try:
        names = host.names(DRIVERCTL)
    except OSError:
        return {}
    for name in names:
        address = name.removeprefix(_DRIVERCTL_BUS)
        if name.startswith(_DRIVERCTL_BUS) and re.fullmatch(ADDRESS, address):
            try:
                found[address] = host.read(f"{DRIVERCTL}/{name}", _LIMIT).decode("utf-8", "replace").strip()
            except OSError:
                continue
    return found


def lent_to(host: Host, address: str) -> int:
    """The guest that the device was lent to, 0 for none."""
    try:
        text = host.read_text(f"{LENT}/{address}")
    except OSError:
        return 0
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def former(host: Host, address: str) -> str | None:
    """The driver that the device was on before pvehooks bound it, '' for none, None where that is not known."""
    try:
        return host.read_text(f"{FORMER}/{address}")
    except OSError:
        return None
