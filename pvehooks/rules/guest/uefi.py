"""UEFI: the EFI disk that keeps the firmware's settings, its Secure Boot certificates, and VMs whose firmware PVE refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pvehooks.derived.disks import arch_of, disks, format_of, new_volume, volume_of
from pvehooks.derived.firmware_fit import confidential
from pvehooks.rules.engine import RuleSet, not_examined
from pvehooks.values import Finding, Guest, Node, Severity, Unread

_CONCERNING = frozenset(("efidisk0", "amd-sev", "intel-tdx", "arch"))
# A template never starts, and its EFI disk cannot be changed: its clones are examined instead.
RULES = RuleSet(applies_to=lambda guest: not guest.template and (guest.uefi or not _CONCERNING.isdisjoint(guest.options)), order=110)
# qemu-server, CPUConfig.pm ($cputypes_32bit).
_32_BIT = frozenset(("486", "pentium", "pentium2", "pentium3", "coreduo", "athlon", "kvm32", "qemu32"))
# What custom models report as by default (qemu-server, CPUConfig.pm).
_CUSTOM_DEFAULT = "kvm64"
_CODE_2M = 0x1E0000
_IMAGES = (".iso", ".img")
# Systems whose images have no boot loader with Microsoft's signature.
_SYSTEMS = (
    ("haos|hassos|home-?assistant", "Home Assistant OS"),
    ("openwrt|immortalwrt|istoreos", "OpenWrt"),
    ("arch(?:linux)?|endeavouros|manjaro|cachyos", "Arch Linux"),
    ("nixos", "NixOS"),
    ("freebsd|ghostbsd|hardenedbsd", "FreeBSD"),
    ("opnsense", "OPNsense"),
    ("pfsense", "pfSense"),
    ("openbsd", "OpenBSD"),
    ("netbsd", "NetBSD"),
    ("talos|metal-amd64", "Talos Linux"),
    ("umbrel(?:os)?", "umbrelOS"),
    ("k3os", "k3OS"),
    ("haiku", "Haiku"),
)


def _named(names: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{names})(?![a-z])", re.IGNORECASE)


# Whether one of them is found at all: in most names none is, so that the pattern of each is rarely compiled.
_ANY_UNSIGNED = _named("|".join(names for names, _ in _SYSTEMS))


def keeps_settings(guest: Guest) -> bool:
    """Whether its firmware writes to an EFI disk at all: SEV-SNP and TDX have none, and a firmware in `args` is not PVE's.

    An image that we gave it is the code alone: its variables are on the EFI disk, as with PVE's own.
    """
    return guest.uefi and confidential(guest) not in ("snp", "tdx") and not _brings(_others_args(guest))


def _others_args(guest: Guest) -> str:
    """Its args without our part, which names an image that we gave it."""
    args = str(guest.options.get("args", ""))
    return args.replace(guest.firmware.args, "") if args and guest.firmware else args


def _brings(args: str) -> bool:
    """Whether the words name a firmware."""
    return "pflash" in args or "-bios" in args


def _family(guest: Guest) -> str:
    """The type of an EFI disk for its firmware: an image of its own may be of the old one (its size shows that). SEV has the new one only."""
    old = guest.image is not None and guest.image.size == _CODE_2M
    return "2m" if old and not confidential(guest) else "4m"


def new_efidisk(guest: Guest, *, secure_boot: bool) -> str:
    """What to type for an EFI disk. Beside qcow2 it has to be qcow2 too, or the guest could not be snapshotted any more."""
    form = ",format=qcow2" if any(format_of(guest, name) == "qcow2" for name in disks(guest)[:1]) else ""
    keys = ",pre-enrolled-keys=1" if secure_boot else ""
    return f"--efidisk0 {new_volume(guest, like='efidisk0')}{form},efitype={_family(guest)}{keys}"


@RULES.rule("efidisk-missing", Severity.WARNING, "Give it an EFI disk while it is shut down: qm set {vmid} --efidisk0 STORAGE:1,efitype=4m")
def efidisk_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM without an EFI disk: what its firmware is to remember is lost at every stop.

    PVE gives it a temporary disk at each start, of the old type without Secure Boot. The boot entries that an installed
    system makes are gone at the next start, so that many systems are not found any more. With `,pre-enrolled-keys=1` the new
    disk switches Secure Boot on, which a system with unsigned drivers does not survive.
    Source: the administrator's manual, "BIOS and UEFI"; qemu-server, OVMF.pm (generate_ovmf_blockdev).
    """
    if keeps_settings(guest) and "efidisk0" not in guest.options:
        remedy = f"Give it one while it is shut down: qm set {guest.vmid} {new_efidisk(guest, secure_boot=False)}"
        yield Finding("efidisk0", "UEFI without an EFI disk: its boot entries and settings are lost at every stop", remedy=remedy)


