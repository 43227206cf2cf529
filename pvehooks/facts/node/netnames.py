"""Names of interfaces that the network's configuration expects and that no interface has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.facts.node.networkconfig import NetworkConfig
from pvehooks.facts.reading import listing_of, text_of
from pvehooks.host import Host
from pvehooks.values.base import Unread
from pvehooks.values.boot import Absent, Interfaces

_CLASS = "/sys/class/net"
_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_PHYSICAL = ("en", "eth", "wl", "ib", "nic")


def read(host: Host) -> Interfaces | Unread:
    """The missing names, and the interfaces with hardware behind them that no name stands for."""
    there = listing_of(host, _CLASS)
    if isinstance(there, Unread):
        return there
    files = NetworkConfig(host)
    lower = files.lower()
    if files.unread:
        return Unread(", ".join(files.unread))
    # A name that systemd did not choose is an alternative name of the interface (ip-link(8), altname), which sysfs does not show.
    known = set(there) | set(_alternatives(host, there))
    wanted = [row for row in lower if " " not in row[2]]
    absent = tuple(
        Absent(word, upper, role, file) for upper, role, word, file in wanted if _physical(word) and word.split(".")[0] not in known
    )
    named = {word.split(".")[0] for _, _, word, _ in wanted} | {name for name in there if any(files.sentences([name]))}
    return Interfaces(absent, tuple(_unnamed(host, there, named)))


def _physical(name: str) -> bool:
    return name.startswith(_PHYSICAL) and any(char.isdecimal() or char == "x" for char in name)


def _alternatives(host: Host, names: list[str]) -> Iterator[str]:
    """The names that udev's database keeps for each interface (systemd.net-naming-scheme(7))."""
    for name in names:
        try:
            index = host.read_text(f"{_CLASS}/{name}/ifindex")
            text = host.read(f"/run/udev/data/n{index}").decode("utf-8", "replace") if index.isdecimal() else ""
        except OSError:
            continue
        for line in text.split("\n"):
            key, _, value = line.removeprefix("E:").partition("=")
            if key.startswith("ID_NET_NAME") and value:
                yield value


def _unnamed(host: Host, there: list[str], named: set[str]) -> Iterator[tuple[str, str, str]]:
    for name in there:
        if name in named or not host.exists(f"{_CLASS}/{name}/device"):
            continue
        mac = text_of(host, f"{_CLASS}/{name}/address")
        # A virtio NIC's device is not on the PCI bus itself.
        above = host.real(f"{_CLASS}/{name}/device").split("/")
        yield name, mac, next((part for part in reversed(above) if _ADDRESS.fullmatch(part)), "")
