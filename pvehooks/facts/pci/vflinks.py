"""What a network card has for its virtual functions, as iproute2 shows it (ip-link(8))."""

from __future__ import annotations

from pvehooks.host import CommandTrouble, Host
from pvehooks.values import Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NO_MAC = "00:00:00:00:00:00"
_SECONDS = 10.0


def read(host: Host, interface: str) -> Mapping[int, Mapping[str, str]] | Unread:
    """What each virtual function has, by its number; what a driver does not show is left out."""
    import json

    try:
        ended = host.run(["ip", "-json", "link", "show", "dev", interface], _SECONDS)
        (link,) = json.loads(ended.stdout)
        return {int(each["vf"]): _values(each) for each in link.get("vfinfo_list", ())}
    except (CommandTrouble, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Unread(f"what its virtual functions have cannot be read: ip link show {interface}: {error}")


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
