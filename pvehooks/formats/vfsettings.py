"""What a virtual function of a network card is given: MAC, VLAN and the like, as `pvehooks bind --vf` takes it and the notes for boot hold it."""

from __future__ import annotations

import re

from pvehooks.values import NamedTuple

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SWITCHES = ("on", "off")
_STATES = ("auto", "enable", "disable")
_DRIVERS = ("vfio-pci", "host")
KEYS = ("mac", "vlan", "trust", "spoofchk", "link-state", "rate", "driver")


class VfSettings(NamedTuple):
    """Of one virtual function; what is not set is None or '' and stays as its driver makes it."""

    mac: str = ""
    # 0 for none.
    vlan: int | None = None
    qos: int = 0
    trust: str = ""
    spoofchk: str = ""
    state: str = ""
    # Mbit/s, 0 for no limit.
    rate: int | None = None
    # "vfio-pci", or "host" for one of the host's own.
    driver: str = ""

    @property
    def text(self) -> str:
        """As parse() takes it."""
        vlan = "" if self.vlan is None else f"{self.vlan}:{self.qos}" if self.qos else str(self.vlan)
        rate = "" if self.rate is None else str(self.rate)
        values = (self.mac, vlan, self.trust, self.spoofchk, self.state, rate, self.driver)
        return ",".join(f"{key}={value}" for key, value in zip(KEYS, values, strict=True) if value)

    def over(self, other: VfSettings) -> VfSettings:
        """These settings, and where one is not set, the other's."""
        taken = {name: mine for name, mine in self._asdict().items() if mine not in ("", None)}
        if self.vlan is None:
            taken.pop("qos", None)
        return other._replace(**taken)


def parse(text: str) -> VfSettings | str:
    """KEY=VALUE with commas between; a phrase where it is none."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key not in KEYS or not equals:
            return f"'{part}' is none of {', '.join(f'{each}=' for each in KEYS)}"
        if key in found:
            return f"{key}= is given twice"
        found[key] = value.lower()
    vlan, _, qos = found.get("vlan", "").partition(":")
    mac = found.get("mac", "")
    checks = (
        ("mac", not mac or _is_mac(mac), "is not the MAC of one interface (52:54:00:12:34:56)"),
        (
            "vlan",
            "vlan" not in found or (_number(vlan, 4094) and (not qos or _number(qos, 7))),
            "is not a VLAN (0 to 4094, or VLAN:PRIORITY, 0 to 7)",
        ),
        ("rate", "rate" not in found or _number(found["rate"], 1_000_000), "is not a rate in Mbit/s (0 to 1000000)"),
        *((key, found.get(key, "on") in _SWITCHES, "is neither on nor off") for key in ("trust", "spoofchk")),
        ("link-state", found.get("link-state", "auto") in _STATES, f"is none of {', '.join(_STATES)}"),
        ("driver", found.get("driver", "host") in _DRIVERS, f"is none of {', '.join(_DRIVERS)}"),
    )
    wrong = next((f"{key}={found[key]} {why}" for key, fits, why in checks if not fits), "")
    if wrong:
        return wrong
    return VfSettings(
        mac,
        int(vlan) if vlan else None,
        int(qos or 0),
        found.get("trust", ""),
        found.get("spoofchk", ""),
        found.get("link-state", ""),
        int(found["rate"]) if "rate" in found else None,
        found.get("driver", ""),
    )


def _is_mac(text: str) -> bool:
    """The lowest bit of the first byte is for groups; all zeros is none."""
    return _MAC.fullmatch(text) is not None and not int(text[:2], 16) & 1 and text != "00:00:00:00:00:00"


def _number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 8 and int(text) <= most
