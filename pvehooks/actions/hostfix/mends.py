"""What mends which finding on the node: each mend changes the draft and says in words what it does, or raises ByHand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from pvehooks.actions.hostfix import texts
from pvehooks.actions.hostfix.draft import Draft
from pvehooks.actions.hostfix.texts import ByHand
from pvehooks.facts import hardware
from pvehooks.facts.boot import cmdline, kernels
from pvehooks.facts.node import moduleoptions
from pvehooks.rules.host import firmware
from pvehooks.rules.host.commandline import QUIET, differences, important, loader_of, name_of, place, plans, shown, values_of, wanted
from pvehooks.rules.passthrough import bus
from pvehooks.values import Finding, Node, PciDevice, Severity, Unread
from pvehooks.values.boot import KERNEL_CMDLINE, CommandLines, Kernels, Modules

Mend = Callable[[Draft, Finding], str]
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


def _add(draft: Draft, word: str) -> str:
    if word not in draft.arguments():
        draft.add(word)
    draft.bring_into_force()
    return f"puts {word} into {place(draft.loader())}"


def _take(draft: Draft, word: str, unwanted: Callable[[str], bool] | None = None) -> str:
    """Takes an argument's unwanted values out, by default those that it has here."""
    value, before = word.partition("=")[2], draft.arguments()
    draft.take(name_of(word), unwanted or (lambda each: each in value.split(",")))
    draft.bring_into_force()
    file = draft.loader().file
    return f"takes {word} out of {file}" if draft.arguments() != before else f"{word} is out of {file} already"


# -- /etc/kernel/cmdline itself ---------------------------------------------------------------------------------------


def _join(draft: Draft, _: Finding) -> str:
    text = draft.text(KERNEL_CMDLINE)
    try:
        new = texts.joined(text)
    except ByHand as why:
        raise ByHand(f"{KERNEL_CMDLINE}: {why}") from why
    # Empty lines below the one line do no harm.
    draft.write(KERNEL_CMDLINE, new if any(line.strip() for line in text.split("\n")[1:]) else text)
    draft.refresh_menu()
    return f"joins the lines of {KERNEL_CMDLINE} into one"


def _root(draft: Draft, finding: Finding) -> str:
    own = [word for word in _running(draft) if name_of(word) in ("root", "boot", "rootflags")]
    text = draft.text(KERNEL_CMDLINE)
    if not text.strip():
        # An empty file: what the running kernel was started with is all that is known.
        text = ""
    words = cmdline.words(texts.joined(text)) if text else ()
    if not any(name_of(word) == "root" for word in words):
        if not any(name_of(word) == "root" for word in own):
            raise ByHand("the running kernel's command line does not tell root= either")
        if any(cmdline.words(word) != (word,) for word in own):
            raise ByHand("the running kernel's root= needs quotes")
        missing = [word for word in own if word not in words]
        draft.write(KERNEL_CMDLINE, f"{' '.join(missing)} {texts.joined(text)}" if text else f"{' '.join(missing)}\n")
        draft.refresh_menu()
        return f"puts {shown(missing)} back at the beginning of {KERNEL_CMDLINE}"
    return _join(draft, finding)


def _boot_zfs(draft: Draft, _: Finding) -> str:
    return _add(draft, "boot=zfs")


# -- the kernel's arguments -------------------------------------------------------------------------------------------


def _iommu(draft: Draft, finding: Finding) -> str:
    off = firmware.switched_off(draft.node)
    if off:
        return _take(draft, off)
    if firmware.needs_switching_on(draft.node):
        return _add(draft, "intel_iommu=on")
    raise ByHand("it is not a matter of the kernel command line")


def _pass_through(draft: Draft, _: Finding) -> str:
    return _add(draft, "iommu=pt")


def _later(draft: Draft) -> Modules:
    """What is known of modules when the draft is done."""
    later = hardware.gather(draft.ahead(), draft.node.name).modules
    if isinstance(later, Unread):
        raise ByHand(later.why)
    return later


def _advice(draft: Draft, finding: Finding) -> str:
    if finding.subject in ("amd_iommu=on", "intel_iommu=on"):
        return _take(draft, finding.subject)
    if finding.subject == "allow_unsafe_interrupts":
        return _safe_interrupts(draft)
    draft.comment_out(finding.subject, texts.loads("vfio_virqfd"))
    if ("vfio_virqfd", finding.subject) in _later(draft).listed:
        raise ByHand(f"{finding.subject} is written in an unusual way")
    return f"takes vfio_virqfd out of {finding.subject}"


