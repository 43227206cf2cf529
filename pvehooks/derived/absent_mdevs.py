"""Mediated devices that a config asks for and that a device does not make: why, and what makes them."""

from __future__ import annotations

from pvehooks.derived import remedies
from pvehooks.derived.absent_vfs import NVIDIA, NVIDIA_VFS, on_vfio, without_driver
from pvehooks.derived.passthrough import pci_devices
from pvehooks.values import Guest, HostPci, NamedTuple, Node, PciDevice, Unread

_INTEL, _DISPLAY = 0x8086, 0x03
_FREE = frozenset(("nouveau", "nova_core", "nvidiafb"))
_DAEMONS = "systemctl status nvidia-vgpud nvidia-vgpu-mgr"
# The kernel's drivers/gpu/drm/i915/i915_params.c (enable_gvt); intel_gvt.c has the chips.
_GVT = (
    "echo 'options i915 enable_gvt=1' > /etc/modprobe.d/i915-gvt.conf && echo kvmgt >> /etc/modules && update-initramfs -u -k all && reboot"
)


class AbsentMdev(NamedTuple):
    """Why a device makes no mediated device of a type, continuing the device's name, and what to do."""

    why: str
    remedy: str


def absent_mdev(device: PciDevice, entry: HostPci, guest: Guest, node: Node) -> AbsentMdev | None:
    """Of a device that shows no free instance of the entry's type; None where the guest's own is there, or one can be made all the same."""
    wanted, types = entry.mdev, ", ".join(sorted(device.mdev_types))
    listed = f"pvesh get /nodes/localhost/hardware/pci/{device.address}/mdev"
    if not device.mdev_types and not device.vgpus:
        none = _no_types(device, entry, guest, node)
        return none._replace(why=f"makes no mediated devices: {none.why}")
    if wanted in device.mdev_types:
        if _has_instance(device, guest, entry):
            return None
        return AbsentMdev(f"has no instance of {wanted} left", f"Stop a VM that has one, or take another type. List the types: {listed}")
    if not device.vgpus:
        return AbsentMdev(f"has no mediated devices of type {wanted} (it has: {types})", f"List the types: {listed}")
    if types:
        why = f"can make no vGPU of type {wanted} now, only {types}: the card does not have the type, or the vGPUs of other VMs leave no room for it"
        return AbsentMdev(why, f"Take one of these types, or stop a VM that has a vGPU of the card. List the types: {listed}")
    if device.vgpu_type == 0:
        why = "can make no vGPU now: those of other VMs leave no room, or NVIDIA's daemon did not run"
        return AbsentMdev(why, f"See which it is: nvidia-smi vgpu; {_DAEMONS}")
    # PVE takes the type that is on it away first.
    return None


def _has_instance(device: PciDevice, guest: Guest, entry: HostPci) -> bool:
    """Whether the guest's own instance is still there, which PVE uses again."""
    return f"{int(entry.option[7:]):08d}-0000-0000-0000-{guest.vmid:012d}" in device.mdevs


def _no_types(device: PciDevice, entry: HostPci, guest: Guest, node: Node) -> AbsentMdev:
    support = None if isinstance(node.vf_support, Unread) else node.vf_support
    of_intel = device.vendor == _INTEL and device.class_code >> 16 == _DISPLAY
    if of_intel and device.physfn:
        whole = remedies.command(guest, entry, without=("mdev",))
        return AbsentMdev("it is a virtual function, which a VM gets as a whole", f"Name it without mdev: {whole}")
    if device.vfio:
        return AbsentMdev(*on_vfio(device, guest, node))
    if not device.driver:
        unbuilt, release = (support.unbuilt, support.release) if support else ((), "")
        return AbsentMdev(*without_driver(device, support.module(device.address) if support else "", unbuilt, release, node))
    if device.vendor == NVIDIA:
        return _of_nvidia(device, entry, guest, node)
    if of_intel:
        return _of_intel(device, entry, guest)
    why = f"its driver {device.driver} makes none"
    return AbsentMdev(why, f"Install the driver that makes them, or {_whole(guest, entry)}")


