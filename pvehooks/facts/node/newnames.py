"""Which network interfaces get another name at the next boot: systemd.link(5), systemd.net-naming-scheme(7), names that newer drivers give."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from pvehooks.facts.node.networkconfig import FILE, NetworkConfig
from pvehooks.facts.reading import content_of, listing_of, text_of
from pvehooks.host import Host
from pvehooks.host.overlay import overlaid
from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.boot import NewName, NextBoot, release

_NET = "/sys/class/net"
# In this order: a file shadows those of its name in later directories.
_FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network")
# What a card with this driver is called from this kernel on: PORT is added to its name. Its phys_port_name comes with devlink ports.
# Source: the kernel's drivers/net/ethernet/intel/i40e/i40e_devlink.c, first in 6.7; systemd.net-naming-scheme(7), n<phys_port_name>.
_PORTS_SINCE = {"i40e": (6, 7)}
_SCHEME = "net.naming-scheme"
_IFNAMES = "net.ifnames"


class _Link(NamedTuple):
    """A .link file: what it matches, by key, and the name that it gives ('' where it follows a policy)."""

    path: str
    match: tuple[tuple[str, tuple[str, ...]], ...]
    name: str
    policy: tuple[str, ...]


class _Card(NamedTuple):
    """A physical interface: what .link files match it by."""

    name: str
    driver: str
    macs: tuple[str, ...]
    paths: tuple[str, ...]


def read(host: Host, boot: NextBoot) -> tuple[NewName, ...] | Unread:
    """The interfaces that the network's configuration names and that are called otherwise after a boot, or may be."""
    names = listing_of(host, _NET)
    if isinstance(names, Unread):
        return names
    config = NetworkConfig(_with_pending(host))
    links = list(_links(host))
    found = []
    for name in names:
        role = next(config.sentences([name]), "") if host.exists(f"{_NET}/{name}/device") else ""
        card = _card(host, name) if role else None
        new = card and _new_name(card, links, boot)
        if card and new:
            found.append(NewName(name, next(iter(card.macs), ""), new[0], new[1], role, new[2]))
    return Unread(", ".join(config.unread)) if config.unread else tuple(found)


def _with_pending(host: Host) -> Host:
    """The host with the network's configuration that Proxmox VE puts in force at boot (pve-manager, pvenetcommit.service)."""
    pending = content_of(host, f"{FILE}.new")
    return host if isinstance(pending, Unread) else overlaid(host, {FILE: pending}, ())


def _new_name(card: _Card, links: list[_Link], boot: NextBoot) -> tuple[str, str, bool] | None:
    """(the new name or '', why, whether it is certain), None where the name stays."""
    link = next((each for each in links if _matches(each, card)), None)
    if link is not None and link.name and (not link.policy or f"{_IFNAMES}=0" in boot.words):
        return None if link.name == card.name else (link.name, f"{link.path} gives it this name", True)
    for argument in (_IFNAMES, _SCHEME):
        before, after = _value(boot.words_now, argument), _value(boot.words, argument)
        if before != after:
            shown = f"has {argument}={after}" if after else f"has no {argument}={before} any more"
            # Schemes differ for some cards only.
            return "", f"the command line of the next boot {shown}, which changes how cards are named", argument == _IFNAMES
    if not card.name.startswith("en"):
        return None
    since = _PORTS_SINCE.get(card.driver)
    before_it, then = release(boot.running), release(boot.release)
    if since and before_it < since <= then and not re.search(r"np?[0-9]+\Z", card.name):
        return "", f"from kernel {since[0]}.{since[1]} on its driver {card.driver} adds the port to the name, as in {card.name}np0", True
    if before_it != then:
        return "", f"no .link file keeps its name, and the kernel changes from {before_it[0]}.{before_it[1]} to {then[0]}.{then[1]}", False
    return None


def _value(words: tuple[str, ...], name: str) -> str:
    return next((value for key, _, value in (word.partition("=") for word in reversed(words)) if key == name), "")


# -- .link files ------------------------------------------------------------------------------------------------------


def _links(host: Host) -> Iterator[_Link]:
    """Those that match cards, in the order of their names, in which udev asks them; the first one that matches is taken."""
    places: dict[str, str] = {}
    for folder in _FOLDERS:
        there = listing_of(host, folder)
        for name in () if isinstance(there, Unread) else there:
            if name.endswith(".link"):
                places.setdefault(name, f"{folder}/{name}")
    for name in sorted(places):
        text = text_of(host, places[name])
        match, link = _section(text, "Match"), _section(text, "Link")
        # A file without [Match], or one that is empty (a link to /dev/null), matches nothing that is asked about here.
        if match:
            yield _Link(places[name], tuple(match.items()), " ".join(link.get("Name", ())), link.get("NamePolicy", ()))


def _section(text: str, wanted: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    section = ""
    for line in text.replace("\\\n", " ").split("\n"):
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif section == wanted and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            # An empty assignment takes back what stood before.
            found[key.strip()] = (*found.get(key.strip(), ()), *value.split()) if value.strip() else ()
    return found


def _matches(link: _Link, card: _Card) -> bool:
    """Whether it is for the card; what cannot be looked at here counts as no match, so that no name is guessed."""
    return all(_agrees(key, values, card) for key, values in link.match)


def _agrees(key: str, values: tuple[str, ...], card: _Card) -> bool:
    if key in ("MACAddress", "PermanentMACAddress"):
        return any(value.lower().replace("-", ":") in card.macs for value in values)
    if key == "OriginalName":
        # The name that the kernel gives is not known any more; 99-default.link has "*".
        return "*" in values
    if key == "Type":
        return "ether" in values
    known = {"Driver": (card.driver,), "Path": card.paths}.get(key)
    if known is None:
        return False
    patterns = [value.removeprefix("!") for value in values]
    hit = any(fnmatchcase(each, pattern) for each in known for pattern in patterns)
    return hit != values[0].startswith("!") if values else False


def _card(host: Host, name: str) -> _Card:
    here = f"{_NET}/{name}"
    udev = _udev(host, text_of(host, f"{here}/ifindex"))
    try:
        driver = host.link_name(f"{here}/device/driver")
    except OSError:
        driver = udev.get("ID_NET_DRIVER", "")
    macs = (text_of(host, f"{here}/address"), _of_name(udev.get("ID_NET_NAME_MAC", "")), _permanent(host, here))
    return _Card(name, driver, tuple(filter(None, macs)), tuple(filter(None, (udev.get("ID_PATH", ""),))))


def _permanent(host: Host, here: str) -> str:
    """A card of a bond has the bond's address; its own one is kept by the bonding driver (bonding_slave/perm_hwaddr)."""
    return text_of(host, f"{here}/bonding_slave/perm_hwaddr")


def _of_name(name: str) -> str:
    """The address in a name such as enx005056c00001."""
    digits = name[3:]
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2)) if len(digits) == 12 else ""


def _udev(host: Host, index: str) -> dict[str, str]:
    """The properties of an interface in udev's database."""
    text = text_of(host, f"/run/udev/data/n{index}") if index.isdecimal() else ""
    rows = (line[2:].partition("=") for line in text.split("\n") if line.startswith("E:"))
    return {key: value for key, _, value in rows}