def _safe_interrupts(draft: Draft) -> str:
    module, parameter = "vfio_iommu_type1", "allow_unsafe_interrupts"
    places = dict.fromkeys(where for where, _ in moduleoptions.given(draft.host, module, parameter))
    if not places:
        raise ByHand("it was switched on while the node ran, and is gone after a restart")
    for where in places:
        if where == _COMMAND_LINE:
            _take(draft, f"{module}.{parameter}", lambda value: True)
        else:
            draft.comment_out(where, texts.sets(module, parameter, lambda value: True))
            draft.rebuild_initramfs()
    if any(where.startswith("/") for where, _ in moduleoptions.given(draft.ahead(), module, parameter)):
        raise ByHand(f"{parameter} is written in an unusual way in {next(iter(places))}")
    return f"takes {parameter} out of {_named(places, draft)}"


def _wrong_file(draft: Draft, _: Finding) -> str:
    lost = _lost(draft.node, draft.arguments())
    given = draft.arguments()
    for word in lost:
        same = [each for each in given if name_of(each) == name_of(word)]
        if same:
            raise ByHand(f"{draft.loader().file} has {shown(same)} already, and only you know which is meant")
    for word in lost:
        draft.add(word)
    draft.bring_into_force()
    return f"puts {shown(lost) or 'nothing'} into {place(draft.loader())}"


def _lost(node: Node, given: tuple[str, ...]) -> list[str]:
    """The arguments in the file that the boot loader does not read, and that are not given to the kernel."""
    lines, loader = node.command_lines, node.loader
    if isinstance(lines, Unread) or isinstance(loader, Unread):
        return []
    other = plans(lines, loader)[1]
    return [] if other is None or isinstance(other.words, Unread) else wanted(differences(wanted(other.words), given)[0], without=QUIET)


def _in_force(draft: Draft, _: Finding) -> str:
    loader = draft.loader()
    draft.arguments()
    draft.bring_into_force()
    return f"has the boot loader's menu made anew from {loader.file}" if draft.state.refresh else "the menu is right; only a restart is due"


def _acs_value(draft: Draft, _: Finding) -> str:
    kernels = draft.node.kernels
    if not isinstance(kernels, Kernels) or "pve" not in kernels.running:
        raise ByHand("this kernel has no pcie_acs_override at all")
    wrong = [value for value in values_of(_running(draft), "pcie_acs_override") if not value.startswith(_ACS)]
    return _take(draft, f"pcie_acs_override={','.join(wrong)}", lambda value: not value.startswith(_ACS))


def _acs(draft: Draft, _: Finding) -> str:
    return _take(draft, "pcie_acs_override", lambda value: True)


# -- the kernel's version ---------------------------------------------------------------------------------------------


def _unpin(draft: Draft, finding: Finding) -> str:
    """As `proxmox-boot-tool kernel unpin` does it, but so that it can be undone."""
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
            raise ByHand(f"{left[0]} pins a kernel as well, and GRUB is told of one of them in {_GRUB_PIN}")
        if not re.fullmatch(r'GRUB_DEFAULT="[^"\n]*"\n', draft.text(_GRUB_PIN)):
            raise ByHand(f"{_GRUB_PIN} is not as proxmox-boot-tool writes it")
        draft.remove(_GRUB_PIN)
    for path in gone:
        draft.text(path)
        draft.remove(path)
    draft.refresh_menu()
    return f"takes the pin away: {' and '.join(gone)}"


# -- the network ------------------------------------------------------------------------------------------------------


def _name_interface(draft: Draft, finding: Finding) -> str:
    """One name is missing and one card has no place in the configuration: the card gets the name."""
    known = draft.node.interfaces
    if isinstance(known, Unread):
        raise ByHand(known.why)
    names = {absent.name.partition(".")[0] for absent in known.absent}
    if len(names) != 1 or len(known.unnamed) != 1:
        raise ByHand("which card is to have the name cannot be told")
    (name,), ((now, mac, _),) = names, known.unnamed
    if not _MAC.fullmatch(mac) or not _INTERFACE.fullmatch(name):
        raise ByHand(f"{now} has no MAC address that it could be known by")
    path = f"{_LINKS}/10-{name}.link"
    wanted_text = f"# Written by pvehooks host fix.\n[Match]\nMACAddress={mac}\n\n[Link]\nName={name}\n"
    if draft.text(path) == wanted_text:
        draft.restart()
        return f"{path} names the card that is {now} now already"
    for file in draft.names(_LINKS, ".link"):
        text = draft.text(file).lower()
        if mac in text or re.search(rf"\bname\s*=\s*{re.escape(name.lower())}\s*$", text, re.MULTILINE):
            raise ByHand(f"{file} speaks of {name} or {mac} already")
    if draft.text(path):
        raise ByHand(f"{path} is there already")
    draft.write(path, wanted_text)
    draft.rebuild_initramfs()
    return f"has the card that is {now} now ({mac}) named {name} from the next boot on, by {path}"