@RULES.rule(
    "efidisk-type-2m",
    Severity.INFO,
    "For Secure Boot: qm set {vmid} --delete efidisk0, then qm set {vmid} --efidisk0 STORAGE:1,efitype=4m,pre-enrolled-keys=1",
    needs=("cpu_flags",),
    options=("efidisk",),
)
def efidisk_type_2m(guest: Guest, node: Node) -> Iterator[Finding]:
    """The EFI disk is of the old type 2m (`efitype=2m`, or none given): its firmware has no Secure Boot.

    The firmware of this type is not developed any more and comes in a package of its own, pve-edk2-firmware-legacy. For
    Secure Boot the disk has to be replaced by one with `efitype=4m,pre-enrolled-keys=1`, which loses the settings and boot entries
    of the old one; `pre-enrolled-keys` has no effect on the old type. The firmware of the new type needs a source of entropy for
    network boot (rng-missing-netboot), the old one does not. ARM VMs have no types, and SEV VMs always get
    the new one. A VM with a firmware image of its own has what that has.
    Source: the administrator's manual, "BIOS and UEFI"; qemu-server, OVMF.pm (get_ovmf_files).
    """
    if not keeps_settings(guest) or guest.firmware or confidential(guest) or not _has_disk(guest) or arch_of(guest, node) != "x86_64":
        return
    disk = guest.properties("efidisk0")
    if disk.get("efitype") == "4m":
        return
    void = "; pre-enrolled-keys=1 has no effect" if disk.get("pre-enrolled-keys") else ""
    remedy = (
        f"For Secure Boot (its UEFI settings are lost): qm set {guest.vmid} --delete efidisk0, "
        f"then qm set {guest.vmid} {new_efidisk(guest, secure_boot=True)}"
    )
    yield Finding("efidisk0", f"the EFI disk is of the old type 2m, without Secure Boot{void}", remedy=remedy)


