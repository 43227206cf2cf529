"""Virtual functions (VFs) that a config names and that are not on the bus: of which physical function (PF), why, and what makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pvehooks.derived.passthrough import holder_phrase, pci_devices
from pvehooks.values import Guest, NamedTuple, Node, PciDevice, Unread
from pvehooks.values.pci import VfSource
from pvehooks.values.stubs import former_of, is_stub

_DISPLAY = 0x03
# Base classes of devices that have VFs (pci.ids): storage, network, display, processors and accelerators.
_WITH_VFS = frozenset({0x01, 0x02, _DISPLAY, 0x0B, 0x12})
_INTEL, _INTEL_GRAPHICS = 0x8086, "0000:00:02.0"
# Drivers that make no VFs as things are, and why (drivers/net/ethernet/broadcom/bnxt/bnxt_sriov.c; mellanox/mlx4/main.c).
_UP_FIRST = "bnxt_en"
_BY_OPTION = {"mlx4_core": "options mlx4_core num_vfs={count}"}
_BUILD = "Build it: apt install proxmox-default-headers && dkms autoinstall"
# Drivers of Debian's and Proxmox VE's kernels that make no VFs, and the DKMS module that does in their place.
_WITHOUT_VFS = {"i915": "i915-sriov-dkms"}
# Drivers that allow as many as an option says, none at first (drivers/gpu/drm/xe/xe_module.c; i915-sriov-dkms).
_ALLOWED_BY_OPTION = {"xe": "max_vfs=7", "i915": "enable_guc=3 max_vfs=7"}
NVIDIA = 0x10DE
# NVIDIA wants no other way than its sriov-manage (vGPU User Guide), which this unit of Proxmox VE's pve-nvidia-vgpu-helper calls before the VMs start.
NVIDIA_VFS = "apt install pve-nvidia-vgpu-helper && systemctl enable --now pve-nvidia-sriov@{address}.service"


class AbsentVf(NamedTuple):
    """A VF that a guest names and that is not there."""

    address: str
    pf: PciDevice
    # A sentence without its end.
    why: str
    # What to do; where the PF has no SR-IOV, it ends with giving the guest the PF.
    remedy: str


def absent_vf(address: str, guest: Guest, node: Node) -> AbsentVf | None:
    """The PF of a VF that is not there, and why it has none; None for an address that is no VF's, as far as known."""
    # Of another node it is not known which devices have SR-IOV.
    if "." not in address or address in pci_devices(node) or isinstance(node.vf_support, Unread):
        return None
    able = _able(address, node)
    if able is not None:
        return _of(able, address, guest, node)
    unable = _unable(address, node)
    if unable is None:
        return None
    if unable.total_vfs == 0 and unable.driver in _ALLOWED_BY_OPTION:
        words = _ALLOWED_BY_OPTION[unable.driver]
        why = f"{unable.label} has no virtual functions: its driver {unable.driver} allows none until its module option max_vfs does"
        option = (
            f"echo 'options {unable.driver} {words}' > /etc/modprobe.d/{unable.driver}-vfs.conf && update-initramfs -u -k all && reboot"
        )
        remedy = f"Set it: {option}; then: pvehooks bind {unable.address} --vfs 7 --now --persist; without them give the VM {unable.address} itself"
        return AbsentVf(address, unable, why, remedy)
    why = f"{unable.label} cannot have virtual functions: it shows no SR-IOV, which this chip lacks or the firmware setup hides"
    remedy = f"Look for SR-IOV (and ARI, Above 4G Decoding) in the firmware setup; without it give the VM {unable.address} itself, which only one can have"
    return AbsentVf(address, unable, why, remedy)


# -- the PF ---------------------------------------------------------------------------------------------------------------


def _routing_id(address: str) -> int:
    """Bus, device and function as one number (PCIe Base Specification, 2.2.6.2)."""
    _, number, rest = address.rsplit(":", 2)
    slot, _, function = rest.partition(".")
    return int(number, 16) << 8 | int(slot, 16) << 3 | int(function, 16)


def _domain(address: str) -> str:
    return address.partition(":")[0]


def _able(address: str, node: Node) -> PciDevice | None:
    """The device with SR-IOV whose VF it would be: by the routing ids, else one of its bus, of its slot if there is one."""
    known = [device for device in pci_devices(node).values() if device.total_vfs and _domain(device.address) == _domain(address)]
    exact = [device for device in known if device.vf_routing and _number(address, device)]
    if exact:
        return exact[0]
    here = address.rpartition(":")[0]
    slot = address.rpartition(".")[0]
    near = [device for device in known if not device.vf_routing and device.slot.rpartition(":")[0] == here and device.address < address]
    # On a root bus any other slot can be an ordinary device's.
    near = [device for device in near if device.slot == slot or not device.on_root_bus]
    near.sort(key=lambda device: (device.slot != slot, len(device.virtfns) >= (device.total_vfs or 0), device.address))
    return near[0] if near else None


