"""Which network interfaces get another name at the next boot: systemd.link(5), systemd.net-naming-scheme(7), names that newer drivers give."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import cache

from pvehooks.facts.node import packages
from pvehooks.facts.node.networkconfig import FILE, NetworkConfig
from pvehooks.facts.reading import content_of, listing_of, text_of
from pvehooks.host import Host
from pvehooks.host.overlay import overlaid
from pvehooks.values.base import NamedTuple, Unread
from pvehooks.values.boot import NewName, NextBoot, release

_NET = "/sys/class/net"
# In this order: a file shadows those of its name in later directories.
_FOLDERS = ("/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network")
# Drivers that began to show the port of a card (phys_port_name, which comes with a devlink port): udev adds it to the name, as n<phys_port_name>.
# From which kernel on, and from which on no more. ice, mlx5_core, bnxt_en and nfp did it before 6.2, the first kernel of Proxmox VE 8.
# Source: the kernel's drivers/net/ethernet/intel/i40e/i40e_devlink.c (first in 6.7) and ixgbe/devlink/devlink.c (first in 6.16; its later
# no_phys_port_name takes that back); systemd.net-naming-scheme(7).
_PORTS: dict[str, tuple[tuple[int, int], tuple[int, int] | None]] = {"i40e": ((6, 7), None), "ixgbe": ((6, 16), (6, 17))}
# In updates of this kernel it is taken back already.
_PARTLY = {("ixgbe", (6, 16))}
# Drivers that show the port in all kernels of this range, and those that show it in none: they name a card alike.
# Source: the kernel's drivers/net/ethernet, 6.1 and 6.18 (SET_NETDEV_DEVLINK_PORT, before it ndo_get_devlink_port; ndo_get_phys_port_name).
_SHOWN_ALWAYS = frozenset(("bnxt_en", "ice", "mlx5_core"))
_SHOWN_NEVER = frozenset(
    ("alx", "atlantic", "be2net", "bnx2", "bnx2x", "e1000e", "iavf", "igb", "igc", "ixgbevf", "mlx4_core", "qede", "r8169", "tg3")
)
_ALIKE = range(1, 19)
_PORT = re.compile(r"(?<=[0-9])np[0-9]+(?:s[0-9]+)?\Z")
# The kernel's argument, with _ and with - (systemd's proc_cmdline_get_key takes both).
_SCHEME = "net.naming-scheme"
_IFNAMES = "net.ifnames"
# Of a version of udev that is between two the older one holds; 254 has that of 253 (systemd.net-naming-scheme(7), "History").
_SCHEMES = (252, 253, 255, 257)
_LONGEST_NAME = 15


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
    # The naming scheme by which udev named it, '' where that is not known.
    scheme: str


def read(host: Host, boot: NextBoot) -> tuple[NewName, ...] | Unread:
    """The interfaces that the network's configuration names and that are called otherwise after a boot, or may be."""
    names = listing_of(host, _NET)
    if isinstance(names, Unread):
        return names
    config = NetworkConfig(_with_pending(host))
    links = list(_links(host))
    scheme_of_udev = cache(lambda: _scheme_of_udev(host))
    found = []
    for name in names:
        for each in (name, *_alternatives(host, name)) if host.exists(f"{_NET}/{name}/device") else ():
            role = next(config.sentences([each]), "")
            card = _card(host, name)._replace(name=each) if role else None
            new = card and _new_name(card, links, boot, scheme_of_udev)
            if card and new:
                found.append(
                    NewName(
                        each, next(iter(card.macs), ""), new[0], new[1], role, new[2], _alike(card, boot) if new == _by_kernel(boot) else ""
                    )
                )
            if role:
                break
    return Unread(", ".join(config.unread)) if config.unread else tuple(found)


def _with_pending(host: Host) -> Host:
    """The host with the network's configuration that Proxmox VE puts in force at boot (pve-manager, pvenetcommit.service)."""
    pending = content_of(host, f"{FILE}.new")
    return host if isinstance(pending, Unread) else overlaid(host, {FILE: pending}, ())


