"""All rules on the node itself, and the checks that people see: each is a subject with its rules, and words for when all is well. No rules here."""

from __future__ import annotations

from collections.abc import Callable

from pvehooks.rules import sharedmemory
from pvehooks.rules.host import bootloader, cmdline, devices, firmware, guests, modules
from pvehooks.rules.host.commandline import loader_of, plans, shown, wanted
from pvehooks.values import NamedTuple, Node, Unread

BOOKS = (firmware.BOOK, bootloader.BOOK, cmdline.BOOK, modules.BOOK, devices.BOOK, guests.BOOK, sharedmemory.NODE_BOOK)


class Check(NamedTuple):
    """A subject, the ids of the rules that have a say in it, and what is said where none of them found anything ('' for nothing)."""

    subject: str
    rules: tuple[str, ...]
    passed: Callable[[Node], str]


def _cpu(node: Node) -> str:
    if isinstance(node.firmware, Unread) or isinstance(node.cpu_flags, Unread):
        return ""
    vendor = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}.get(node.firmware.cpu, node.firmware.cpu)
    kind = "VT-x" if "vmx" in node.cpu_flags else "SVM" if "svm" in node.cpu_flags else ""
    return f"{vendor}, {kind}" if vendor and kind else ""


def _iommu(node: Node) -> str:
    if isinstance(node.iommu, Unread) or not node.iommu.active or isinstance(node.firmware, Unread):
        return ""
    maker = {"dmar": "Intel", "ivhd": "AMD"}.get((*node.firmware.units, "")[0][:4], "")
    return f"on ({maker + ', ' if maker else ''}{node.firmware.groups} groups)"


def _host_translation(node: Node) -> str:
    if isinstance(node.firmware, Unread) or node.firmware.translation != {"identity"}:
        return ""
    return "the host's own devices are not translated (iommu=pt)"


def _interrupts(node: Node) -> str:
    known = not isinstance(node.iommu, Unread) and node.iommu.active and node.iommu.remaps_interrupts
    return "interrupts are remapped" if known else ""


def _advice(node: Node) -> str:
    return (
        "" if isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread) else "nothing outdated is in force"
    )


def _microcode(node: Node) -> str:
    return f"{node.firmware.microcode} is installed" if not isinstance(node.firmware, Unread) and node.firmware.microcode else ""


def _loader(node: Node) -> str:
    loader = loader_of(node)
    if loader is None:
        return ""
    firmware_words = "UEFI" if loader.uefi else "legacy BIOS"
    if not isinstance(node.firmware, Unread) and node.firmware.secure_boot:
        firmware_words += " with Secure Boot"
    return f"{loader.name}, {firmware_words} ({loader.why}): it reads {loader.file}, and {loader.refresh} applies a change"


def _esps(node: Node) -> str:
    if isinstance(node.loader, Unread) or not node.loader.esps:
        return ""
    return f"{len(node.loader.esps)} in /etc/kernel/proxmox-boot-uuids, and all are there"


def _kernel(node: Node) -> str:
    return f"{node.kernels.running} runs, and is next" if not isinstance(node.kernels, Unread) and node.kernels.installed else ""


def _command_line(node: Node) -> str:
    loader = loader_of(node)
    if loader is None or isinstance(node.command_lines, Unread) or isinstance(node.command_lines.running, Unread):
        return ""
    plan = plans(node.command_lines, loader)[0]
    if plan is None or isinstance(plan.words, Unread):
        return ""
    return f"what {loader.file} says is in force: {shown(wanted(plan.words)) or 'nothing'}"


def _acs(node: Node) -> str:
    return "not overridden" if not isinstance(node.iommu, Unread) and node.iommu.active else ""


def _vfio(node: Node) -> str:
    if isinstance(node.modules, Unread) or "unknown" in node.modules.vfio.values():
        return ""
    states = dict.fromkeys(node.modules.vfio.values())
    return f"the vfio modules of {node.modules.release} are {', '.join(states)}"


def _modprobe(node: Node) -> str:
    if isinstance(node.modules, Unread):
        return ""
    return "the initramfs knows what /etc/modprobe.d says, and no driver that the host needs is kept out"


def _dkms(node: Node) -> str:
    return (
        f"the firmware trusts the key of {', '.join(node.dkms.modules)}" if not isinstance(node.dkms, Unread) and node.dkms.trusted else ""
    )


def _groups(node: Node) -> str:
    return "every device that works has a group of its own" if not isinstance(node.iommu, Unread) and node.iommu.active else ""


def _links(node: Node) -> str:
    return f"{len(node.links)} links run as fast as they can" if not isinstance(node.links, Unread) and node.links else ""


def _network(node: Node) -> str:
    return "" if isinstance(node.interfaces, Unread) else "every interface that the network's configuration names is there"


def _queues(node: Node) -> str:
    return "virtio NICs have queues enough" if not isinstance(node.guests, Unread) and node.guests else ""


def _memory(node: Node) -> str:
    return (
        "" if isinstance(node.layout, Unread) or isinstance(node.guests, Unread) else "memory, huge pages and isolated CPUs suit the guests"
    )


def _ksm(node: Node) -> str:
    return "" if isinstance(node.ksm, Unread) else "KSM does not merge memory of different pools" if node.ksm.runs else "KSM is off"


def _shared_memory(node: Node) -> str:
    return "each file of it is a guest's" if not isinstance(node.memory_files, Unread) and node.memory_files else ""


CHECKS = (
    Check("CPU", ("kvm-unavailable",), _cpu),
    Check("IOMMU", ("iommu-inactive",), _iommu),
    Check("IOMMU mode", ("iommu-translates-host",), _host_translation),
    Check("interrupt remapping", ("interrupt-remapping-off",), _interrupts),
    Check("outdated advice", ("advice-void",), _advice),
    Check("microcode", ("microcode-missing",), _microcode),
    Check("boot loader", ("boot-loader-unknown",), _loader),
    Check("ESPs", ("esp-missing",), _esps),
    Check("kernel", ("kernel-pin-missing", "kernel-pinned", "kernel-outdated"), _kernel),
    Check(
        "kernel command line",
        (
            *("boot-file-broken", "root-argument-missing", "cmdline-lines-ignored", "zfs-root-without-boot-zfs"),
            *("cmdline-wrong-file", "cmdline-not-refreshed", "cmdline-not-in-force"),
        ),
        _command_line,
    ),
    Check("ACS", ("acs-override-void", "acs-override-in-force"), _acs),
    Check("vfio modules", ("vfio-modules-missing", "vfio-not-loaded-at-boot"), _vfio),
    Check("modprobe", ("initramfs-outdated", "vfio-ids-take-host-device", "vfio-ids-take-twin", "host-driver-blacklisted"), _modprobe),
    Check("DKMS", ("dkms-key-untrusted",), _dkms),
    Check("IOMMU groups", ("group-shared",), _groups),
    Check("PCIe links", ("pcie-link-narrow",), _links),
    Check("network", ("interface-missing",), _network),
    Check("guests' networks", ("network-queues-single",), _queues),
    Check("resources", ("device-on-other-numa-node", "hugepages-idle", "isolated-cpus-idle", "memory-overcommitted"), _memory),
    Check("KSM", ("ksm-between-owners",), _ksm),
    Check("shared memory", ("ivshmem-left-over",), _shared_memory),
)
