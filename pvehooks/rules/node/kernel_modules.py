"""The node's kernel modules, and the settings of modprobe for them."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.candidates import host_uses, needed_to_boot, working
from pvehooks.derived.guest_devices import named_by_guests
from pvehooks.derived.kernel_args import remove
from pvehooks.derived.passthrough import pci_devices
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Node, PciDevice, Severity, Unread, Use

RULES = RuleSet(order=40)
_REBUILD = "update-initramfs -u -k all && reboot"


@RULES.rule(
    "vfio-modules-missing",
    Severity.WARNING,
    "Restart the node, or install the running kernel again",
    needs=("modules",),
    line="vfio modules",
)
def vfio_modules_missing(node: Node) -> Iterator[Finding]:
    """The running kernel has no vfio modules on disk: no VM with a passed-through device starts.

    Usually the package of the running kernel was removed or replaced since the last restart.
    Source: pve-common, SysFSTools.pm (modprobe vfio-pci).
    """
    if isinstance(node.modules, Unread):
        yield not_examined("modules", f"the kernel modules are unknown: {node.modules.why}")
        return
    missing = [name for name, state in node.modules.vfio.items() if state == "missing"]
    if missing:
        release = node.modules.release
        message = f"/lib/modules/{release} has no {', '.join(missing)}: devices cannot be passed through until the node is restarted"
        yield Finding(
            "vfio", message, f"Restart the node; if they are still missing: apt install --reinstall proxmox-kernel-{release}-signed"
        )


@RULES.rule(
    "vfio-not-loaded-at-boot",
    Severity.INFO,
    "To bind ids at boot, add vfio_pci to /etc/modules",
    needs=("bound_ids", "modules", "pci", "uses"),
    line="vfio modules",
)
def vfio_not_loaded_at_boot(node: Node) -> Iterator[Finding]:
    """vfio-pci has ids to bind at boot, but nothing loads it then: the host's drivers take the devices first.

    Without such ids it needs not be loaded at boot: Proxmox VE loads vfio-pci when a VM starts.
    Source: pve-common, SysFSTools.pm; modules-load.d(5); the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.modules, Unread) or isinstance(node.bound_ids, Unread) or not node.bound_ids:
        return
    if node.modules.vfio.get("vfio_pci") != "there" or any(name == "vfio_pci" for name, _ in node.modules.listed):
        return
    if any(True for _ in _taken(node)):
        # No remedy may activate ids that take a device from the host.
        return
    place = node.bound_ids[0].place
    remedy = f"echo vfio_pci >> /etc/modules && {_REBUILD}"
    yield Finding(
        "vfio_pci", f"{place} has ids for vfio-pci, which is not loaded at boot: other drivers take the devices first", f"Type: {remedy}"
    )


@RULES.all_well("vfio modules")
def _vfio(node: Node) -> str:
    if isinstance(node.modules, Unread) or "unknown" in node.modules.vfio.values():
        return ""
    states = dict.fromkeys(node.modules.vfio.values())
    return f"the vfio modules of {node.modules.release} are {', '.join(states)}"


@RULES.rule(
    "initramfs-outdated",
    Severity.WARNING,
    "Update it: update-initramfs -u -k all, and restart",
    needs=("bound_ids", "modules", "pci", "uses"),
    line="modprobe",
)
def initramfs_outdated(node: Node) -> Iterator[Finding]:
    """A file in /etc/modprobe.d that decides which driver gets a device is newer than the initramfs, which loads drivers first.

    Blacklists, softdeps and the ids of vfio-pci take effect only once update-initramfs has copied the file.
    Source: initramfs-tools(7); the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.modules, Unread) or not node.modules.edited:
        return
    harmful = {place for place, _, _ in (*_taken(node), *_kept_out(node))}
    for path in node.modules.edited:
        message = f"{path} was changed after {node.modules.initramfs} was written, which has no copy of the change"
        remedy = f"Correct {path} first: it takes a device from the host" if path in harmful else f"Type: {_REBUILD}"
        yield Finding(path, message, remedy)


@RULES.rule(
    "vfio-ids-take-host-device",
    Severity.WARNING,
    "Remove the id, and bind by address: pvehooks bind ADDRESS --persist",
    needs=("bound_ids", "command_lines", "loader", "pci", "uses"),
    line="modprobe",
    at_boot=True,
)
def vfio_ids_take_host_device(node: Node) -> Iterator[Finding]:
    """vfio-pci binds all devices with an id at boot, and the host uses one of them.

    `vfio-pci.ids=` and `options vfio-pci ids=` do not distinguish two devices with the same id. Where the node boots from the device,
    the next boot ends in the initramfs.
    Source: the kernel's Documentation/driver-api/vfio.rst; the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.bound_ids, Unread):
        yield not_examined("vfio-pci", f"which ids vfio-pci takes at boot is unknown: {node.bound_ids.why}")
        return
    for place, device, held in _taken(node):
        boots = any(needed_to_boot(use, node) for use in held)
        message = f"{place} has vfio-pci take {device.label} at the next boot, which {held[0].sentence}"
        remedy = _take_out(f"{device.vendor:04x}:{device.device:04x}", place, node)
        yield Finding(device.address, message, remedy, severity=Severity.BLOCK if boots else Severity.WARNING)


def _taken(node: Node) -> Iterator[tuple[str, PciDevice, tuple[Use, ...]]]:
    """The devices that the host uses and ids take from it: the place of the ids, the device, its uses."""
    for bound in () if isinstance(node.bound_ids, Unread) else node.bound_ids:
        for device in pci_devices(node).values():
            if (device.vendor, device.device) in bound.ids and not device.bridge:
                held = host_uses(device, node)
                if held:
                    yield bound.place, device, held


