"""Gives the virtual functions of a network card their MAC, VLAN and the like, by iproute2 (ip-link(8)), and reads them back."""

from __future__ import annotations

from pvehooks.errors import ActionFailed
from pvehooks.facts.pci import vflinks
from pvehooks.host import CommandTrouble
from pvehooks.values import Unread
from pvehooks.values.base import sha1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pvehooks.formats.vfsettings import VfSettings
    from pvehooks.host import Host
    from pvehooks.values import PciDevice

VFIO = "vfio-pci"
DIRECTORY = "/run/pvehooks/vfs"
_SECONDS = 10.0
# A driver may take what is set only a moment after its virtual functions are there.
_TRIES = 3
_PAUSE = 0.3
# Drivers that make no virtual functions while the interface is down (drivers/net/ethernet/broadcom/bnxt/bnxt_sriov.c).
UP_FIRST = ("bnxt_en",)


def with_macs(host: Host, pf: PciDevice, count: int, given: Mapping[int, VfSettings]) -> dict[int, VfSettings]:
    """The settings of all virtual functions, each with a MAC: one that is the same at every boot, where none is given.

    A driver makes up another MAC at each boot, by which a guest's network has another name and another lease each time.
    """
    from pvehooks.formats.vfsettings import VfSettings

    base = vflinks.attribute(host, pf.address, "address")
    if not base:
        return dict(given)
    found = {}
    for number in range(count):
        settings = given.get(number, VfSettings())
        found[number] = settings if settings.mac else settings._replace(mac=_derived(base, number))
    return found


def _derived(base: str, number: int) -> str:
    """A locally administered MAC of a card's own and a number."""
    return ":".join(("02", *(f"{byte:02x}" for byte in sha1(f"{base}/{number}".encode())[:5])))


def bring_up(host: Host, pf: PciDevice) -> None:
    """Sets the interface of a card up where its driver makes no virtual functions otherwise."""
    link = vflinks.handle(host, pf.address) if pf.driver in UP_FIRST else ""
    if link:
        try:
            host.spawn(["ip", "link", "set", "dev", link, "up"], _SECONDS)
        except CommandTrouble:
            return


def apply(host: Host, pf: PciDevice, settings: Mapping[int, VfSettings]) -> bool:
    """Makes the settings, as far as they are not; whether something was changed. Raises ActionFailed if one is not as it should be then.

    A virtual function that is as it should be is left alone: some drivers reset it also for the MAC that it has (i40e_ndo_set_vf_mac).
    """
    changed = False
    why = ""
    for _ in range(_TRIES):
        wrong = differences(host, pf, settings)
        if not wrong:
            return changed
        if changed:
            host.sleep(_PAUSE)
        why = _run(host, pf.address, {number: settings[number] for number in wrong})
        changed = True
    wrong = differences(host, pf, settings)
    if wrong:
        name = vflinks.interface(host, pf.address)
        words = [each for phrases in wrong.values() for each in phrases]
        raise ActionFailed(f"{'; '.join(words[:4])}{f' ({why})' if why else ''}", f"See: ip link show {name}")
    return changed


def concern_interface(settings: Mapping[int, VfSettings]) -> bool:
    """Whether one of them is made at the card's network interface."""
    return any(_shown_as(each) for each in settings.values())


def for_vfio(settings: Mapping[int, VfSettings]) -> list[int]:
    """The virtual functions that go to vfio-pci."""
    return [number for number, each in sorted(settings.items()) if each.driver == VFIO]


def bind_all(host: Host, node_name: str, pf: str, settings: Mapping[int, VfSettings]) -> bool:
    """Gives virtual functions to vfio-pci where the settings say so; whether one was bound. Raises ActionFailed."""
    from pvehooks.actions.pci import bind

    return sum(bind.looking_again(_bind_one, host, node_name, pf, number) for number in for_vfio(settings)) > 0


def _bind_one(host: Host, node_name: str, pf: str, number: int) -> bool:
    """Gives a virtual function to vfio-pci; False if it is there already. Raises ActionFailed.

    Those of which some are for the node's drivers get them all while they come into being.
    """
    from pvehooks.actions.pci import bind
    from pvehooks.derived import bindability
    from pvehooks.derived.passthrough import pci_devices
    from pvehooks.facts import hardware

    node = hardware.gather(host, node_name)
    devices = pci_devices(node)
    virtfns = devices[pf].virtfns if pf in devices else ()
    device = devices.get(virtfns[number]) if number < len(virtfns) else None
    if device is None:
        raise ActionFailed(f"virtual function {number} is not there")
    if device.vfio:
        return False
    objection = bindability.to_binding(device, node) or bindability.to_binding_now(device, node)
    if objection:
        raise ActionFailed(f"virtual function {number}, {device.address}, {objection.why}", objection.remedy)
    bind.take(host, device)
    return True


