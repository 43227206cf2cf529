"""The next boot and VMs with passed-through devices: modules of the kernel, its faults, virtual functions, isolation."""

from __future__ import annotations

from collections.abc import Iterator

from pvehooks.derived.absent_vfs import driver_without_vfs, sources_of
from pvehooks.derived.kernel_args import add, loader_of
from pvehooks.derived.kernel_faults import faults_of, without_faults
from pvehooks.derived.passthrough import Claim, claims, passes_through, pci_devices, taken, working_iommu
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, PciDevice, Severity, Unread
from pvehooks.values.boot import DkmsPackage, NextBoot
from pvehooks.values.settingfiles import SettingLine

RULES = RuleSet(applies_to=passes_through, order=5)
_VFIO = ("vfio", "vfio_iommu_type1", "vfio_pci")
_AMD = 0x1002
_VENDOR_RESET = "vendor_reset"


def _reinstall(release: str) -> str:
    """How the package of a kernel is installed again; Proxmox VE's are signed since 6.5 (the administrator's manual, "Secure Boot")."""
    package = f"proxmox-kernel-{release}-signed" if release.endswith("-pve") else f"linux-image-{release}"
    return f"Install it again: apt install --reinstall {package}"


@RULES.rule(
    "next-kernel-without-vfio",
    Severity.BLOCK,
    "Install the kernel's package again, or boot another kernel: proxmox-boot-tool kernel pin RELEASE",
    needs=("holders", "kernel_modules", "next_boot", "pci"),
)
def next_kernel_without_vfio(guest: Guest, node: Node) -> Iterator[Finding]:
    """The kernel of the next boot has no vfio modules: no VM gets a passed-through device.

    A device that has a vendor's own vfio driver, with `driver=keep`, needs the module of that driver.
    Source: pve-common, SysFSTools.pm (modprobe vfio-pci); the kernel's Documentation/driver-api/vfio.rst.
    """
    if isinstance(node.kernel_modules, Unread) or isinstance(node.next_boot, Unread):
        return
    release, own = node.next_boot.release, node.kernel_modules.own
    if own is None:
        yield not_examined("kernel", f"which modules the kernel {release} has is unknown: /lib/modules/{release} has no list of them")
        return
    there = own | {module for package in node.kernel_modules.dkms if package.built for module in package.modules}
    wanted = set(_VFIO) if any(claim.whole for claim in claims(guest, node)) else set()
    wanted |= {
        device.driver.replace("-", "_")
        for claim in claims(guest, node)
        for device in claim.devices
        if device.vfio and device.driver and claim.entry.properties.get("driver") == "keep"
    }
    missing = sorted(wanted - there)
    if missing:
        yield Finding(
            "kernel",
            f"the kernel {release} has no {', '.join(missing)}, and without it no device can be passed through",
            _reinstall(release),
        )


@RULES.rule(
    "next-kernel-at-fault",
    Severity.BLOCK,
    "Boot another kernel: proxmox-boot-tool kernel pin RELEASE",
    needs=("boot_drivers", "holders", "kernels", "loader", "next_boot", "pci"),
)
def next_kernel_at_fault(guest: Guest, node: Node) -> Iterator[Finding]:
    """The kernel of the next boot is known to break passthrough of a device that the VM gets.

    The known faults are those of kernel-breaks-passthrough. A device that is bound to vfio-pci at boot has no other driver to be unbound from.
    Source: the changelogs of Proxmox VE's kernel packages; reports on its forum.
    """
    if isinstance(node.next_boot, Unread) or isinstance(node.kernels, Unread) or isinstance(node.boot_drivers, Unread):
        return
    release = node.next_boot.release
    known = tuple(faults_of(release))
    for claim, device in taken(guest, node) if known else ():
        driver = node.boot_drivers.of(device.address)
        for fault in known:
            if (fault.drivers and driver.replace("_", "-") not in fault.drivers) or (fault.virtual and not device.physfn):
                continue
            other = without_faults(node.kernels.installed, known)
            pin = f"Boot another one: proxmox-boot-tool kernel pin {other}{_refresh(node)}"
            message = f"{claim.entry.option}: the kernel {release} {fault.effect}, and {device.label} is such a device"
            yield Finding(device.address, message, pin if other else "Install a newer kernel: apt update && apt full-upgrade")