def _alternatives(host: Host, name: str) -> list[str]:
    """The names that an interface has beside its own (ip-link(8), altname): those that udev has found for it."""
    known = _udev(host, text_of(host, f"{_NET}/{name}/ifindex"))
    found = (known.get(f"ID_NET_NAME_{kind}", "") for kind in ("ONBOARD", "SLOT", "PATH", "MAC"))
    return [each for each in found if each and each != name and len(each) <= _LONGEST_NAME]


def _new_name(card: _Card, links: list[_Link], boot: NextBoot, scheme_of_udev: Callable[[], str]) -> tuple[str, str, bool] | None:
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
    # That by its MAC stays.
    if not card.name.startswith("en") or card.name.startswith("enx"):
        return None
    return _by_driver(card, boot) or _by_scheme(card, boot, scheme_of_udev) or _by_kernel(boot)


def _by_driver(card: _Card, boot: NextBoot) -> tuple[str, str, bool] | None:
    """The name with or without its port, where the driver of the next kernel shows it and that of the present one does not, or the other way round."""
    since, until = _PORTS.get(card.driver, (None, None))
    if since is None:
        return None
    now, then = release(boot.running), release(boot.release)
    shown_now, shown_then = (since <= kernel and (until is None or kernel < until) for kernel in (now, then))
    if shown_then and not shown_now and not _PORT.search(card.name):
        why = f"from kernel {since[0]}.{since[1]} on its driver {card.driver} adds the port to the name, as in {card.name}np0"
        return "", why, (card.driver, then) not in _PARTLY
    if shown_now and not shown_then and _PORT.search(card.name):
        return (
            _PORT.sub("", card.name),
            f"its driver {card.driver} in the kernel {then[0]}.{then[1]} does not add the port to the name",
            True,
        )
    return None


def _by_scheme(card: _Card, boot: NextBoot, scheme_of_udev: Callable[[], str]) -> tuple[str, str, bool] | None:
    """Whether udev was updated to a version with another naming scheme after it had named the card."""
    asked = _value(boot.words, _SCHEME)
    then = asked if asked not in ("", "latest") else scheme_of_udev() if card.scheme else ""
    if not card.scheme or not then or card.scheme == then:
        return None
    return "", f"no .link file keeps its name, and udev's naming scheme changes from {card.scheme} to {then}", False


def _by_kernel(boot: NextBoot) -> tuple[str, str, bool] | None:
    now, then = release(boot.running), release(boot.release)
    if now == then:
        return None
    return "", f"no .link file keeps its name, and the kernel changes from {now[0]}.{now[1]} to {then[0]}.{then[1]}", False


def _alike(card: _Card, boot: NextBoot) -> str:
    kernels = (release(boot.running), release(boot.release))
    is_known = card.driver in _SHOWN_ALWAYS | _SHOWN_NEVER and all(major == 6 and minor in _ALIKE for major, minor in kernels)
    return card.driver if is_known else ""


def _scheme_of_udev(host: Host) -> str:
    """The naming scheme of the udev that is installed ("v257"); '' where that is not known."""
    known = packages.version(host, "udev")
    match = None if isinstance(known, Unread) else re.match(r"\d{1,4}", known)
    number = int(match[0]) if match else 0
    # Whether a newer one has another scheme is not known.
    return "" if number > _SCHEMES[-1] else next((f"v{each}" for each in reversed(_SCHEMES) if each <= number), "")


def _value(words: tuple[str, ...], name: str) -> str:
    rows = (word.partition("=") for word in reversed(words))
    return next((value for key, _, value in rows if key.replace("_", "-") == name), "")


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
    # First what it has when udev names it: later it may have that of a bond, or of the configuration.
    macs = (_permanent(host, here), _of_name(udev.get("ID_NET_NAME_MAC", "")), text_of(host, f"{here}/address"))
    return _Card(
        name, driver, tuple(filter(None, macs)), tuple(filter(None, (udev.get("ID_PATH", ""),))), udev.get("ID_NET_NAMING_SCHEME", "")
    )


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
