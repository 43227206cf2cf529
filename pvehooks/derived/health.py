"""How a PCI device does after a VM had it, by what it was at the start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.values import NamedTuple, PciDevice, Unread

_DISPLAY, _AMD = 0x03, 0x1002
_ASLEEP = "it is in D3cold, without power, and the kernel cannot wake it"
_ERRORS = {"aer_dev_fatal": "fatal", "aer_dev_nonfatal": "non-fatal"}


class Ailment(NamedTuple):
    """What is wrong with a device. `words` go on from its name; `remedy` says what helps."""

    dead: bool
    words: str
    remedy: str


def ailments(address: str, ids: str, before: Mapping[str, str], device: PciDevice | None, now: Mapping[str, str]) -> Iterator[Ailment]:
    """What is wrong with the device: `ids` and `before` are of the start, `device` and `now` of this moment (facts.pci.devices.state).

    A lower speed of the link alone is no sign: drivers lower it when a device has nothing to do, and leave it so.
    """
    if device is None and before.get("physfn"):
        words = f"is not there any more: its physical function {before['physfn']} has lost its virtual functions, or some of them"
        yield Ailment(False, words, f"Make them again: pvehooks bind {before['physfn']} --vfs N --now (and --persist for each boot)")
        return
    if device is None:
        yield Ailment(True, "is not on the bus any more", _absent(address))
        return
    if f"{device.vendor:04x}:{device.device:04x}" != ids and not device.dead:
        return
    if device.dead:
        why = _ASLEEP if is_stuck_asleep(device) else "its configuration space reads ff in every byte (lspci: unknown header type 7f)"
        yield Ailment(True, f"does not answer any more: {why}", _dead(device))
        return
    lanes, fewer = _number(before, "current_link_width"), _number(now, "current_link_width")
    if 0 < fewer < lanes:
        slower = f", at {now['current_link_speed']} GT/s" if "current_link_speed" in now else ""
        words = f"has a link of {fewer} lane{'' if fewer == 1 else 's'}{slower}, and had {lanes} lanes at the start"
        yield Ailment(False, words, "Push the card into its slot, or check its cable. A restart of the node trains the link anew")
    for name, kind in _ERRORS.items():
        more = _number(now, name) - _number(before, name)
        if name in before and more > 0:
            words = f"had {more} {kind} PCIe error{'' if more == 1 else 's'} while the VM ran"
            yield Ailment(False, words, "Which: journalctl -k --grep AER. Often it is the slot, a riser or a cable")
    functions, left = _number(before, "sriov_numvfs"), _number(now, "sriov_numvfs")
    if left < functions:
        yield Ailment(
            False, f"has {left} virtual functions, and had {functions} at the start", f"pvehooks bind {address} --vfs {functions} --now"
        )


def is_stuck_asleep(device: PciDevice) -> bool:
    """Whether it does not answer since the kernel cannot wake it from D3cold. That is tried for each read of its config space."""
    return device.dead and device.power_state == "D3cold"


def silence(device: PciDevice) -> str:
    """Why a device that is dead counts as that; goes on from its name."""
    return f"does not answer: {_ASLEEP}" if is_stuck_asleep(device) else "does not answer (its config space reads all ones)"


def keeping_awake(device: PciDevice) -> str:
    """What keeps a device from D3cold while no VM has it, a command for the next boot; '' where that is not known."""
    if device.driver != "vfio-pci":
        return ""
    return "echo 'options vfio-pci disable_idle_d3=1' > /etc/modprobe.d/vfio-pci-awake.conf && update-initramfs -u -k all"


def _number(state: Mapping[str, str], name: str) -> int:
    text = state.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0


def _absent(address: str) -> str:
    return (
        "Look for it: echo 1 > /sys/bus/pci/rescan. If it does not come back, switch the node off and on; a restart may not be enough."
        f" Then see: pvehooks check {{vmid}} (it may have another address than {address})"
    )


def _dead(device: PciDevice) -> str:
    """What helps for this device: the resets that the kernel knows of it, and those that only power gives."""
    rescan = (
        f"Take it off the bus and look for it again: echo 1 > /sys/bus/pci/devices/{device.address}/remove; echo 1 > /sys/bus/pci/rescan."
        f" Before each start: [device {device.address}] before_start = rescan in /etc/pvehooks/pvehooks.conf"
    )
    found = [rescan]
    if device.class_code >> 16 == _DISPLAY and device.vendor == _AMD:
        found.append("For AMD's cards up to Navi 10 there is a module that resets them: vendor-reset (DKMS)")
    methods = device.reset_methods
    if not isinstance(methods, Unread) and methods[:1] == ("flr",) and len(methods) > 1:
        found.append(f"If it happens after each stop, have it reset in another way: [device {device.address}] reset = {methods[1]}")
    if is_stuck_asleep(device) and keeping_awake(device):
        found.append(f"From the next boot on, vfio-pci keeps it awake: {keeping_awake(device)}")
    found.append("If that does not help, switch the node off and on; a restart may not be enough")
    return ". ".join(found)
