"""What the node's boot does with devices that its VMs name."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.guest_devices import named_by_guests
from pvehooks.derived.kernel_args import remove
from pvehooks.derived.passthrough import pci_devices
from pvehooks.rules.engine import RuleSet
from pvehooks.values import Finding, Node, PciDevice, Severity, Unread

RULES = RuleSet(order=45)
_DISPLAY = 0x03
_REBUILD = "update-initramfs -u -k all && reboot"
# The modules that work the graphics cards of a vendor (pci.ids).
_GRAPHICS = {
    **dict.fromkeys(("nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nouveau"), 0x10DE),
    **dict.fromkeys(("amdgpu", "radeon"), 0x1002),
    **dict.fromkeys(("i915", "xe"), 0x8086),
}


@RULES.rule(
    "boot-module-unwanted",
    Severity.WARNING,
    "Remove the module from the file that loads it at boot",
    needs=("bound_ids", "guests", "modules", "pci"),
    line="modprobe",
)
def boot_module_unwanted(node: Node) -> Iterator[Finding]:
    """A module is loaded at boot that must not be: it is blacklisted as well, or it drives graphics cards that all are for VMs.

    systemd-modules-load skips a blacklisted module. The driver of a card that a VM gets takes the card first, and unbinding a graphics
    driver from a card can hang the start. nvidia also waits for the card when another driver has it, which delays the boot.
    `pvehooks host fix` turns the line into a comment.
    Source: modules-load.d(5); systemd's modules-load.c; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.modules, Unread):
        return
    denied = dict(node.modules.denied)
    for name, file in node.modules.listed:
        cards = _only_for_guests(_GRAPHICS.get(name, 0), node)
        if name in denied:
            message = f"{file} loads {name} at boot, and {denied[name]} blacklists it"
            message += f"; it is the driver of {_listed(cards)}, which VMs get" if cards else ""
        elif cards:
            message = f"{file} loads {name} at boot, the driver of {_listed(cards)}, which VMs get: it takes the card before vfio-pci does"
        else:
            continue
        yield Finding(f"{name} in {file}", message, f"Remove the line {name} from {file}, then: {_REBUILD}")


def _only_for_guests(vendor: int, node: Node) -> list[PciDevice]:
    """The graphics cards of a vendor, if guests get all of them."""
    cards = [
        device
        for device in pci_devices(node).values()
        if device.vendor == vendor and device.class_code >> 16 == _DISPLAY and not device.physfn
    ]
    wanted = named_by_guests(node)
    ids = {each for bound in (() if isinstance(node.bound_ids, Unread) else node.bound_ids) for each in bound.ids}
    given = [card for card in cards if card.address in wanted or card.vfio or (card.vendor, card.device) in ids]
    return cards if len(given) == len(cards) else []


def _listed(devices: list[PciDevice]) -> str:
    labels = [device.label for device in devices]
    return f"{', '.join(labels[:3])} and {len(labels) - 3} more" if len(labels) > 3 else " and ".join(labels)


@RULES.rule(
    "vf-driver-blacklisted",
    Severity.WARNING,
    "Remove the line, then: update-initramfs -u -k all",
    needs=("bound_ids", "guests", "loader", "modules", "pci"),
    line="modprobe",
)
def vf_driver_blacklisted(node: Node) -> Iterator[Finding]:
    """A VM gets a virtual function, and at the next boot the driver of its physical function is not loaded: there are no virtual functions.

    The driver of the physical function makes the virtual functions and serves them: it must stay on the host. Only the virtual
    functions go to vfio-pci. Intel's graphics have the same ids for both, so that `ids=` of vfio-pci takes the physical function as well.
    Source: the kernel's PCI/pci-iov-howto; modprobe.d(5).
    """
    if isinstance(node.modules, Unread):
        return
    places = dict(node.modules.denied)
    wanted = named_by_guests(node)
    for device in pci_devices(node).values():
        guests = [guest for address in device.virtfns for guest in wanted.get(address, ())]
        if not guests or not device.driver or device.vfio:
            continue
        module = node.modules.drivers.get(device.driver, device.driver).replace("-", "_")
        users = f"{guests[0].label} gets a virtual function of it"
        if module in places:
            message = f"{places[module]} blacklists {module}, the driver of {device.label}; {users}, and there is none without that driver"
            yield Finding(f"{module} {device.address}", message, _removed(module, places[module], node))
        for bound in () if isinstance(node.bound_ids, Unread) else node.bound_ids:
            if (device.vendor, device.device) in bound.ids:
                kind = f"{device.vendor:04x}:{device.device:04x}"
                message = f"{bound.place} has vfio-pci take {device.label} at the next boot; {users}, and there is none without the driver {module}"
                yield Finding(f"{kind} {device.address}", message, _removed(kind, bound.place, node))


def _removed(what: str, place: str, node: Node) -> str:
    return f"Remove {what} from {place}, then: {_REBUILD}" if place.startswith("/") else remove(what, node)