@RULES.rule(
    "efidisk-certificates-old",
    Severity.WARNING,
    "Shut it down, then (since PVE 9.1): qm enroll-efi-keys {vmid}",
    needs=("cpu_flags",),
    options=("efidisk",),
)
def efidisk_certificates_old(guest: Guest, node: Node) -> Iterator[Finding]:
    """The EFI disk came with Secure Boot keys, and nothing shows that Microsoft's certificates of 2023 are among them.

    Those of 2011 expire in 2026: boot loaders signed with the new ones (Windows' and, by way of shim, common
    distributions') do not start without them, and Secure Boot cannot be updated. PVE marks the disk with `ms-cert=2023k` once all
    three are there (2023 and 2023w stand for a part of them) and warns at every start until then. The mark is not the
    truth: a Windows that has enrolled them itself does not set it. `qm enroll-efi-keys` works while the VM is shut down;
    BitLocker asks for its recovery key afterwards unless it was suspended before, and so do other systems that bind
    their disk's key to the TPM. Not applies_to: EFI disks of the type 2m, which have no Secure Boot; SEV-SNP and TDX
    VMs, which have no EFI disk; templates.
    Source: qemu-server, OVMF.pm (should_enroll_ms_2023_cert), QemuServer.pm (check_efi_vars), Drive.pm (`ms-cert`).
    """
    disk = guest.properties("efidisk0")
    if not keeps_settings(guest) or not disk.get("pre-enrolled-keys") or disk.get("ms-cert") == "2023k":
        return
    if disk.get("efitype") != "4m" and arch_of(guest, node) == "x86_64":
        return
    cert = str(disk.get("ms-cert", "2011"))
    some = cert != "2011"
    windows = str(guest.options.get("ostype", "")).startswith("w")
    first = "Suspend BitLocker in it (manage-bde -protectors -disable C:), shut it down" if windows else "Shut it down"
    yield Finding(
        "efidisk0",
        f"{'only some' if some else 'none'} of Microsoft's Secure Boot certificates of 2023 are known to be on the EFI disk"
        f" ({f'ms-cert={cert}' if some else 'no ms-cert=2023k'}); those of 2011 expire in 2026",
        remedy=f"{first}, then (since PVE 9.1): qm enroll-efi-keys {guest.vmid}",
    )


_DENIED = (
    "is signed with the Secure Boot keys of its EFI disk: unless Secure Boot was switched off in its firmware setup, the firmware says"
    " 'Access Denied'"
)


