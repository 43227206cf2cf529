"""Gives the devices that a guest had back to the drivers of the node, once the guest has ended.

Each step can be repeated: what was killed half way is finished by the next call, since the note of the start stays until then.
"""

from __future__ import annotations

from pvehooks.actions.pci import bind, release, started, states
from pvehooks.actions.pci.bind import Unbound
from pvehooks.derived import bindability
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.values import NamedTuple, Unread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvehooks.actions.pci.started import GuestStart, StartedDevice
    from pvehooks.host import Host
    from pvehooks.values import Node, PciDevice

# What became of a device: it has its driver again; it stays where it is, for a reason; the driver did not take it; it is tried again later.
RETURNED, STAYS, FAILED, LATER = "returned", "stays", "failed", "later"


class GivenBack(NamedTuple):
    """What became of a device. `words` go on from the device's name."""

    address: str
    label: str
    outcome: str
    words: str


def give_back(host: Host, node: str, start: GuestStart) -> Iterator[GivenBack]:
    """Gives the devices of an ended start back, one after the other; what is done with is not in the note any more. Raises OSError.

    A device that is not to be given back, or is with its driver already, gets no result.
    """
    bind.finish_begun(host)
    left = dict.fromkeys(start.devices)
    for device in start.devices.values():
        done = bind.looking_again(_give_back_one, host, node, start.vmid, device) if device.back_to or device.stays else None
        states.end(host, device.address, device.undo, bind.driver(host, device.address) == bind.VFIO)
        if done is None or done.outcome != LATER:
            del left[device.address]
            started.keep(host, start, left)
        if done is not None:
            yield done


def _give_back_one(host: Host, node_name: str, vmid: int, noted: StartedDevice) -> GivenBack | None:
    # A new Node each time: it reads each fact only once.
    node = hardware.gather(host, node_name)
    device = pci_devices(node).get(noted.address)
    # That it is gone was reported already, by the look at its health.
    if device is None or device.driver == noted.back_to:
        return None
    stays = noted.stays or _reason_to_stay(host, device, noted, node)
    if stays:
        where = f"stays on {device.driver}" if device.driver else "stays without a driver"
        return GivenBack(noted.address, device.label, STAYS, f"{where}: {stays}")
    held = _held(host, device, vmid, node)
    if held is not None:
        return held
    try:
        now = release.release(host, device, noted.back_to)
    except release.Busy:
        return GivenBack(noted.address, device.label, LATER, "is being bound by another process; it is given back after that")
    except bind.Overtaken:
        raise
    except Unbound as failed:
        return GivenBack(
            noted.address, device.label, FAILED, f"is not given back to {noted.back_to}: {failed.message}. {failed.hint}".strip()
        )
    if now == noted.back_to:
        return GivenBack(noted.address, device.label, RETURNED, f"is on {now} again")
    where = f"it is on {now} now" if now else "it has no driver now"
    return GivenBack(
        noted.address, device.label, FAILED, f"was not taken by {noted.back_to}, {where}. See why: journalctl -k --since -1min"
    )


def _reason_to_stay(host: Host, device: PciDevice, noted: StartedDevice, node: Node) -> str:
    """Why the device is not given back at all, as the end of a sentence; '' where it is."""
    if f"{device.vendor:04x}:{device.device:04x}" != noted.ids:
        return f"another device is at its address now, and {noted.ids} was there at the start"
    if device.driver and not device.vfio:
        return f"it was given to that driver meanwhile, and not to {noted.back_to}"
    if device.override == bind.VFIO:
        return "its driver_override, which an administrator or driverctl set, names vfio-pci"
    if device.dead:
        return "it does not answer, and a driver could hang with it"
    parent = pci_devices(node).get(device.physfn) if device.physfn else None
    if parent is not None and parent.vfio:
        return f"its physical function {parent.address} is on {parent.driver}: its functions belong to who has that"
    if not host.is_dir(f"/sys/bus/pci/drivers/{noted.back_to}"):
        return f"the driver {noted.back_to} is not loaded any more"
    return ""


def _held(host: Host, device: PciDevice, vmid: int, node: Node) -> GivenBack | None:
    """That another guest, or a program, has the device or one of its group: to take it would hang until that ends."""
    objection = bindability.to_release(device, node)
    if objection:
        holders = {} if isinstance(node.holders, Unread) else node.holders
        is_own = any(holder.vmid == vmid for address in device.members for holder in holders.get(address, ()))
        unknown = is_own or isinstance(node.holders, Unread)
        return GivenBack(device.address, device.label, LATER if unknown else STAYS, f"stays on {device.driver}: it {objection.why}")
    if device.vfio and host.read_text(f"/sys/bus/pci/devices/{device.address}/enable") not in ("", "0"):
        # vfio-pci enables a device when it is opened.
        return GivenBack(device.address, device.label, LATER, f"stays on {device.driver} while a program has it open")
    return None