def apply_all(host: Host, node_name: str, pf: PciDevice, settings: Mapping[int, VfSettings]) -> bool:
    """Makes the settings, and binds what is to be bound also where one of them fails; whether something was changed. Raises ActionFailed."""
    try:
        changed = apply(host, pf, settings)
    except ActionFailed:
        bind_all(host, node_name, pf.address, settings)
        raise
    return bind_all(host, node_name, pf.address, settings) or changed


def apply_unread(host: Host, pf: str, settings: Mapping[int, VfSettings]) -> None:
    """Makes the settings without reading them back, before a start: without a word where that fails."""
    if vflinks.interface(host, pf) and any(_commands("", settings)):
        try:
            host.spawn(["ip", "-force", "-batch", _batch(host, pf, settings)], _SECONDS)
        except (CommandTrouble, OSError):
            return


def _run(host: Host, pf: str, settings: Mapping[int, VfSettings]) -> str:
    """Has ip make them all, also where one fails; returns the first of its complaints."""
    try:
        ended = host.run(["ip", "-force", "-batch", _batch(host, pf, settings)], _SECONDS)
    except (CommandTrouble, OSError) as error:
        raise ActionFailed(f"the settings of its virtual functions are not made: {error}") from error
    lines = [line for line in ended.stderr.split("\n") if line and not line.startswith("Command failed")]
    return lines[0] if lines else ""


def _batch(host: Host, pf: str, settings: Mapping[int, VfSettings]) -> str:
    path = f"{DIRECTORY}/{pf}.batch"
    host.make_dir(DIRECTORY, mode=0o700)
    lines = _commands(vflinks.handle(host, pf), settings)
    host.replace(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)
    return path


def _commands(link: str, settings: Mapping[int, VfSettings]) -> Iterator[str]:
    """A line for each attribute: of several in one, the kernel leaves out those behind one that fails."""
    for number, each in sorted(settings.items()):
        words = {"mac": each.mac, "trust": each.trust, "spoofchk": each.spoofchk, "state": each.state}
        words["vlan"] = "" if each.vlan is None else f"{each.vlan} qos {each.qos}"
        words["max_tx_rate"] = "" if each.rate is None else str(each.rate)
        yield from (f"link set dev {link} vf {number} {key} {value}" for key, value in words.items() if value)


# -- reading back ---------------------------------------------------------------------------------------------------------


def differences(host: Host, pf: PciDevice, settings: Mapping[int, VfSettings]) -> dict[int, list[str]]:
    """What the card shows otherwise, as phrases by the function's number; raises ActionFailed where it shows nothing."""
    if not concern_interface(settings):
        return {}
    if not vflinks.interface(host, pf.address):
        raise ActionFailed("its virtual functions cannot be given a MAC or a VLAN: it has no network interface")
    now = vflinks.read(host, pf.address)
    if isinstance(now, Unread):
        raise ActionFailed(now.why)
    # A rate is a part of the link's speed: without a link it is refused (igb), and made before the next start.
    left_out = "" if vflinks.attribute(host, pf.address, "operstate") == "up" else "rate"
    found: dict[int, list[str]] = {}
    for number, values in sorted((number, _shown_as(each)) for number, each in settings.items()):
        shown = now.get(number)
        if shown is None:
            found[number] = [f"virtual function {number} is not there"]
            continue
        found[number] = [
            f"virtual function {number} has {key} {shown[key]}, and not {value}"
            for key, value in values.items()
            if shown.get(key, value) != value and key != left_out
        ]
    return {number: phrases for number, phrases in found.items() if phrases}


def _shown_as(settings: VfSettings) -> dict[str, str]:
    """What is set, as vflinks.read() has it."""
    values = {"MAC": settings.mac, "trust": settings.trust, "spoofchk": settings.spoofchk, "link-state": settings.state}
    if settings.vlan is not None:
        values["VLAN"] = f"{settings.vlan}:{settings.qos}"
    if settings.rate is not None:
        values["rate"] = str(settings.rate)
    return {key: value for key, value in values.items() if value}