def _number(address: str, pf: PciDevice) -> int:
    """Which VF of the PF has the address, from 1 on; 0 for none, or where the PF does not show how it numbers them."""
    if not pf.vf_routing:
        return 0
    offset, stride = pf.vf_routing
    behind = _routing_id(address) - _routing_id(pf.address) - offset
    number, rest = divmod(behind, stride) if stride else (behind, 0)
    return number + 1 if rest == 0 and 0 <= number < (pf.total_vfs or 0) else 0


def _unable(address: str, node: Node) -> PciDevice | None:
    """A device without SR-IOV of which people take the address for a VF: Intel's graphics, or a card whose bus has no other slot.

    None where a device there has SR-IOV: the address is none of its VFs'.
    """
    first = pci_devices(node).get(f"{address.rpartition('.')[0]}.0")
    if first is not None and first.address == _INTEL_GRAPHICS and first.vendor == _INTEL and first.class_code >> 16 == _DISPLAY:
        return None if first.total_vfs else first
    here, _, slot = address.rpartition(":")
    beside = [device for name, device in pci_devices(node).items() if name.startswith(f"{here}:") and not device.physfn]
    # A PCIe link has one device, in slot 0; on a root bus any slot can be an ordinary device's.
    if (
        slot[:2] == "00"
        or not beside
        or any(device.bridge or device.on_root_bus or device.total_vfs or not device.address.startswith(f"{here}:00.") for device in beside)
    ):
        return None
    return next((device for device in beside if device.class_code >> 16 in _WITH_VFS), None)


# -- why it has none --------------------------------------------------------------------------------------------------------


def _of(pf: PciDevice, address: str, guest: Guest, node: Node) -> AbsentVf:
    support = None if isinstance(node.vf_support, Unread) else node.vf_support
    sources = [source for source in support.sources if source.address == pf.address] if support else []
    count = _count(pf, address, guest, node, sources)
    make = f"pvehooks bind {pf.address} --vfs {count} --now --persist"
    if pf.vendor == NVIDIA and pf.class_code >> 16 == _DISPLAY:
        unit = next((source.place for source in sources if source.place.startswith("pve-nvidia-sriov@")), "")
        make = f"systemctl restart {unit}" if unit else NVIDIA_VFS.format(address=pf.address)
    there = len(pf.virtfns)
    state = f"its physical function {pf.label} has {there} of {pf.total_vfs} virtual functions"
    unbuilt = support.unbuilt if support else ()
    release = support.release if support else ""
    own = next((name for name in unbuilt if pf.driver and name.startswith(pf.driver)), "")
    if pf.vfio:
        words, back = on_vfio(pf, guest, node)
        why, remedy = f"{state}, because {words}", f"{back}; then: {make}"
    elif not pf.driver:
        words, load = without_driver(pf, support.module(pf.address) if support else "", unbuilt, release, node)
        why, remedy = f"{state}: {words}", f"{load}; then: {make}"
    elif own:
        why = f"{state}: the module {own} of DKMS, which makes them, is not built for the kernel {release}"
        remedy = f"{_BUILD} && reboot; then: {make}"
    elif pf.driver in _BY_OPTION:
        option = _BY_OPTION[pf.driver].format(count=count)
        why = f"{state}: its driver {pf.driver} takes their number from its module option"
        remedy = f"Set it: echo '{option}' >> /etc/modprobe.d/{pf.driver}.conf && update-initramfs -u -k all && reboot"
    elif there:
        why, remedy = f"{state}, too few for this one", f"Stop the VMs that have its virtual functions, then: {make}"
    elif pf.driver == _UP_FIRST:
        asked = f"; {_asks(sources[0])}" if sources else ""
        name = (support.interface(pf.address) if support else "") or "INTERFACE"
        why = f"{state}: its driver {pf.driver} makes none while the interface {name} is down{asked}"
        remedy = f"Set it up, for good by 'auto {name}' in /etc/network/interfaces: ip link set {name} up; then: {make}"
    elif sources and pf.driver in _WITHOUT_VFS and not isinstance(node.dkms, Unread) and pf.driver not in node.dkms.modules:
        module = _WITHOUT_VFS[pf.driver]
        why = (
            f"{state}; {_asks(sources[0])}, but its driver {pf.driver} is the kernel's own, which makes none:"
            f" {module} is not installed for the kernel {release}"
        )
        remedy = f"Install {module} for it (dkms status) and restart the node; then: {make}"
    else:
        why, remedy = f"{state}{_reason(pf, sources)}", f"Make them, now and at every boot: {make}"
    return AbsentVf(address, pf, why, remedy)


