"""USB devices of the node that VMs are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvehooks.derived import remedies
from pvehooks.derived.ostype import machine_version, named_version, windows_version
from pvehooks.derived.passthrough import devices_at, holder_phrase, pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.rules.guest.display import display, has_spice
from pvehooks.values import Finding, Guest, Node, PciDevice, Severity, Unread
from pvehooks.values.usb import UsbClaim, UsbDevice, UsbMapEntry, UsbMapping, UsbWant, wanted

# qemu-server, USB.pm: how many there were before the controller of newer machines, which came with 7.1.
_OLD_LIMIT, _NEW_CONTROLLER, _LAST_OLD_WINDOWS = 5, (7, 1), 7
_USB_CLASS = 0x0C03
_NAMES = tuple(f"usb{number}" for number in range(14))
_ANY = frozenset(_NAMES)


def usb_options(guest: Guest) -> list[str]:
    """Its usbN, by number."""
    options = guest.options
    return [name for name in _NAMES if name in options]


def _concerned(guest: Guest) -> bool:
    return not guest.template and not _ANY.isdisjoint(guest.options)


RULES = RuleSet(applies_to=_concerned, order=200, options=("usb",))


def _wants(guest: Guest, node: Node) -> Iterator[tuple[str, UsbWant]]:
    """The options that name a device of the node, with what they name; what PVE refuses is not among them."""
    for option in usb_options(guest):
        want = wanted(guest.properties(option), node.usb_mappings)
        if want:
            yield option, want


def _matching(want: UsbWant, node: Node) -> list[UsbDevice]:
    """The devices that are meant; QEMU never passes on hubs."""
    devices = {} if isinstance(node.usb, Unread) else node.usb
    there = (
        [devices[want.place]]
        if want.place in devices
        else [device for device in devices.values() if want.id and device.id.lower() == want.id]
    )
    return [device for device in there if not device.hub]


def _mapped(guest: Guest, node: Node) -> Iterator[tuple[str, str, UsbMapping | None]]:
    """The options with a mapping: option, the mapping's name, the mapping."""
    if isinstance(node.usb_mappings, Unread):
        return
    for option in usb_options(guest):
        properties = guest.properties(option)
        if "mapping" in properties and "host" not in properties:
            name = str(properties["mapping"])
            yield option, name, node.usb_mappings.get(name)


def _where(want: UsbWant) -> str:
    return f"nothing is plugged into USB port {want.place}" if want.place else f"no USB device {want.id} is plugged in"


# -- what PVE refuses -------------------------------------------------------------------------------------------------


