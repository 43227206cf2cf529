"""Drivers of the host that do not let go of a device safely while the node runs, and why."""

from __future__ import annotations

from pvehooks.values import PciDevice

_CONSOLE = "it shows the node's console, and the driver often hangs or crashes when its screen is taken away"
# By driver: what taking a device from it is known to do. Sources: the reports at gitlab.freedesktop.org/drm/amd (amdgpu_dm_fini),
# NVIDIA's driver (nv-pci.c: "Attempting to remove device with non-zero usage count"), forum.proxmox.com on single-GPU passthrough.
_RISKY = {
    "amdgpu": "the kernel often crashes in it (amdgpu_dm_fini), and the card may not be reset afterwards",
    "radeon": "the kernel often crashes in it, and the card may not be reset afterwards",
    "nouveau": "it often hangs or crashes, and leaves the card half set up",
    "nvidia": "it waits without end while any process has the card open (nvidia-persistenced, a monitoring agent), and the start with it",
}
# Those that let go of a card without a screen of the node's.
_RISKY_WITH_CONSOLE = frozenset(("i915", "xe", "ast", "mgag200", "virtio-pci", "bochs-drm", "qxl", "hibmc-drm"))


def risk_of(driver: str) -> str:
    """What may happen when this driver has to let go of a device, whichever it is; '' where nothing is known."""
    return _RISKY.get(driver, "")


def risk(device: PciDevice) -> str:
    """What may happen when the device is taken from its driver while the node runs; '' where nothing is known."""
    if device.driver in _RISKY:
        return risk_of(device.driver)
    if device.driver in _RISKY_WITH_CONSOLE and device.class_code >> 16 == 0x03 and (device.boot_vga or device.framebuffer):
        return _CONSOLE
    return ""