def _whole(guest: Guest, entry: HostPci) -> str:
    return f"give the VM the whole device: {remedies.command(guest, entry, without=('mdev',))}"


def _of_nvidia(device: PciDevice, entry: HostPci, guest: Guest, node: Node) -> AbsentMdev:
    support = None if isinstance(node.vf_support, Unread) else node.vf_support
    unbuilt = next((name for name in support.unbuilt if name.startswith("nvidia")), "") if support else ""
    if device.driver in _FREE and support and unbuilt:
        why = f"it is on {device.driver}; the module {unbuilt} of DKMS, which makes them, is not built for the kernel {support.release}"
        return AbsentMdev(why, "Build it: apt install proxmox-default-headers && dkms autoinstall && reboot")
    if device.driver in _FREE:
        why = f"it is on {device.driver}, and only NVIDIA's vGPU host driver makes them"
        remedy = f"Install that driver: apt install pve-nvidia-vgpu-helper && pve-nvidia-vgpu-helper setup, then NVIDIA's own; or {_whole(guest, entry)}"
        return AbsentMdev(why, remedy)
    if device.virtfns:
        others = (pci_devices(node).get(address) for address in device.virtfns)
        ready = next((each.address for each in others if each is not None and (each.mdev_types or each.vgpus)), "")
        named = f": {remedies.command(guest, entry, {device.address: ready})}" if ready and not entry.mapping else ""
        why = "its virtual functions make them, not the card itself"
        return AbsentMdev(why, f"Name one of its virtual functions{named}" if ready else f"See why they do not: {_DAEMONS}")
    if device.total_vfs:
        sources = [source for source in support.sources if source.address == device.address] if support else []
        if sources:
            failed = sources[0].trouble or "it failed, or something took them away again"
            why = f"its virtual functions make them, and it has none; {sources[0].place} is to make these, but {failed}"
            unit = sources[0].place
            again = (
                f"systemctl status {unit}; then, to try again: systemctl restart {unit}" if unit.endswith(".service") else "journalctl -b"
            )
            return AbsentMdev(why, f"See why: {again}")
        why = "its virtual functions make them, and it has none"
        make = NVIDIA_VFS.format(address=device.address)
        return AbsentMdev(why, f"Make them, now and at every boot: {make}; then name one of them in place of {device.address}")
    vfs = "" if support else "its virtual functions were not made, "
    why = f"its driver {device.driver} makes none: it is not the vGPU host driver, its daemon did not run, {vfs}or the card has no vGPUs"
    return AbsentMdev(why, f"See which it is: nvidia-smi vgpu; {_DAEMONS}. Or {_whole(guest, entry)}")


def _of_intel(device: PciDevice, entry: HostPci, guest: Guest) -> AbsentMdev:
    if device.virtfns:
        why = "it is shared by virtual functions, of which each VM gets one as a whole"
        instead = "" if entry.mapping else f": {remedies.command(guest, entry, {device.address: device.virtfns[0]}, without=('mdev',))}"
        return AbsentMdev(why, f"Name one without mdev{instead}")
    if device.driver == "i915" and not device.total_vfs:
        why = "its driver i915 makes them with GVT-g alone, which chips from Broadwell to Comet Lake have, and which is off by default"
        return AbsentMdev(why, f"On such a chip switch it on: {_GVT}. Else {_whole(guest, entry)}")
    why = f"it is on {device.driver}, and such a chip is shared by virtual functions (SR-IOV), if at all"
    make = f"Make them: pvehooks bind {device.address} --vfs {device.total_vfs} --now --persist; then name one without mdev. Or"
    return AbsentMdev(why, f"{make if device.total_vfs else 'Without them'} {_whole(guest, entry)}")