@RULES.rule("usb-beyond-limit", Severity.BLOCK, "Move the device to a free one of usb0 to usb4")
def usb_beyond_limit(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has a usb5 or higher, which its machine version or its ostype does not allow: PVE refuses the start.

    From machine version 7.1 on, VMs with ostype l26, or Windows 8 and newer, may have 14; all others have usb0 to usb4. A
    Windows VM without a machine version is held to 5.1, unless it was made with QEMU 9.1 or newer.
    Source: qemu-server, USB.pm (get_usb_controllers), Machine.pm (get_vm_machine).
    """
    why, cure = _old(guest)
    free = [name for name in _NAMES[:_OLD_LIMIT] if name not in guest.options]
    for option in usb_options(guest) if why else ():
        if int(option[3:]) >= _OLD_LIMIT:
            message = f"{option} cannot be used: {why}, with which there are only usb0 to usb4"
            delete = f"qm set {guest.vmid} --delete {option}"
            moved = free and guest.properties(option)
            first = f"Move it: {delete} --{free.pop(0)} {guest.options[option]}" if moved else f"Take it from the VM: {delete}"
            yield Finding(option, message, f"{first}. Or {cure}")


def _old(guest: Guest) -> tuple[str, str]:
    """Why the guest does not get the newer controller, and what to type for one; '' where it gets it."""
    ostype = str(guest.options.get("ostype", ""))
    if ostype != "l26" and windows_version(guest) <= _LAST_OLD_WINDOWS:
        return f"its ostype is {ostype}" if ostype else "it has no ostype", f"if it runs Linux: qm set {guest.vmid} --ostype l26"
    version = machine_version(guest)
    if version is not None and version < _NEW_CONTROLLER:
        held = "its machine version is" if named_version(guest) else "PVE gives a Windows VM without a machine version the version"
        return f"{held} {version[0]}.{version[1]}", f"take a newer machine version: {remedies.machine_of_version(guest, _NEW_CONTROLLER)}"
    return "", ""


@RULES.rule("usb-names-no-device", Severity.BLOCK, "Name a port (host=PORT), a mapping (mapping=NAME), or spice: qm set {vmid} --usbN ...")
def usb_names_no_device(guest: Guest, node: Node) -> Iterator[Finding]:
    """A usbN names no device, or names one in two ways: PVE refuses the start.

    Either `host` or `mapping` must be there, not both. `spice` has to be written in lower case, although PVE takes other spellings
    when it is set.
    Source: qemu-server, USB.pm (parse_usb_device, get_usb_devices).
    """
    for option in usb_options(guest):
        properties = guest.properties(option)
        host = str(properties.get("host", ""))
        if not properties:
            continue
        if host and "mapping" in properties:
            why = f"it names a device ({host}) and a mapping ({properties['mapping']})"
            remedy = f"Keep the mapping: {remedies.without(guest, option, 'host', '')}"
        elif not host and "mapping" not in properties:
            why = "it names neither a device nor a mapping"
            remedy = f"Name a port: {remedies.replacing(guest, option, 'host', 'PORT', 'host')}. Or take it out: qm set {guest.vmid} --delete {option}"
        elif host.lower() == "spice" and host != "spice":
            why, remedy = f"'{host}' has to be written spice", f"Correct it: {remedies.replacing(guest, option, 'host', 'spice', 'host')}"
        else:
            continue
        yield Finding(option, f"{option} cannot be used: {why}", remedy)


@RULES.rule("usb-mapping-missing", Severity.BLOCK, "Map it: Datacenter, Resource Mappings", needs=("usb_mappings",))
def usb_mapping_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM names a USB mapping that is not there, or that has no entry for this node, or several: PVE refuses the start.

    Source: qemu-server, USB.pm (parse_usb_device); the administrator's manual, "Resource Mapping".
    """
    if isinstance(node.usb_mappings, Unread):
        if any("mapping" in guest.properties(option) for option in usb_options(guest)):
            yield not_examined("usb", f"which USB mappings there are is unknown: {node.usb_mappings.why}")
        return
    for option, name, mapping in _mapped(guest, node):
        if mapping is None:
            there = ", ".join(sorted(node.usb_mappings)) or "none"
            yield Finding(option, f"{option} names the USB mapping '{name}', which does not exist (existing mappings: {there})")
        elif not mapping.entries:
            nodes = ", ".join(sorted(mapping.nodes)) or "no node"
            yield Finding(option, f"{option}: the USB mapping '{name}' is for {nodes}, not for {node.name}")
        elif len(mapping.entries) > 1:
            remedy = f"Take all but one out: Datacenter, Resource Mappings, {name}, Edit"
            yield Finding(
                option, f"{option}: the USB mapping '{name}' has {len(mapping.entries)} entries for {node.name}, PVE takes one", remedy
            )


@RULES.rule(
    "usb-mapping-mismatch",
    Severity.BLOCK,
    "Plug the device in again, or map it anew: Datacenter, Resource Mappings, MAPPING, Edit",
    needs=("usb_mappings", "usb"),
)
def usb_mapping_mismatch(guest: Guest, node: Node) -> Iterator[Finding]:
    """What a USB mapping names is not plugged in, or is another device than the mapping says: PVE refuses the start.

    Without a mapping the VM would start, and get the device when it is plugged in. The id is compared letter by letter: sysfs has
    lower case, and an id with capitals never fits.
    Source: pve-guest-common, Mapping/USB.pm (assert_valid).
    """
    for option, name, mapping in _mapped(guest, node):
        if mapping is None or len(mapping.entries) != 1:
            continue
        if isinstance(node.usb, Unread):
            yield not_examined(option, f"whether the USB mapping '{name}' fits is unknown: {node.usb.why}")
            continue
        why, cure = _mismatch(mapping.entries[0], node.usb)
        if why:
            message = f"{option} cannot be used, the USB mapping '{name}' does not fit {node.name}: {why}"
            yield Finding(option, message, f"{cure}: Datacenter, Resource Mappings, {name}, Edit")


def _mismatch(entry: UsbMapEntry, devices: Mapping[str, UsbDevice]) -> tuple[str, str]:
    """What does not fit, and what to do; '' where all does."""
    fitting = [devices[entry.path]] if entry.path in devices else [] if entry.path else list(devices.values())
    if any(device.id == entry.id for device in fitting):
        return "", ""
    if any(device.id == entry.id.lower() for device in fitting):
        return f"its id {entry.id} has to be in lower case", "Write it so"
    plug = "Plug the device in again, or map it anew"
    if entry.path and fitting:
        return f"it expects {entry.id} at port {entry.path}, and there is {fitting[0].label}", plug
    return _where(UsbWant(entry.id, entry.path)), plug


# -- what is noticed after the start ---------------------------------------------------------------------------------------------


@RULES.rule("usb-device-absent", Severity.INFO, "Plug it in: the running VM gets it automatically", needs=("usb", "pci", "holders"))
def usb_device_absent(guest: Guest, node: Node) -> Iterator[Finding]:
    """Nothing is plugged in where the VM names a USB device or port: it starts without, and gets the device when it is plugged in.

    Devices on a USB controller that is passed through belong to the VM that has the controller, and the node does not see them.
    Source: the administrator's manual, "USB Passthrough".
    """
    named = [(option, want) for option in usb_options(guest) if (want := wanted(guest.properties(option), {}))]
    if not named:
        return
    if isinstance(node.usb, Unread):
        which = f"{named[0][1].name} is" if len(named) == 1 else f"{', '.join(want.name for _, want in named)} are"
        yield not_examined(named[0][0], f"whether {which} plugged in is unknown: {node.usb.why}")
        return
    for option, want in named:
        if want.place not in node.usb and not any(each.id.lower() == want.id for each in node.usb.values()):
            yield Finding(option, f"{option}: {_where(want)}; the VM starts without it, and gets it when it is plugged in{_hidden(node)}")


def _hidden(node: Node) -> str:
    """Where a device may be that the node does not see, as the end of a sentence."""
    hidden = [device for device in pci_devices(node).values() if device.class_code >> 8 == _USB_CLASS and device.vfio]
    if not hidden:
        return ""
    first = hidden[0]
    holders = () if isinstance(node.holders, Unread) else node.holders.get(first.address, ())
    whose = holder_phrase(holders[0]) if holders else "is bound to vfio-pci"
    return f" (it may be plugged into the USB controller {first.label}, which {whose})"


@RULES.rule("usb-hub", Severity.WARNING, "Name the device behind the hub. The ports: lsusb -t", needs=("usb", "usb_mappings"))
def usb_hub(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM is given a USB hub: QEMU never passes hubs on, and devices plugged into it stay with the node.

    Source: QEMU, hw/usb/host-libusb.c (usb_host_auto_check).
    """
    if isinstance(node.usb, Unread):
        return
    for option, want in _wants(guest, node):
        devices = [node.usb[want.place]] if want.place in node.usb else [each for each in node.usb.values() if each.id.lower() == want.id]
        if devices and all(device.hub for device in devices):
            yield Finding(option, f"{option} names a hub, {devices[0].label}: QEMU passes no hubs on, the VM gets nothing")


@RULES.rule("usb-id-ambiguous", Severity.WARNING, "Name the port: qm set {vmid} --usbN host=PORT", needs=("usb", "usb_mappings"))
def usb_id_ambiguous(guest: Guest, node: Node) -> Iterator[Finding]:
    """A USB id fits several devices of the node: which of them the VM gets is not determined.

    Two devices of one kind have the same id; only the port distinguishes them.
    Source: the administrator's manual, "USB Passthrough".
    """
    wants = list(_wants(guest, node))
    for option, want in wants:
        devices = [] if want.place else _matching(want, node)
        # A guest that names the id as often as there are devices gets them all.
        if len(devices) > 1 and sum(other == want for _, other in wants) != len(devices):
            ports = [device.place for device in devices]
            mapping = guest.properties(option).get("mapping")
            remedy = f"Name the port: {remedies.replacing(guest, option, 'host', ports[0], 'host')}"
            if mapping:
                remedy = f"Give the mapping a port: Datacenter, Resource Mappings, {mapping}, Edit"
            message = f"{option}: {len(devices)} devices have the id {want.id} ({devices[0].words}, ports {', '.join(ports)}), the VM gets one of them"
            yield Finding(option, message, remedy)


@RULES.rule(
    "usb-controller-passed-through",
    Severity.WARNING,
    "Plug the device into another controller, or take it from the VM: qm set {vmid} --delete usbN",
    needs=("usb", "usb_mappings", "pci", "onboot"),
)
def usb_controller_passed_through(guest: Guest, node: Node) -> Iterator[Finding]:
    """A USB device is on a controller that is itself passed through, to this VM or to one that starts at boot.

    The VM that gets the controller gets all that is plugged into it, and the node sees none of it any more.
    Source: the administrator's manual, "USB Passthrough", "PCI(e) Passthrough"; qemu-server, PCI.pm.
    """
    for option, want in _wants(guest, node):
        for controller, device in {device.controller: device for device in _matching(want, node)}.items():
            taker = _taker(controller, guest, node) if controller in pci_devices(node) else ""
            if taker:
                message = f"{option}: {device.label} is plugged into the USB controller {pci_devices(node)[controller].label}"
                remedy = f"Plug the device into another controller, or take it from the VM: qm set {guest.vmid} --delete {option}"
                yield Finding(option, f"{message}, {taker}", remedy)


def _taker(controller: str, guest: Guest, node: Node) -> str:
    """Which guest takes a controller, as the end of a sentence; '' for none."""
    for entry in guest.hostpci:
        if not isinstance(entry.addresses, Unread) and any(_is_at(controller, devices_at(each, node)) for each in entry.addresses):
            return f"which is {entry.option} of the same VM: the device goes with it, and {node.name} cannot pass it on"
    onboot = {} if isinstance(node.onboot, Unread) else node.onboot
    rivals = [holder for holder in onboot.get(controller, ()) if holder.vmid != guest.vmid]
    return f"which is {rivals[0].how} of {rivals[0].label}: once that starts at boot, the device is gone" if rivals else ""


def _is_at(address: str, devices: list[PciDevice]) -> bool:
    return any(device.address == address for device in devices)


@RULES.rule(
    "usb-claimed-twice",
    Severity.WARNING,
    "Give it to one of them: qm set {vmid} --delete usbN",
    needs=("usb", "usb_mappings", "usb_claims"),
)
def usb_claimed_twice(guest: Guest, node: Node) -> Iterator[Finding]:
    """Another VM has the USB device, or both are given it at boot: PVE does not check that, and one of them starts without it.

    The first one to start has it; the other one starts, and gets the device when the first one stops.
    Source: QEMU, hw/usb/host-libusb.c (usb_host_auto_check).
    """
    if isinstance(node.usb_claims, Unread):
        return
    seen: dict[str, str] = {}
    for option, want in _wants(guest, node):
        devices = _matching(want, node)
        if len(devices) != 1:
            continue
        device = devices[0]
        remedy = f"Give it to one of them: qm set {guest.vmid} --delete {option}"
        if device.place in seen:
            yield Finding(option, f"{option} names {device.label}, and so does {seen[device.place]}: the VM has it once", remedy)
        seen.setdefault(device.place, option)
        for rival in _rivals(device, guest, node.usb_claims.get(device.place, ()), _by_id(device, node)):
            if rival.running and not guest.running:
                message = f"{option} names {device.label}, which the running {rival.label} has ({rival.option}): the VM starts without it"
            else:
                message = f"{option} names {device.label}, which {rival.label} ({rival.option}) is given at boot, too: one of them starts without it"
            yield Finding(option, message, remedy)


def _by_id(device: UsbDevice, node: Node) -> tuple[UsbClaim, ...]:
    """The claims that name the device by its id, where it is the only one with that id."""
    claims = {} if isinstance(node.usb_claims, Unread) else node.usb_claims
    return claims.get(device.id.lower(), ()) if len(_matching(UsbWant(device.id.lower(), ""), node)) == 1 else ()


def _rivals(device: UsbDevice, guest: Guest, *claims: tuple[UsbClaim, ...]) -> list[UsbClaim]:
    """The other guests that have the device now, or are given it at boot, too."""
    others = [claim for each in claims for claim in each if claim.vmid != guest.vmid]
    at_boot = bool(guest.options.get("onboot"))
    return [claim for claim in others if (claim.running and not guest.running) or (claim.onboot and at_boot)]


@RULES.rule("usb-spice-without-display", Severity.WARNING, "Give it a SPICE display: qm set {vmid} --vga qxl", needs=("cpu_flags",))
def usb_spice_without_display(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has a USB port for SPICE clients, but no SPICE display: no client can connect, so the port is of no use.

    SPICE comes with the display types qxl and virtio.
    Source: the administrator's manual, "USB Passthrough"; qemu-server, config_to_command.
    """
    ports = [option for option in usb_options(guest) if guest.properties(option).get("host") == "spice"]
    if ports and not has_spice(guest, node):
        which = "a port" if len(ports) == 1 else "ports"
        message = f"{', '.join(ports)}: {which} for SPICE clients, and the display ({display(guest) or 'the default'}) has no SPICE: none can connect"
        yield Finding(ports[0], message, f"Give it a SPICE display: {remedies.replacing(guest, 'vga', 'type', 'qxl', 'type')}")