@RULES.rule(
    "next-kernel-without-dkms",
    Severity.BLOCK,
    "Build it: apt install proxmox-default-headers && dkms autoinstall -k RELEASE",
    needs=("firmware", "holders", "kernel_modules", "kernels", "loader", "modules", "next_boot", "pci"),
)
def next_kernel_without_dkms(guest: Guest, node: Node) -> Iterator[Finding]:
    """A module of DKMS works the VM's device, or the card whose virtual function or mediated device it gets, and the kernel of the next boot lacks it.

    DKMS builds its modules anew for each kernel, which needs the kernel's headers and a source that still fits. Where that fails, or
    Secure Boot refuses what is not signed, the host's card comes up without the driver, and so without virtual functions.
    vendor-reset is looked for where AMD's graphics are passed through: without it they may not start a second time.
    Source: dkms(8); the administrator's manual, "Using DKMS/Third Party Modules With Secure Boot".
    """
    if isinstance(node.kernel_modules, Unread) or isinstance(node.next_boot, Unread):
        return
    secure = not isinstance(node.firmware, Unread) and bool(node.firmware.secure_boot)
    for package in node.kernel_modules.dkms:
        trouble = _trouble(package, node.next_boot.release, secure) if package.built_now else ""
        worked = next(_worked_by(package, guest, node), None) if trouble else None
        if worked is None:
            continue
        claim, device, effect = worked
        reset = _VENDOR_RESET in package.modules
        own = node.kernel_modules.own or frozenset()
        in_tree = _module_of(device, node) in own and not driver_without_vfs(device.driver)
        message = f"{claim.entry.option}: {package.name} of DKMS {trouble}, and {effect}"
        if in_tree and not reset:
            message += "; the kernel's own module takes its place"
        severity = Severity.WARNING if reset or in_tree else Severity.BLOCK
        yield Finding(f"{package.name} {device.address}", message, _build(package, node.next_boot, node), severity)


def _trouble(package: DkmsPackage, release: str, secure: bool) -> str:
    """Why the kernel will not have the modules, '' where it will; continues the name of the package."""
    if not package.built:
        return f"is not built for the kernel {release}" + (f", {package.excluded}" if package.excluded else "")
    return f"is not signed for the kernel {release}, and Secure Boot refuses it" if secure and package.signed is False else ""


def _build(package: DkmsPackage, boot: NextBoot, node: Node) -> str:
    """How the kernel gets the modules."""
    build = f"dkms install {package.name}/{package.version} -k {boot.release}"
    if package.built:
        return f"Sign it by building it anew: {build} --force"
    headers = f"proxmox-headers-{boot.release}" if boot.release.endswith("-pve") else f"linux-headers-{boot.release}"
    how = f"Install a newer {package.name} that is for this kernel" if package.excluded else f"Build it: apt install {headers} && {build}"
    if boot.running == boot.release or isinstance(node.kernels, Unread) or boot.running not in node.kernels.installed:
        return how
    return f"{how}; until then boot the present kernel: proxmox-boot-tool kernel pin {boot.running}{_refresh(node)}"


def _refresh(node: Node) -> str:
    """The command that follows a pin, where there is one."""
    loader = loader_of(node)
    return " && proxmox-boot-tool refresh" if loader is not None and loader.managed else ""


def _worked_by(package: DkmsPackage, guest: Guest, node: Node) -> Iterator[tuple[Claim, PciDevice, str]]:
    """The guest's claims that rest on a module of the package, with the device that the module works and what is lost."""
    for claim in claims(guest, node):
        for device in claim.devices:
            pf = pci_devices(node).get(device.physfn)
            if pf is not None and _module_of(pf, node) in package.modules:
                yield claim, pf, f"it is the driver of {pf.label}, which makes the virtual function {device.address}"
            elif claim.entry.mdev and _module_of(device, node) in package.modules:
                yield claim, device, f"it is the driver of {device.label}, which makes the mediated device"
            elif not claim.entry.taken_whole and _module_of(device, node) in package.modules:
                yield claim, device, f"it is the driver of {device.label}"
            elif _VENDOR_RESET in package.modules and device.vendor == _AMD and claim.whole:
                yield claim, device, f"{device.label} may not be reset: a second start of the VM may fail"


def _module_of(device: PciDevice, node: Node) -> str:
    known = {} if isinstance(node.modules, Unread) else node.modules.drivers
    return known.get(device.driver, device.driver).replace("-", "_")


