"""What a network card has for its virtual functions, as iproute2 shows it (ip-link(8))."""

from __future__ import annotations

from pvehooks.facts.reading import names_in, text_of
from pvehooks.host import CommandTrouble, Host
from pvehooks.values import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_MAC = "00:00:00:00:00:00"
_DEVICES = "/sys/bus/pci/devices"
_SECONDS = 10.0
_END = "\n"
# How often udev may rename an interface while it is looked at.
_TRIES = 3


def interface(host: Host, address: str) -> str:
    """The name of a device's network interface, '' without one."""
    return next(iter(names_in(host, f"{_DEVICES}/{address}/net")), "")


def attribute(host: Host, address: str, name: str) -> str:
    """An attribute of the device's interface (ABI/testing/sysfs-class-net), '' without one."""
    return _with_name(host, address, name)[1]


def handle(host: Host, address: str) -> str:
    """The interface for ip: `if5`, that of index 5 (iproute2's lib/ll_map.c), whatever udev renames it to meanwhile; '' without one.

    A name that it had a moment ago may be another card's by then. Only `ip link show` wants a name.
    """
    name, index = _with_name(host, address, "ifindex")
    return f"if{index}" if index else name


def read(host: Host, address: str) -> Mapping[int, Mapping[str, str]] | Unread:
    """What each virtual function of the device has, by its number; what a driver does not show is left out."""
    for _ in range(_TRIES):
        name, index = _with_name(host, address, "ifindex")
        found = _read(host, name, index)
        if not isinstance(found, Unread) or interface(host, address) == name:
            break
    return found


def _with_name(host: Host, address: str, attribute: str) -> tuple[str, str]:
    """The interface's name, and an attribute of it; ('', '') without one."""
    for _ in range(_TRIES):
        name = interface(host, address)
        text = text_of(host, f"{_DEVICES}/{address}/net/{name}/{attribute}") if name else ""
        if text or not name:
            break
    return name, text


def _read(host: Host, name: str, index: str) -> Mapping[int, Mapping[str, str]] | Unread:
    import json

    cannot = f"what its virtual functions have cannot be read: ip link show {name}"
    try:
        ended = host.run(["ip", "-json", "link", "show", "dev", name], _SECONDS)
        if ended.status:
            return Unread(f"{cannot}: {ended.stderr.partition(_END)[0].rstrip('.')}")
        (link,) = json.loads(ended.stdout)
        if index not in ("", str(link["ifindex"])):
            return Unread(f"{cannot}: shows another card")
        return {int(each["vf"]): _values(each) for each in link.get("vfinfo_list", ())}
    except (CommandTrouble, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Unread(f"{cannot}: {error}")


def _values(shown: Mapping[str, object]) -> dict[str, str]:
    vlans = shown.get("vlan_list")
    vlan = vlans[0] if isinstance(vlans, list) and vlans and isinstance(vlans[0], dict) else shown
    values = {"VLAN": f"{vlan.get('vlan', 0)}:{vlan.get('qos', 0)}"}
    if "address" in shown:
        values["MAC"] = str(shown["address"]).lower()
    for key in ("trust", "spoofchk"):
        if key in shown:
            values[key] = "on" if shown[key] else "off"
    # The latter of iproute2 6.15.
    for key in ("link-state", "link_state"):
        if key in shown:
            values["link-state"] = str(shown[key])
    rate = shown.get("rate")
    if isinstance(rate, dict):
        values["rate"] = str(rate.get("max_tx", 0))
    return values