def without_driver(pf: PciDevice, module: str, unbuilt: tuple[str, ...], release: str, node: Node) -> tuple[str, str]:
    """Why a PF has no driver, as far as known, and how it gets one."""
    words = "it has no driver, and only its driver makes them"
    if unbuilt:
        listed = f"{', '.join(unbuilt)}, which {'is' if len(unbuilt) == 1 else 'are'} not built for the kernel {release}"
        return f"{words} (DKMS has {listed})", f"{_BUILD} && modprobe {module or unbuilt[0]}"
    denied = () if isinstance(node.modules, Unread) else node.modules.denied
    place = next((place for name, place in denied if name == module.replace("-", "_")), "")
    if place:
        return (
            f"{words}; {place} keeps its module {module} from being loaded",
            f"Take {module} out of {place}, and load it: modprobe {module}",
        )
    return words, f"Load its driver: modprobe {module}" if module else f"Load its driver, which this names: lspci -k -s {pf.address}"


def on_vfio(pf: PciDevice, guest: Guest, node: Node) -> tuple[str, str]:
    """Why the PF is on vfio, as far as known, and how its driver gets it back."""
    words = f"it is on {pf.driver}, and only a driver of the host makes them"
    back = f"pvehooks unbind {pf.address} --now --persist"
    holders = () if isinstance(node.holders, Unread) else node.holders.get(pf.address, ())
    if holders:
        return f"{words}; it {holder_phrase(holders[0])}", f"Stop that VM: qm shutdown {holders[0].vmid}; then: {back}"
    volid = str(guest.options.get("hookscript", ""))
    script = former_of(volid) if is_stub(volid) else volid
    if script:
        words += f"; the VM's own hookscript {script}, which runs before the guard, may have bound it"
        return words, f"Take what binds it out of {script}, and give it back to its driver: {back}"
    return words, f"Give it back to its driver: {back}"


def _asks(source: VfSource) -> str:
    return f"{source.place} asks for {source.number or 'some'}"


def _reason(pf: PciDevice, sources: list[VfSource]) -> str:
    """What was to make them and did not, as the end of a sentence."""
    broken = next((source for source in sources if source.trouble), None)
    if broken:
        return f"; {_asks(broken)}, but {broken.trouble}"
    if sources:
        late = ", which runs after the VMs that start at boot" if sources[0].late else ""
        return f"; {_asks(sources[0])}{late}: it failed, or something took them away again"
    if pf.driver in _WITHOUT_VFS:
        return f"; no setting makes them at boot, and its driver {pf.driver} makes none unless {_WITHOUT_VFS[pf.driver]} is installed"
    return "; no setting makes them at boot"


def _count(pf: PciDevice, address: str, guest: Guest, node: Node, sources: list[VfSource]) -> int:
    """How many it should have: what is asked for at boot, at least those that guests name."""
    named = {name for each in _guests(guest, node) for name in _named(each) if _able(name, node) is pf or name in pf.virtfns} | {address}
    least = min(named, key=_routing_id)
    first = _routing_id(least) & ~7 if pf.slot != least.rpartition(".")[0] else _routing_id(pf.address) + 1
    numbers = [_number(name, pf) or _routing_id(name) - first + 1 for name in named]
    wanted = max((*numbers, len(pf.virtfns), *(source.number for source in sources)))
    return min(wanted, pf.total_vfs or wanted)


def _guests(guest: Guest, node: Node) -> tuple[Guest, ...]:
    """All of the node: who makes VFs for one VM takes away those of the others for a moment."""
    others = () if isinstance(node.guests, Unread) else node.guests
    return (guest, *(each for each in others if each.vmid != guest.vmid and not each.template))


def _named(guest: Guest) -> Iterator[str]:
    """The addresses with a function that its config names."""
    for entry in (*guest.hostpci, *guest.args_pci):
        if not isinstance(entry.addresses, Unread):
            yield from (address for address in entry.addresses if "." in address)


# -- VFs that are there now ---------------------------------------------------------------------------------------------------


def late_sources(pf: str, node: Node) -> tuple[VfSource, ...]:
    """What makes the VFs of a PF at boot when all that does so comes after the VMs that start at boot; () otherwise.

    Where nothing names the PF, what does not name its device as it is counts.
    """
    if isinstance(node.vf_support, Unread):
        return ()
    working = [source for source in node.vf_support.sources if not source.trouble]
    mine = tuple(source for source in working if source.address == pf) or tuple(source for source in working if not source.address)
    return mine if all(source.late for source in mine) else ()


def sources_of(pf: PciDevice, sources: Iterable[VfSource]) -> tuple[VfSource, ...]:
    """What makes the VFs of a PF at boot, of all that makes VFs: what names it, and what does not name its device as it is."""
    return tuple(source for source in sources if not source.trouble and source.address in (pf.address, ""))


def driver_without_vfs(driver: str) -> bool:
    """Whether the kernel's own driver makes no VFs, and only one from DKMS does."""
    return driver in _WITHOUT_VFS