@RULES.rule(
    "vfs-not-made-at-boot",
    Severity.WARNING,
    "Have them made at each boot: pvehooks bind ADDRESS --vfs N --persist",
    needs=("holders", "pci", "vf_support"),
    undecided=True,
)
def vfs_not_made_at_boot(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM gets a virtual function that is there now, and no setting is known that makes it at the next boot.

    Virtual functions that were made by hand are gone with a restart. pvehooks' own settings, sysfsutils, units, udev's rules, .link files, the network's
    configuration and cron are looked at; a program of the card's maker may make them in another way.
    Source: the kernel's PCI/pci-iov-howto.
    """
    if isinstance(node.vf_support, Unread):
        return
    seen: set[str] = set()
    for claim in claims(guest, node):
        for device in claim.devices:
            pf = pci_devices(node).get(device.physfn)
            if pf is None or pf.address in seen or sources_of(pf, node.vf_support.sources):
                continue
            seen.add(pf.address)
            message = f"{claim.entry.option}: {device.label} was made by hand, as far as known: no setting makes the virtual functions of {pf.address} at boot"
            remedy = f"Have them made at each boot: pvehooks bind {pf.address} --vfs {len(pf.virtfns)} --persist"
            yield Finding(device.address, message, remedy)


@RULES.rule(
    "acs-override-changes",
    Severity.WARNING,
    "Write pcie_acs_override into the boot loader's file as it is now, or look at the groups after the restart",
    needs=("iommu", "loader", "next_boot"),
    undecided=True,
)
def acs_override_changes(guest: Guest, node: Node) -> Iterator[Finding]:
    """The next boot's command line has another pcie_acs_override than the running kernel's: IOMMU groups change, and so does what a start takes.

    Without it devices that it had split are in one group again, and a VM takes all of them from the host.
    Source: the administrator's manual, "PCI(e) Passthrough".
    """
    if isinstance(node.next_boot, Unread) or working_iommu(node) is None:
        return
    before, after = (_override(words) for words in (node.next_boot.words_now, node.next_boot.words))
    if before == after:
        return
    if not after:
        message = f"pcie_acs_override={before} is not on the command line of the next boot: its IOMMU groups are larger, and what the VM takes is not known"
        yield Finding("pcie_acs_override", message, add(f"pcie_acs_override={before}", node))
    else:
        message = f"pcie_acs_override={after} is new on the command line of the next boot: its IOMMU groups are not known"
        yield Finding("pcie_acs_override", message, "Look at the groups after the restart (pvehooks host groups)")


def _override(words: tuple[str, ...]) -> str:
    return next((word.partition("=")[2] for word in reversed(words) if word.startswith("pcie_acs_override=")), "")


@RULES.rule(
    "initramfs-without-setting",
    Severity.WARNING,
    "Update it: update-initramfs -u -k RELEASE",
    needs=("boot_drivers", "holders", "initramfs", "next_boot", "pci", "setting_files"),
)
def initramfs_without_setting(guest: Guest, node: Node) -> Iterator[Finding]:
    """A setting of modprobe keeps the host's driver from the VM's device, and the initramfs of the next boot has no copy of it: the driver comes first.

    The ids of vfio-pci, blacklists and softdeps take effect when drivers are loaded, and the initramfs loads many. The VM starts all the same where
    the driver lets the device go.
    Source: initramfs-tools(7); the administrator's manual, "PCI(e) Passthrough".
    """
    if (
        isinstance(node.initramfs, Unread)
        or isinstance(node.next_boot, Unread)
        or node.initramfs.broken
        or isinstance(node.boot_drivers, Unread)
    ):
        return
    copied = {" ".join(line.split()) for text in node.initramfs.settings.values() for line in text.split("\n")}
    for claim, device in taken(guest, node):
        driver = device.driver if device.driver and not device.vfio else node.boot_drivers.of(device.address)
        for line in _settings_of(device, driver, node):
            text = " ".join(line.text.split())
            if text not in copied:
                message = f"{claim.entry.option}: '{text}' of {line.file} is not in {node.initramfs.path}: a driver of the host may take {device.label} first"
                yield Finding(f"{line.file} {device.address}", message, f"Type: update-initramfs -u -k {node.next_boot.release}")


def _settings_of(device: PciDevice, driver: str, node: Node) -> Iterator[SettingLine]:
    """The lines of modprobe's settings that keep the host's driver from the device."""
    for line in () if isinstance(node.setting_files, Unread) else node.setting_files.modprobe:
        words = line.text.split()
        if words[:1] in (["blacklist"], ["softdep"]) and len(words) > 1:
            if driver and words[1].replace("-", "_") == driver.replace("-", "_"):
                yield line
        elif (
            words[:1] == ["options"]
            and words[1:2] in (["vfio-pci"], ["vfio_pci"])
            and f"{device.vendor:04x}:{device.device:04x}" in line.text.lower()
        ):
            yield line