@RULES.rule(
    "vfio-ids-take-twin",
    Severity.INFO,
    "Bind by address instead: pvehooks bind ADDRESS --persist",
    needs=("bound_ids", "guests", "loader", "pci", "uses"),
    line="modprobe",
)
def vfio_ids_take_twin(node: Node) -> Iterator[Finding]:
    """Several devices have an id that vfio-pci binds at boot: the host can use none of them.

    Devices that VMs name are left out. `pvehooks host fix` does not change this: only you know which device the host needs.
    Source: the kernel's Documentation/driver-api/vfio.rst.
    """
    if isinstance(node.bound_ids, Unread):
        return
    for bound in node.bound_ids:
        for vendor, product in dict.fromkeys(bound.ids):
            twins = [
                device for device in pci_devices(node).values() if (device.vendor, device.device) == (vendor, product) and not device.physfn
            ]
            wanted = named_by_guests(node)
            if all(device.address in wanted for device in twins):
                continue
            if len({device.slot for device in twins}) > 1 and not any(host_uses(device, node) for device in twins):
                names = ", ".join(device.address for device in twins[:4])
                message = (
                    f"{vendor:04x}:{product:04x} in {bound.place} is the id of {len(twins)} devices, and vfio-pci binds them all: {names}"
                )
                kind = f"{vendor:04x}:{product:04x}"
                own = f"Bind only the device that a VM gets: pvehooks bind {twins[0].address} --persist"
                yield Finding(kind, message, f"{own}. {_take_out(kind, bound.place, node)}")


@RULES.rule(
    "host-driver-blacklisted",
    Severity.WARNING,
    "Remove the line, then: update-initramfs -u -k all",
    needs=("command_lines", "loader", "modules", "pci", "uses"),
    line="modprobe",
    at_boot=True,
)
def host_driver_blacklisted(node: Node) -> Iterator[Finding]:
    """The driver of a device that the host uses is blacklisted: after the next boot the host does not have the device.

    Where the node boots from the device, the next boot ends in the initramfs; without its network card the node is off the network. To keep
    a driver from one of several cards, bind that card by address.
    Source: modprobe.d(5); the kernel's admin-guide/kernel-parameters (module_blacklist).
    """
    for place, device, held in _kept_out(node):
        boots = any(needed_to_boot(use, node) for use in held)
        module = _module(device, node)
        message = f"{device.label} {held[0].sentence}, and {place} blacklists its driver {module}"
        yield Finding(
            f"{module} {device.address}", message, _take_out(module, place, node), severity=Severity.BLOCK if boots else Severity.WARNING
        )


def _kept_out(node: Node) -> Iterator[tuple[str, PciDevice, tuple[Use, ...]]]:
    """The devices that the host uses and whose drivers are blacklisted: the place of the blacklist, the device, its uses."""
    if isinstance(node.modules, Unread) or not node.modules.denied:
        return
    places = dict(node.modules.denied)
    for device in pci_devices(node).values():
        module = _module(device, node)
        held = host_uses(device, node) if module in places and working(device) else ()
        if held:
            yield places[module], device, held


def _take_out(what: str, place: str, node: Node) -> str:
    """How to remove an id or a module from the place where it is written."""
    return f"Remove {what} from {place}, then: update-initramfs -u -k all" if place.startswith("/") else remove(what, node)


def _module(device: PciDevice, node: Node) -> str:
    """The module of the device's driver, '' where it has none or vfio has it."""
    if not device.driver or device.vfio or isinstance(node.modules, Unread):
        return ""
    return node.modules.drivers.get(device.driver, device.driver).replace("-", "_")


@RULES.all_well("modprobe")
def _modprobe(node: Node) -> str:
    if isinstance(node.modules, Unread):
        return ""
    return "the initramfs has the settings of /etc/modprobe.d, and no driver that the host needs is blacklisted"


@RULES.rule(
    "dkms-key-untrusted",
    Severity.WARNING,
    "Enroll DKMS's key: mokutil --import /var/lib/dkms/mok.pub, and restart",
    needs=("dkms", "firmware"),
    line="DKMS",
    at_boot=True,
)
def dkms_key_untrusted(node: Node) -> Iterator[Finding]:
    """Secure Boot is on, and modules that DKMS built are signed with a key that the firmware does not trust: the kernel refuses them.

    Source: the administrator's manual, "Using DKMS/Third Party Modules With Secure Boot".
    """
    if isinstance(node.dkms, Unread) or isinstance(node.firmware, Unread) or not node.dkms.modules or not node.firmware.secure_boot:
        return
    names = ", ".join(node.dkms.modules)
    if node.dkms.trusted is None:
        yield not_examined(
            "DKMS", f"whether the kernel may load {names} under Secure Boot is unknown: the firmware's list of keys cannot be read"
        )
    elif not node.dkms.trusted:
        message = f"Secure Boot is on, and the kernel refuses {names}: the signing key of DKMS is not enrolled"
        yield Finding(
            "DKMS", message, "Type: mokutil --import /var/lib/dkms/mok.pub && reboot, and confirm it in the firmware's MOK manager"
        )


@RULES.all_well("DKMS")
def _dkms(node: Node) -> str:
    return (
        f"the firmware trusts the key that signed {', '.join(node.dkms.modules)}"
        if not isinstance(node.dkms, Unread) and node.dkms.trusted
        else ""
    )