# -- modules ----------------------------------------------------------------------------------------------------------


def _load_vfio(draft: Draft, _: Finding) -> str:
    if any(name == "vfio_pci" for name, _ in _later(draft).listed):
        return "vfio_pci is loaded at boot already"
    path = draft.load_at_boot("vfio_pci")
    draft.rebuild_initramfs()
    return f"has vfio_pci loaded at boot, by {path}"


def _initramfs(draft: Draft, finding: Finding) -> str:
    draft.rebuild_initramfs()
    return f"has the initramfs made anew, so that it knows of {finding.subject}"


def _free_of_ids(draft: Draft, finding: Finding) -> str:
    device = bus(draft.node).get(finding.subject)
    bound = draft.node.bound_ids
    if device is None or isinstance(bound, Unread):
        raise ByHand("which ids these are cannot be told")
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
            _take(draft, "vfio_pci.ids", is_its_id)
        else:
            draft.comment_out(where, texts.sets("vfio_pci", "ids", is_its_id))
            draft.rebuild_initramfs()
    _require_gone(device, draft)
    return f"takes {kind[0]:04x}:{kind[1]:04x} out of {_named(places, draft)}"


def _require_gone(device: PciDevice, draft: Draft) -> None:
    left = moduleoptions.bound_ids(draft.ahead())
    for each in () if isinstance(left, Unread) else left:
        if (device.vendor, device.device) in each.ids and each.place.startswith("/"):
            raise ByHand(f"the ids in {each.place} are written in an unusual way")


def _allow_driver(draft: Draft, finding: Finding) -> str:
    module = finding.subject.partition(" ")[0]
    known = draft.node.modules
    places = dict.fromkeys(where for name, where in known.denied if name == module) if isinstance(known, Modules) else {}
    for where in places:
        if where == _COMMAND_LINE:
            for name in ("module_blacklist", "modprobe.blacklist"):
                _take(draft, name, lambda value: value.replace("-", "_") == module)
        else:
            draft.comment_out(where, texts.denies(module))
            draft.rebuild_initramfs()
    if any(name == module and where.startswith("/") for name, where in _later(draft).denied):
        raise ByHand(f"{module} is kept out in an unusual way")
    return f"lets {module} be loaded again: takes it out of {_named(places, draft)}"


def _named(places: Iterable[str], draft: Draft) -> str:
    """The files, for a sentence."""
    return " and ".join(draft.loader().file if where == _COMMAND_LINE else where for where in places)


# In the order in which they are done: first what others build on.
MENDS: dict[str, Mend] = {
    "cmdline-lines-ignored": _join,
    "root-argument-missing": _root,
    "kernel-pin-missing": _unpin,
    "host-driver-blacklisted": _allow_driver,
    "vfio-ids-take-host-device": _free_of_ids,
    "iommu-inactive": _iommu,
    "acs-override-void": _acs_value,
    "advice-void": _advice,
    "zfs-root-without-boot-zfs": _boot_zfs,
    "cmdline-wrong-file": _wrong_file,
    "vfio-not-loaded-at-boot": _load_vfio,
    "acs-override-in-force": _acs,
    "iommu-translates-host": _pass_through,
    "kernel-pinned": _unpin,
    "interface-missing": _name_interface,
    "initramfs-outdated": _initramfs,
    "cmdline-not-refreshed": _in_force,
    "cmdline-not-in-force": _in_force,
}
# Nobody needs these, some do not want them, or it is a guess.
IF_ASKED = frozenset({"acs-override-in-force", "interface-missing", "iommu-translates-host", "kernel-pinned"})
# What every change brings about, until its commands are run and the node is restarted.
AFTER_CHANGES = frozenset({"cmdline-not-in-force", "cmdline-not-refreshed", "initramfs-outdated"})
# Whether they helped, only the next boot tells.
KERNEL_TELLS = frozenset({"interface-missing", "iommu-inactive", "iommu-translates-host"})
# What a restart would suffer from.
HARM = ("boot-file-broken", "root-argument-missing", "host-driver-blacklisted", "vfio-ids-take-host-device")


def only_if_asked(finding: Finding, node: Node) -> bool:
    """Whether its mend is a matter of taste, and done only for who asks for it by name."""
    if finding.rule == "cmdline-wrong-file":
        lines, loader = node.command_lines, loader_of(node)
        own = plans(lines, loader)[0] if isinstance(lines, CommandLines) and loader is not None else None
        return not important(_lost(node, () if own is None or isinstance(own.words, Unread) else own.words))
    return finding.rule in IF_ASKED


def is_harm(finding: Finding) -> bool:
    """Whether what a rule of HARM found is one: not what could not be read, nor a file that the boot loader does not read."""
    return finding.examined and (finding.rule != "boot-file-broken" or finding.severity is Severity.BLOCK)
