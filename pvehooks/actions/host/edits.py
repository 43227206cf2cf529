"""The edits behind the fixes: each changes the draft for one finding, and returns what it does as a phrase, or raises ByHand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pvehooks.actions.host import texts
from pvehooks.actions.host.draft import Draft
from pvehooks.actions.host.texts import ByHand
from pvehooks.derived import iommu_switch
from pvehooks.derived.kernel_args import QUIET, differences, name_of, place, plans, shown, values_of, wanted
from pvehooks.derived.passthrough import pci_devices
from pvehooks.facts import hardware
from pvehooks.facts.boot import cmdline, kernels
from pvehooks.facts.node import moduleoptions
from pvehooks.values import Finding, Node, PciDevice, Unread
from pvehooks.values.boot import KERNEL_CMDLINE, Kernels, Modules

_ACS = ("downstream", "multifunction", "id:")
_COMMAND_LINE = "the kernel command line"
# Written by proxmox-boot-tool beside the pin, where GRUB boots (proxmox-kernel-helper, functions: GRUB_PIN_SNIPPET).
_GRUB_PIN = "/etc/default/grub.d/proxmox-kernel-pin.cfg"
_LINKS = "/etc/systemd/network"
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.ASCII)
_INTERFACE = re.compile(r"[A-Za-z0-9_-]{1,15}", re.ASCII)


def _running(draft: Draft) -> tuple[str, ...]:
    lines = draft.node.command_lines
    if isinstance(lines, Unread) or isinstance(lines.running, Unread):
        raise ByHand("the running kernel's command line cannot be read")
    return lines.running


def _add_argument(draft: Draft, word: str) -> str:
    if word not in draft.arguments():
        draft.add_argument(word)
    draft.require_refresh()
    return f"adds {word} to {place(draft.loader())}"


def _drop_values(draft: Draft, word: str, unwanted: Callable[[str], bool] | None = None) -> str:
    """Drops unwanted values of an argument, by default those in `word`."""
    value, before = word.partition("=")[2], draft.arguments()
    draft.drop_values(name_of(word), unwanted or (lambda each: each in value.split(",")))
    draft.require_refresh()
    file = draft.loader().file
    return f"removes {word} from {file}" if draft.arguments() != before else f"{file} does not have {word} any more"


# -- /etc/kernel/cmdline itself ---------------------------------------------------------------------------------------


def join_cmdline(draft: Draft, _: Finding) -> str:
    """Joins the lines of /etc/kernel/cmdline into one."""
    text = draft.text(KERNEL_CMDLINE)
    try:
        new = texts.joined(text)
    except ByHand as why:
        raise ByHand(f"{KERNEL_CMDLINE}: {why}") from why
    # Empty lines below the one line do no harm.
    draft.write(KERNEL_CMDLINE, new if any(line.strip() for line in text.split("\n")[1:]) else text)
    draft.refresh_menu()
    return f"joins the lines of {KERNEL_CMDLINE} into one"


def restore_root(draft: Draft, finding: Finding) -> str:
    """Puts root= back into /etc/kernel/cmdline, from the running kernel."""
    own = [word for word in _running(draft) if name_of(word) in ("root", "boot", "rootflags")]
    text = draft.text(KERNEL_CMDLINE)
    if not text.strip():
        # An empty file: what the running kernel was started with is all that is known.
        text = ""
    words = cmdline.words(texts.joined(text)) if text else ()
    if not any(name_of(word) == "root" for word in words):
        if not any(name_of(word) == "root" for word in own):
            raise ByHand("the running kernel's command line has no root= either")
        if any(cmdline.words(word) != (word,) for word in own):
            raise ByHand("the running kernel's root= needs quotes")
        missing = [word for word in own if word not in words]
        draft.write(KERNEL_CMDLINE, f"{' '.join(missing)} {texts.joined(text)}" if text else f"{' '.join(missing)}\n")
        draft.refresh_menu()
        return f"puts {shown(missing)} back at the beginning of {KERNEL_CMDLINE}"
    return join_cmdline(draft, finding)


def add_boot_zfs(draft: Draft, _: Finding) -> str:
    """Adds boot=zfs."""
    return _add_argument(draft, "boot=zfs")


# -- the kernel's arguments -------------------------------------------------------------------------------------------


def activate_iommu(draft: Draft, finding: Finding) -> str:
    """Removes what switches the IOMMU off, or adds what switches it on."""
    off = iommu_switch.switched_off(draft.node)
    if off:
        return _drop_values(draft, off)
    if iommu_switch.needs_switching_on(draft.node):
        return _add_argument(draft, "intel_iommu=on")
    raise ByHand("the kernel command line is not the cause")


def add_iommu_pt(draft: Draft, finding: Finding) -> str:
    """Adds iommu=pt, or what it is called on ARM."""
    return _add_argument(draft, finding.subject)


def _modules_after(draft: Draft) -> Modules:
    """The modules of the node with the draft applied."""
    later = hardware.gather(draft.preview(), draft.node.name).modules
    if isinstance(later, Unread):
        raise ByHand(later.why)
    return later


def drop_void_advice(draft: Draft, finding: Finding) -> str:
    """Removes an argument or module that has no effect, or harms."""
    if finding.subject in ("amd_iommu=on", "intel_iommu=on"):
        return _drop_values(draft, finding.subject)
    if finding.subject == "allow_unsafe_interrupts":
        return _forbid_unsafe_interrupts(draft)
    draft.comment_out(finding.subject, texts.loads("vfio_virqfd"))
    if ("vfio_virqfd", finding.subject) in _modules_after(draft).listed:
        raise ByHand(f"{finding.subject} is written in an unusual way")
    return f"removes vfio_virqfd from {finding.subject}"


def _forbid_unsafe_interrupts(draft: Draft) -> str:
    module, parameter = "vfio_iommu_type1", "allow_unsafe_interrupts"
    places = dict.fromkeys(where for where, _ in moduleoptions.given(draft.host, module, parameter))
    if not places:
        raise ByHand("it was set while the node was running, and a restart resets it")
    for where in places:
        if where == _COMMAND_LINE:
            _drop_values(draft, f"{module}.{parameter}", lambda value: True)
        else:
            draft.comment_out(where, texts.sets(module, parameter, lambda value: True))
            draft.rebuild_initramfs()
    if any(where.startswith("/") for where, _ in moduleoptions.given(draft.preview(), module, parameter)):
        raise ByHand(f"{parameter} is written in an unusual way in {next(iter(places))}")
    return f"removes {parameter} from {_files(places, draft)}"


def move_arguments(draft: Draft, _: Finding) -> str:
    """Adds the arguments that are only in the file that the boot loader does not read."""
    lost = lost_arguments(draft.node, draft.arguments())
    given = draft.arguments()
    for word in lost:
        same = [each for each in given if name_of(each) == name_of(word)]
        if same:
            raise ByHand(f"{draft.loader().file} has {shown(same)} already, and only you know which is meant")
    for word in lost:
        draft.add_argument(word)
    draft.require_refresh()
    return f"adds {shown(lost) or 'nothing'} to {place(draft.loader())}"


def lost_arguments(node: Node, given: tuple[str, ...]) -> list[str]:
    """The arguments in the file that the boot loader does not read, and that the kernel does not get."""
    lines, loader = node.command_lines, node.loader
    if isinstance(lines, Unread) or isinstance(loader, Unread):
        return []
    other = plans(lines, loader)[1]
    return [] if other is None or isinstance(other.words, Unread) else wanted(differences(wanted(other.words), given)[0], without=QUIET)


def refresh_boot_menu(draft: Draft, _: Finding) -> str:
    """Makes a new boot menu if it is not right; then a restart is due."""
    loader = draft.loader()
    draft.arguments()
    draft.require_refresh()
    return f"writes the boot menu from {loader.file}" if draft.state.refresh else "the boot menu is current; only a restart is due"


def drop_void_acs_values(draft: Draft, _: Finding) -> str:
    """Removes the values of pcie_acs_override= that the kernel does not know."""
    kernels = draft.node.kernels
    if not isinstance(kernels, Kernels) or "pve" not in kernels.running:
        raise ByHand("this kernel has no pcie_acs_override at all")
    wrong = [value for value in values_of(_running(draft), "pcie_acs_override") if not value.startswith(_ACS)]
    return _drop_values(draft, f"pcie_acs_override={','.join(wrong)}", lambda value: not value.startswith(_ACS))


def drop_acs_override(draft: Draft, _: Finding) -> str:
    """Removes pcie_acs_override=."""
    return _drop_values(draft, "pcie_acs_override", lambda value: True)


# -- the kernel's version ---------------------------------------------------------------------------------------------


def unpin_kernel(draft: Draft, finding: Finding) -> str:
    """Does what `proxmox-boot-tool kernel unpin` does, but can be undone."""
    known = draft.node.kernels
    if isinstance(known, Unread):
        raise ByHand(known.why)
    pins = [(path, pin) for path, pin in ((kernels.PIN, known.pinned), (kernels.NEXT_BOOT_PIN, known.next_boot)) if pin]
    of_next = finding.subject == "next boot"
    if finding.rule == "kernel-pin-missing":
        gone = [path for path, pin in pins if pin not in known.installed]
    else:
        gone = [kernels.NEXT_BOOT_PIN if of_next else kernels.PIN]
    left = [path for path, _ in pins if path not in gone]
    if draft.loader().kind == "grub" and draft.text(_GRUB_PIN):
        if left:
            raise ByHand(f"{left[0]} pins a kernel as well, and {_GRUB_PIN} has one of them")
        if not re.fullmatch(r'GRUB_DEFAULT="[^"\n]*"\n', draft.text(_GRUB_PIN)):
            raise ByHand(f"{_GRUB_PIN} is not as proxmox-boot-tool writes it")
        draft.remove(_GRUB_PIN)
    for path in gone:
        draft.text(path)
        draft.remove(path)
    draft.refresh_menu()
    return f"removes the pin: {' and '.join(gone)}"


# -- the network ------------------------------------------------------------------------------------------------------


def name_interface(draft: Draft, finding: Finding) -> str:
    """If one name is missing and one card is not in the configuration, the card gets the name."""
    known = draft.node.interfaces
    if isinstance(known, Unread):
        raise ByHand(known.why)
    names = {absent.name.partition(".")[0] for absent in known.absent}
    if len(names) != 1 or len(known.unnamed) != 1:
        raise ByHand("it is unknown which card has to get the name")
    (name,), ((now, mac, _),) = names, known.unnamed
    if not _MAC.fullmatch(mac) or not _INTERFACE.fullmatch(name):
        raise ByHand(f"{now} has no MAC address that it could be known by")
    path = f"{_LINKS}/10-{name}.link"
    # With its type, as Proxmox VE writes it (pve_network_interface_pinning.pm): a VLAN on the card has the same MAC.
    wanted_text = f"# Written by pvehooks host fix.\n[Match]\nMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n"
    if draft.text(path) == wanted_text:
        draft.require_restart()
        return f"{path} gives the card {now} this name already"
    for file in draft.names(_LINKS, ".link"):
        text = draft.text(file).lower()
        if mac in text or re.search(rf"\bname\s*=\s*{re.escape(name.lower())}\s*$", text, re.MULTILINE):
            raise ByHand(f"{file} has {name} or {mac} already")
    if draft.text(path):
        raise ByHand(f"{path} is there already")
    draft.write(path, wanted_text)
    draft.rebuild_initramfs()
    return f"names the card {now} ({mac}) {name} from the next boot on, by {path}"


# -- modules ----------------------------------------------------------------------------------------------------------


def load_vfio(draft: Draft, _: Finding) -> str:
    """Loads vfio_pci at boot."""
    if any(name == "vfio_pci" for name, _ in _modules_after(draft).listed):
        return "vfio_pci is loaded at boot already"
    path = draft.load_at_boot("vfio_pci")
    draft.rebuild_initramfs()
    return f"loads vfio_pci at boot, by {path}"


def rebuild_initramfs(draft: Draft, finding: Finding) -> str:
    """Makes a new initramfs."""
    draft.rebuild_initramfs()
    return f"updates the initramfs, so that it has {finding.subject}"


def drop_vfio_ids(draft: Draft, finding: Finding) -> str:
    """Removes the ids of a device that the host uses from the ids of vfio-pci."""
    device = pci_devices(draft.node).get(finding.subject)
    bound = draft.node.bound_ids
    if device is None or isinstance(bound, Unread):
        raise ByHand("these ids are unknown")
    kind = (device.vendor, device.device)

    def is_its_id(value: str) -> bool:
        try:
            vendor, product = (int(word, 16) for word in value.split(":")[:2])
        except ValueError:
            return False
        return (vendor, product) == kind

    places = dict.fromkeys(each.place for each in bound if kind in each.ids)
    for where in places:
        if where == _COMMAND_LINE:
            _drop_values(draft, "vfio_pci.ids", is_its_id)
        else:
            draft.comment_out(where, texts.sets("vfio_pci", "ids", is_its_id))
            draft.rebuild_initramfs()
    _require_ids_gone(device, draft)
    return f"removes {kind[0]:04x}:{kind[1]:04x} from {_files(places, draft)}"


def _require_ids_gone(device: PciDevice, draft: Draft) -> None:
    left = moduleoptions.bound_ids(draft.preview())
    for each in () if isinstance(left, Unread) else left:
        if (device.vendor, device.device) in each.ids and each.place.startswith("/"):
            raise ByHand(f"the ids in {each.place} are written in an unusual way")


def allow_driver(draft: Draft, finding: Finding) -> str:
    """Removes the blacklisting of a driver that the host needs."""
    module = finding.subject.partition(" ")[0]
    known = draft.node.modules
    places = dict.fromkeys(where for name, where in known.denied if name == module) if isinstance(known, Modules) else {}
    for where in places:
        if where == _COMMAND_LINE:
            for name in ("module_blacklist", "modprobe.blacklist"):
                _drop_values(draft, name, lambda value: value.replace("-", "_") == module)
        else:
            draft.comment_out(where, texts.denies(module))
            draft.rebuild_initramfs()
    if any(name == module and where.startswith("/") for name, where in _modules_after(draft).denied):
        raise ByHand(f"{module} is blacklisted in an unusual way")
    return f"removes the blacklisting of {module} from {_files(places, draft)}"


def _files(places: Iterable[str], draft: Draft) -> str:
    """The files, for a message."""
    return " and ".join(draft.loader().file if where == _COMMAND_LINE else where for where in places)