@RULES.rule(
    "secure-boot-denies-loader",
    Severity.WARNING,
    "Switch Secure Boot off in the VM's firmware setup: press Esc while the VM starts, Device Manager, Secure Boot Configuration",
    options=("efidisk",),
)
def secure_boot_denies_loader(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM's EFI disk came with Secure Boot keys, and it boots a system whose boot loader is not signed with one of them.

    The firmware then says "Access Denied" and tries the next entry, often the network. Proxmox VE's wizard enrolls Microsoft's keys by
    default. A system is known by the name of the ISO image that the VM boots from; by the VM's name the finding is for information. Whether
    Secure Boot was switched off in the firmware setup is not known. Option ROMs of passed-through devices are not applies_to: OVMF runs
    them unchecked (PcdOptionRomImageVerificationPolicy is 0), but for SEV.
    Source: edk2, OvmfPkg/OvmfPkgX64.dsc; reports of users of these systems (rancher/k3os report 792, ChrisTitusTech/ArchTitus report 302,
    linkease/doc.linkease.com report 413, siderolabs/talos report 11010, getumbrel/umbrel report 1885).
    """
    disk = guest.properties("efidisk0")
    if not keeps_settings(guest) or disk.get("pre-enrolled-keys") not in (1, "1") or disk.get("efitype") != "4m" or guest.running:
        return
    for option in guest.boot.devices:
        if not any(ending in str(guest.options.get(option)) for ending in _IMAGES):
            continue
        image = volume_of(guest, option)[1].rpartition("/")[2]
        system = _unsigned(image) if image.endswith(_IMAGES) else ""
        if system:
            yield Finding(option, f"boots from {image} ({option}): {system} has no boot loader that {_DENIED}")
            return
    system = _unsigned(str(guest.options.get("name", "")))
    if system and disks(guest):
        yield Finding("efidisk0", f"its name says {system}, which has no boot loader that {_DENIED}", severity=Severity.INFO)


def _unsigned(name: str) -> str:
    """The system that a name stands for, if its boot loader is not signed with Microsoft's keys; '' for all others."""
    if not _ANY_UNSIGNED.search(name) or "secureboot" in name.lower():
        return ""
    return next(system for names, system in _SYSTEMS if _named(names).search(name))


@RULES.rule(
    "efidisk-on-confidential-guest", Severity.WARNING, "Take it out: qm set {vmid} --delete efidisk0", options=("amd-sev", "intel-tdx")
)
def efidisk_on_confidential_guest(guest: Guest, node: Node) -> Iterator[Finding]:
    """A SEV-SNP or TDX VM has an EFI disk, which PVE ignores: such firmware is measured as a whole and keeps no settings.

    The VM starts, with the keys and boot entries that its firmware contains instead of those on the disk.
    Source: qemu-server, OVMF.pm (print_ovmf_commandline); the administrator's manual, "AMD SEV" and "Intel TDX".
    """
    kind = {"snp": "SEV-SNP", "tdx": "TDX"}.get(confidential(guest), "")
    if kind and guest.uefi and _has_disk(guest):
        yield Finding("efidisk0", f"the EFI disk is ignored: a VM with {kind} keeps no UEFI settings")


@RULES.rule(
    "efidisk-without-ovmf",
    Severity.WARNING,
    "If it was installed with UEFI: qm set {vmid} --bios ovmf; if not: qm set {vmid} --delete efidisk0",
    needs=("cpu_flags",),
    options=("efidisk",),
)
def efidisk_without_ovmf(guest: Guest, node: Node) -> Iterator[Finding]:
    """The VM has an EFI disk and boots with SeaBIOS: the disk is not used, and backups leave it out.

    A system that was installed with UEFI is not found by SeaBIOS. After a restore the EFI disk is gone.
    Source: qemu-server, QemuConfig.pm (get_backup_volumes), QemuServer.pm (config_to_command).
    """
    if not _has_disk(guest) or guest.uefi or confidential(guest) or _brings(_others_args(guest)) or arch_of(guest, node) != "x86_64":
        return
    if _brings(str(guest.options.get("args", ""))):
        yield Finding("efidisk0", "the EFI disk is not used, nor backed up: its own firmware image runs without it, and remembers nothing")
    else:
        yield Finding("efidisk0", "the EFI disk is not used, nor backed up: the VM boots with SeaBIOS, which finds no UEFI system")


def _has_disk(guest: Guest) -> bool:
    return bool(guest.properties("efidisk0"))


@RULES.rule("efidisk-format-unknown", Severity.BLOCK, "Give its format: qm set {vmid} --efidisk0 PATH,format=raw", options=("efidisk",))
def efidisk_format_unknown(guest: Guest, node: Node) -> Iterator[Finding]:
    """The EFI disk is a path and no volume of a storage, and its format is not given: PVE refuses the start.

    PVE knows the format of a volume from its storage, and that of a path only from `format=`. A block device is raw; `qemu-img info PATH` shows the
    format of a file.
    Source: qemu-server, OVMF.pm ("efidisk format must be specified").
    """
    disk = guest.properties("efidisk0")
    if not guest.uefi or confidential(guest) in ("snp", "tdx") or not disk:
        return
    storage, path = volume_of(guest, "efidisk0")
    if not storage and "format" not in disk:
        remedy = f"Give its format: qm set {guest.vmid} --efidisk0 {guest.options['efidisk0']},format=raw"
        yield Finding("efidisk0", f"the format of the EFI disk {path} is not given: the VM would not start", remedy=remedy)


@RULES.rule("confidential-without-ovmf", Severity.BLOCK, "Give it UEFI: qm set {vmid} --bios ovmf", options=("amd-sev", "intel-tdx"))
def confidential_without_ovmf(guest: Guest, node: Node) -> Iterator[Finding]:
    """A confidential VM (AMD SEV, Intel TDX) is to boot with SeaBIOS: PVE refuses the start.

    Source: qemu-server, CPUConfig.pm (get_amd_sev_object, get_intel_tdx_object).
    """
    for option in ("amd-sev", "intel-tdx"):
        if guest.properties(option) and not guest.uefi:
            yield Finding("bios", f"a confidential VM ({option}) needs UEFI, and this one has SeaBIOS: it would not start")
            return


@RULES.rule(
    "ovmf-on-32-bit-cpu", Severity.BLOCK, "Give it a CPU of 64 bits: qm set {vmid} --cpu x86-64-v2-AES", needs=("cpu_flags", "cpu_models")
)
def ovmf_on_32_bit_cpu(guest: Guest, node: Node) -> Iterator[Finding]:
    """A UEFI VM with a CPU model of 32 bits: PVE refuses the start.

    Proxmox VE's OVMF is built for 64 bits. The models 486, pentium to pentium3, athlon, coreduo, kvm32 and qemu32 have 32. An operating system of 32 bits
    also runs on a model of 64 bits.
    Source: qemu-server, QemuServer.pm ("OVMF (UEFI) BIOS is not supported on 32-bit CPU types").
    """
    if not guest.uefi or arch_of(guest, node) != "x86_64":
        return
    model = guest.cpu[0]
    if model.startswith("custom-"):
        if isinstance(node.cpu_models, Unread):
            yield not_examined("cpu", f"whether the custom CPU model '{model}' has 64 bits is unknown: {node.cpu_models.why}")
            return
        custom = node.cpu_models.get(model.removeprefix("custom-"))
        model = (custom.reported_model if custom else "") or _CUSTOM_DEFAULT
    if model in _32_BIT:
        yield Finding("cpu", f"UEFI needs a CPU of 64 bits, and {guest.cpu[0]} has 32: the VM would not start")


@RULES.rule("ovmf-image-missing", Severity.BLOCK, "Install the package that has it", needs=("cpu_flags", "ovmf"))
def ovmf_image_missing(guest: Guest, node: Node) -> Iterator[Finding]:
    """The firmware that the VM needs is not installed on this node: PVE refuses the start.

    EFI disks of the type 2m, and VMs without one, need pve-edk2-firmware-legacy; ARM VMs need pve-edk2-firmware-aarch64,
    which is not installed by default. That of a firmware image in `args` is needed all the same. Confidential VMs are not examined: the names of their images differ from one
    release to another.
    Source: qemu-server, OVMF.pm ("EFI base image ... not found"), debian/control.
    """
    # Where they cannot be listed at all (another node, a tree that does not hold them), PVE's packages are taken to be whole.
    if not guest.uefi or confidential(guest) or isinstance(node.ovmf, Unread):
        return
    if arch_of(guest, node) == "aarch64":
        wanted, package = ("AAVMF_CODE.fd", "AAVMF_VARS.fd"), "pve-edk2-firmware-aarch64"
    elif guest.properties("efidisk0").get("efitype") == "4m":
        wanted, package = ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), "pve-edk2-firmware-ovmf"
    else:
        wanted, package = ("OVMF_CODE.fd", "OVMF_VARS.fd"), "pve-edk2-firmware-legacy"
    missing = [name for name in wanted if name not in node.ovmf]
    if missing:
        what = "its UEFI firmware"
        if _brings(str(guest.options.get("args", ""))):
            what = "PVE's UEFI firmware, which PVE requires also where the args name another one,"
        yield Finding(
            "bios",
            f"{what} is not installed on {node.name} ({', '.join(missing)}): the VM would not start",
            remedy=f"Install it: apt install {package}",
        )


@RULES.rule("arm-without-ovmf", Severity.WARNING, "Give it UEFI: qm set {vmid} --bios ovmf", needs=("cpu_flags",))
def arm_without_ovmf(guest: Guest, node: Node) -> Iterator[Finding]:
    """An ARM VM without UEFI has no firmware at all: it starts, and does nothing.

    SeaBIOS is for x86 alone, and QEMU's machine "virt" brings no firmware.
    Source: qemu-server, QemuServer.pm (config_to_command), OVMF.pm; QEMU's documentation of the "virt" machine.
    """
    if (
        arch_of(guest, node) == "aarch64"
        and not guest.uefi
        and not _brings(str(guest.options.get("args", "")))
        and "-kernel" not in str(guest.options.get("args", ""))
    ):
        yield Finding("bios", "an ARM VM without UEFI has no firmware: nothing boots")
