"""Addresses and identifiers replaced so that they keep their form: networks still hold what they held, masks and special addresses stay."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import string

_HEX = "0123456789abcdef"


class Replacing:
    """Makes replacements from a key that is kept nowhere: the same input gives the same one, another input another one."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._orders: dict[tuple[str, range], list[int]] = {}

    def numbers(self, kind: str, text: str, count: int) -> bytes:
        """So many bytes that depend on nothing else."""
        found = b""
        while len(found) < count:
            found += hmac.digest(self._key, f"{kind}\0{text}\0{len(found)}".encode("utf-8", "surrogateescape"), hashlib.sha256)
        return found[:count]

    # -- words --------------------------------------------------------------------------------------------------------

    def like(self, text: str, kind: str = "word") -> str:
        """A text of the same length with letters for letters, digits for digits, and all else where it was."""
        made = self.numbers(kind, text, len(text))
        return "".join(map(_like, text, made))

    def hexadecimal(self, digits: str, kind: str = "hex") -> str:
        """Hexadecimal digits (dashes and colons stay) in the case of what was there."""
        plain = digits.lower()
        made = self.numbers(kind, plain.replace("-", "").replace(":", ""), len(plain))
        numbers = iter(made)
        new = "".join(_HEX[next(numbers) & 15] if char in _HEX else char for char in plain)
        return new.upper() if digits != plain else new

    def permuted(self, context: str, number: int, among: range) -> int:
        """Another number of the range; no two become the same one."""
        order = self._orders.get((context, among))
        if order is None:
            order = self._orders[context, among] = sorted(among, key=lambda each: self.numbers("order", f"{context}\0{each}", 8))
        return order[number - among.start]

    # -- addresses ----------------------------------------------------------------------------------------------------

    def mac(self, text: str) -> str:
        """A MAC, or any pairs of digits; whether it is local or a group's address stays."""
        plain = text.lower()
        digits = plain.replace(":", "").replace("-", "")
        if set(digits) <= {"0"} or set(digits) <= {"f"}:
            return text
        new = self.hexadecimal(digits, "pairs")
        new = new[0] + _HEX[(int(new[1], 16) & 12) | (int(digits[1], 16) & 3)] + new[2:]
        pairs = iter(new)
        shown = "".join(next(pairs) if char in _HEX else char for char in plain)
        return shown.upper() if text != plain else shown

    def ipv4(self, text: str, bits: int = 32) -> str:
        """An IPv4 address with another first half: networks of 8 bits and more hold what they held. Masks and special addresses stay.

        With `bits`, the length of a network's mask, its number stays one: nothing behind the mask.
        """
        numbers = [int(part) for part in text.split(".")]
        if numbers[0] in (0, 127) or numbers[0] >= 224:
            return text
        first = self.permuted("first", numbers[0], range(1, 127) if numbers[0] < 127 else range(128, 224))
        # Two numbers have as many bits in common as before: the mask of a network may end within.
        second = numbers[1] ^ (self.numbers("second", str(numbers[0]), 1)[0] % 255 + 1)
        if bits < 16 and not int.from_bytes(bytes(numbers[1:]), "big") & ((1 << min(24, 32 - bits)) - 1):
            second &= 0xFF << (16 - max(bits, 8)) & 0xFF
        return f"{first}.{second}.{numbers[2]}.{numbers[3]}"

    def ipv6(self, text: str) -> str:
        """An IPv6 address of other groups, each with as many digits as before and zeros where they were; loopback and the like stay."""
        address = ipaddress.IPv6Address(text)
        replaced = ipaddress.IPv6Address(bytes.fromhex(self.groups(address.packed.hex())))
        if replaced == address:
            return text
        new = _exploded(replaced) if text.lower() == _exploded(address) else _compressed(replaced)
        return new.upper() if text != text.lower() else new

    def groups(self, digits: str) -> str:
        """The 32 digits of an IPv6 address; the fourth group, in which people subnet, and the prefix of link-local addresses stay."""
        address = ipaddress.IPv6Address(bytes.fromhex(digits))
        if address.is_loopback or address.is_unspecified or address.is_multicast:
            return digits
        parts = [digits[at : at + 4] for at in range(0, 32, 4)]
        kept = (0, 3) if parts[0].startswith("fe8") else (3,)
        found = []
        for place, part in enumerate(parts):
            if place in kept or part == "0000":
                found.append(part)
                continue
            plain = part.lstrip("0")
            made = self.numbers("ipv6", f"{place}\0{part}", 4)
            new = "".join(_HEX[(byte % 15 + 1) if not at else byte & 15] for at, byte in enumerate(made[: len(plain)]))
            # 2000::/3, and unique local addresses, are what they were.
            found.append((part[0] + part[1] + new[-2:] if place == 0 and len(plain) == 4 else new).rjust(4, "0"))
        return "".join(found)


def _exploded(address: ipaddress.IPv6Address) -> str:
    digits = address.packed.hex()
    return ":".join(digits[at : at + 4] for at in range(0, 32, 4))


def _compressed(address: ipaddress.IPv6Address) -> str:
    """In groups of digits with every Python: 3.13 writes ::ffff:c000:201 as ::ffff:192.0.2.1."""
    mapped = address.ipv4_mapped
    return address.compressed if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"


def _like(char: str, byte: int) -> str:
    if char.isascii() and char.isdigit():
        return char if char == "0" else string.digits[byte % 9 + 1]
    if char.isascii() and char.islower():
        return string.ascii_lowercase[byte % 26]
    if char.isascii() and char.isupper():
        return string.ascii_uppercase[byte % 26]
    return char
