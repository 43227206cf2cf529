"""Which addresses and routes an interface has, as /proc/net tells it: no netlink, so that it works in a sandbox and on a tree.

/proc/net/route names interfaces and networks, /proc/net/fib_trie the node's own addresses; /proc/net/if_inet6 has both (the
kernel's net/ipv4/fib_trie.c, net/ipv6/addrconf.c and net/ipv6/route.c).
"""

from __future__ import annotations

import re

from pvehooks.host import Host
from pvehooks.values.base import NamedTuple

_LARGEST = 1 << 22
_UP = 0x1
_GATEWAY = 0x2
# Of an IPv6 address.
_BITS = 128
# Scopes of if_inet6 that are no use of an interface: its own, and link-local (every interface that is up has that).
_IDLE_SCOPES = (0x10, 0x20)


class Subnet(NamedTuple):
    """An IPv4 network that an interface is directly in: its number and mask."""

    number: int
    mask: int

    @property
    def text(self) -> str:
        """As people write it: 192.0.2.0/24."""
        return f"{dotted(self.number)}/{self.mask.bit_count()}"


class Addresses:
    """What each interface has: `texts` its addresses, `networks` it is in, `routes` through it, `default` whether that is one.

    `unread` says what could not be read.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.unread: tuple[str, ...] = ()
        self.networks: dict[str, list[Subnet]] = {}
        self.routes: dict[str, list[str]] = {}
        self.default: set[str] = set()
        self.inet6: dict[str, list[str]] = {}
        self._read_routes()
        self._read_inet6()
        self._local: set[int] | None = None

    def texts(self, name: str) -> list[str]:
        """The interface's addresses with their prefix: IPv4 addresses of this node in a network of the interface, then IPv6."""
        found = []
        for network in self.networks.get(name, ()):
            bits = network.mask.bit_count()
            found += [f"{dotted(address)}/{bits}" for address in sorted(self._own()) if address & network.mask == network.number]
        return [*dict.fromkeys(found), *self.inet6.get(name, ())]

    def ways(self, name: str) -> list[str]:
        """The networks and routes of an interface, for one whose address is not known."""
        return [*(network.text for network in self.networks.get(name, ())), *self.routes.get(name, ())]

    def reached(self, name: str, address: str) -> bool:
        """Whether an address (of this node) is the interface's."""
        if ":" in address:
            return any(_expanded(text.partition("/")[0]) == _expanded(address) for text in self.inet6.get(name, ()))
        number = _number(address)
        return number is not None and any(number & network.mask == network.number for network in self.networks.get(name, ()))

    def _own(self) -> set[int]:
        """The node's own IPv4 addresses; none where they cannot be read: the networks are known all the same."""
        if self._local is None:
            self._local = set()
            last = None
            for line in self._lines("/proc/net/fib_trie", needed=False):
                if "|-- " in line:
                    last = _number(line.rpartition(" ")[2])
                elif line.endswith("/32 host LOCAL") and last is not None:
                    self._local.add(last)
        return self._local

    def _read_routes(self) -> None:
        for line in self._lines("/proc/net/route", needed=True)[1:]:
            words = line.split()
            try:
                name, number, gateway, flags, mask = words[0], _swapped(words[1]), _swapped(words[2]), int(words[3], 16), _swapped(words[7])
            except (ValueError, IndexError, OverflowError):
                continue
            if not flags & _UP:
                continue
            if mask == 0:
                self.default.add(name)
            elif gateway == 0 and not flags & _GATEWAY:
                self.networks.setdefault(name, []).append(Subnet(number, mask))
            else:
                self.routes.setdefault(name, []).append(Subnet(number, mask).text)

    def _read_inet6(self) -> None:
        for line in self._lines("/proc/net/if_inet6", needed=False):
            words = line.split()
            try:
                address, bits, scope, name = words[0], int(words[2], 16), int(words[3], 16), words[5]
            except (ValueError, IndexError):
                continue
            if scope not in _IDLE_SCOPES and bits <= _BITS:
                self.inet6.setdefault(name, []).append(f"{_colons(address)}/{bits}")
        for line in self._lines("/proc/net/ipv6_route", needed=False):
            words = line.split()
            try:
                number, bits, flags, name = words[0], int(words[1], 16), int(words[8], 16), words[9]
            except (ValueError, IndexError):
                continue
            if not flags & _UP or bits > _BITS:
                continue
            if bits == 0:
                self.default.add(name)
            elif flags & _GATEWAY:
                self.routes.setdefault(name, []).append(f"{_colons(number)}/{bits}")

    def _lines(self, path: str, needed: bool) -> list[str]:
        try:
            content = self.host.read(path, _LARGEST)
            if len(content) > _LARGEST:
                # A router of the Internet's whole table.
                self.unread = (*self.unread, f"its addresses and routes ({path} is longer than {_LARGEST >> 20} MiB)")
            return content.decode("ascii", "replace").split("\n")
        except FileNotFoundError:
            # There is none of IPv6 where that is switched off.
            if needed:
                self.unread = (*self.unread, f"its addresses and routes ({path} is not there)")
        except OSError as error:
            self.unread = (*self.unread, f"its addresses and routes ({path}: {error.strerror})")
        return []


def dotted(number: int) -> str:
    """An IPv4 address as text."""
    return ".".join(str(number >> shift & 0xFF) for shift in (24, 16, 8, 0))


def _number(text: str) -> int | None:
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdecimal() and len(part) <= 3 and int(part) < 256 for part in parts):
        return None
    number = 0
    for part in parts:
        number = number << 8 | int(part)
    return number


def _swapped(word: str) -> int:
    """An address of /proc/net/route: printed as a number of the machine, which has the lowest byte first."""
    return int.from_bytes(int(word, 16).to_bytes(4, "little"), "big")


def _colons(digits: str) -> str:
    """The 32 digits of /proc/net/if_inet6 as people write them, the longest run of zeros left out (RFC 5952)."""
    groups = [digits[i : i + 4].lstrip("0") or "0" for i in range(0, 32, 4)]
    runs = sorted(re.finditer(r"(?:\b0(?::|$)){2,}", ":".join(groups)), key=lambda run: run.start() - run.end())
    if not runs:
        return ":".join(groups)
    text = ":".join(groups)
    return f"{text[: runs[0].start()].removesuffix(':')}::{text[runs[0].end() :]}"


def _expanded(text: str) -> str:
    """An IPv6 address as 32 digits."""
    before, _, after = text.lower().partition("::")
    first, last = [g for g in before.split(":") if g], [g for g in after.split(":") if g]
    middle = ["0"] * (8 - len(first) - len(last))
    return "".join(group.zfill(4) for group in (*first, *middle, *last))
